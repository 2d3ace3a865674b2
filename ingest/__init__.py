"""Copying files from SFTP and FTP servers into raw storage."""
