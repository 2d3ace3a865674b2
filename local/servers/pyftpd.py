"""An FTP server with pyftpdlib, for machines without vsftpd and for tests of MLSD.

Run as `python -m local.servers.pyftpd CONFIG`, where CONFIG is a JSON file with the fields of `PyftpdConfig`.
"""

import json
import logging
import multiprocessing
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import MultiprocessFTPServer

from local.servers.child import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PyftpdConfig:
    """Configuration of the server."""

    port: int
    root: str
    user: str
    password: str = field(repr=False)
    tls: str | None = None
    certificate: str | None = None
    """Path of a PEM file with key and certificate."""
    mlsd: bool = True
    max_clients: int = 512


class _ImplicitTls(TLS_FTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
    def handle(self) -> None:
        """Start TLS before the greeting instead of at AUTH TLS."""
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self) -> None:
        """Send the greeting."""
        super().handle()


def _handler(config: PyftpdConfig) -> Any:
    kinds = {None: FTPHandler, "explicit": TLS_FTPHandler, "implicit": _ImplicitTls}
    commands = {
        name: metadata for name, metadata in kinds[config.tls].proto_cmds.items() if config.mlsd or "MLS" not in name
    }
    authorizer = DummyAuthorizer()
    authorizer.add_user(config.user, config.password, config.root)
    metadata = {"proto_cmds": commands, "authorizer": authorizer, "auth_failed_timeout": 0, "use_gmt_times": True}
    if config.tls:
        metadata |= {"certfile": config.certificate, "tls_control_required": True, "tls_data_required": True}
    return type("Handler", (kinds[config.tls],), metadata)


class _Server(MultiprocessFTPServer):  # type: ignore[misc]  # pyftpdlib ships no types
    """Server with one process per session, like vsftpd, so that sessions can be killed separately."""

    _mp_context = multiprocessing.get_context("fork")
    """The default on macOS is a new Python process, which does not inherit the session's socket."""


def main(config: PyftpdConfig) -> None:
    """Run the server until killed."""
    logging.basicConfig(level=logging.INFO)
    server = _Server((HOST, config.port), _handler(config))
    server.max_cons = config.max_clients
    server.serve_forever()


if __name__ == "__main__":
    main(PyftpdConfig(**json.loads(Path(sys.argv[1]).read_text())))
