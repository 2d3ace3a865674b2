"""A read-only SFTP server with paramiko, for machines without sshd.

Run as `python -m local.servers.parasftp CONFIG`, where CONFIG is a JSON file with the fields of `ParasftpConfig`.
"""

import io
import json
import logging
import os
import posixpath
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseRequestHandler, ForkingTCPServer
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_EOF

from local.servers.child import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class ParasftpConfig:
    """Configuration of the server."""

    port: int
    root: str
    user: str
    password: str = field(repr=False)
    host_key: str = field(repr=False)
    """Private key."""
    client_key: str
    """Public key that may also log in: `ssh-ed25519 AAAA...`."""


class _Login(paramiko.ServerInterface):
    def __init__(self, config: ParasftpConfig) -> None:
        self._config = config

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko's signature
        return "password,publickey"

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == (self._config.user, self._config.password)
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username == self._config.user and key.get_base64() == self._config.client_key.split()[1]
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - paramiko's signature
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class _Folder(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, root: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(server, *args, **kwargs)
        self._root = root

    def _real(self, path: str) -> str:
        return self._root + posixpath.normpath(f"/{path}")

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            with os.scandir(self._real(path)) as entries:
                return [
                    paramiko.SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), entry.name)
                    for entry in entries
                    # paramiko cannot send names that are not UTF-8; OpenSSH can.
                    if not any("\udc80" <= sign <= "\udcff" for sign in entry.name)
                ]
        except OSError as exc:
            return _status(exc)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))  # noqa: PTH116 - errors stay raw
        except OSError as exc:
            return _status(exc)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:  # noqa: ARG002
        try:
            return _Handle(self._real(path))
        except OSError as exc:
            return _status(exc)


class _Handle(paramiko.SFTPHandle):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int) -> bytes | int:
        try:
            return os.pread(self._fd, length, offset) or SFTP_EOF
        except OSError as exc:
            return _status(exc)

    def close(self) -> None:
        os.close(self._fd)


def _status(exc: OSError) -> int:
    return paramiko.SFTPServer.convert_errno(exc.errno or 0)


def _serve(connection: socket.socket, config: ParasftpConfig, host_key: paramiko.PKey) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(host_key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder, config.root)
    try:
        transport.start_server(server=_Login(config))
    except (paramiko.SSHException, EOFError, OSError) as exc:
        logging.getLogger(__name__).info("session.failed error=%s", exc)
        transport.close()
        return
    # A subsystem's thread runs only while its channel object is referenced.
    channels = []
    while transport.is_active():
        channels.append(transport.accept(timeout=1))


class _Server(ForkingTCPServer):
    """Server with one process per session, like sshd, so that sessions can be killed separately."""

    allow_reuse_address = True
    request_queue_size = 100
    max_children = 100

    def __init__(self, config: ParasftpConfig) -> None:
        super().__init__((HOST, config.port), BaseRequestHandler)
        self._config = config
        self._host_key = paramiko.Ed25519Key.from_private_key(io.StringIO(config.host_key))

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Serve one session in its process."""
        _serve(request, self._config, self._host_key)


def main(config: ParasftpConfig) -> None:
    """Run the server until killed."""
    logging.basicConfig(level=logging.INFO)
    with _Server(config) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(ParasftpConfig(**json.loads(Path(sys.argv[1]).read_text())))
