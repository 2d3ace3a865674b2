"""SFTP and FTP: connections, keys and listings."""
