"""SFTP and FTP servers for development and tests."""
