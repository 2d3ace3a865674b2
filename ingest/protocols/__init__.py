"""SFTP and FTP clients: connections, SSH keys and listings."""
