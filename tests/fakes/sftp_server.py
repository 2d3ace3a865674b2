"""An SFTP server, paramiko's own, whose attributes and replies can be changed."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import paramiko
from paramiko import SFTPAttributes, SFTPServer, SFTPServerInterface
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.message import Message
from paramiko.sftp import SFTP_NO_SUCH_FILE, SFTP_PERMISSION_DENIED

from ingest.model import Endpoint

_KEY = paramiko.ECDSAKey.generate()


class Attributes(SFTPAttributes):
    """Attributes of an entry; those that are None are not sent."""

    def __init__(self, name: str, long_name: str = "", **facts: int | None) -> None:
        """`facts`: size, mode, mtime."""
        super().__init__()
        self.filename, self._long_name = name, long_name
        self.st_size, self.st_mode, self.st_mtime = facts.get("size"), facts.get("mode"), facts.get("mtime")
        # The protocol has both times or none.
        self.st_atime = self.st_mtime

    def plain(self) -> SFTPAttributes:
        """Return the attributes of a reply to STAT: paramiko sends no subclass there."""
        plain = SFTPAttributes()
        plain.st_size, plain.st_mode = self.st_size, self.st_mode
        plain.st_atime, plain.st_mtime = self.st_atime, self.st_mtime
        return plain

    def asbytes(self) -> bytes:
        """Return the long name."""
        return self._long_name.encode()


@dataclass(kw_only=True)
class Files:
    """The server's files and replies; paths are absolute."""

    folders: Mapping[str, Sequence[Attributes]]
    """By path; a folder that is missing here cannot be opened."""
    stats: Mapping[str, Attributes | int] = field(default_factory=dict)
    """Reply to STAT by path, or an error code; files that are missing here answer as listed."""
    content: bytes = b""
    """Of each file."""
    change: Callable[[SFTPServer, int, int, Message], bool] = lambda *_: False
    """Called with the session, the kind, the number and the rest of each request; True: it was answered."""
    requests: list[int] = field(default_factory=list)
    """Kinds of the requests, in order."""


class _Login(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED


def _interface(files: Files) -> type[SFTPServerInterface]:
    class Interface(SFTPServerInterface):
        def list_folder(self, path: str) -> Any:
            folder = files.folders.get(path)
            return list(folder) if folder is not None else SFTP_PERMISSION_DENIED

        def stat(self, path: str) -> Any:
            folder, _, name = path.rpartition("/")
            listed = (entry for entry in files.folders.get(folder or "/", ()) if entry.filename == name)
            found = files.stats.get(path) or next(listed, SFTP_NO_SUCH_FILE)
            return found.plain() if isinstance(found, Attributes) else found

        def open(self, path: str, flags: int, attr: SFTPAttributes) -> Any:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = BytesIO(files.content)  # type: ignore[attr-defined]  # paramiko reads from it
            return handle

    return Interface


@contextmanager
def sftp_server(files: Files) -> Iterator[Endpoint]:
    """Serve `files` to any client."""

    class Session(SFTPServer):
        def _process(self, kind: int, number: int, message: Message) -> None:
            files.requests.append(kind)
            if not files.change(self, kind, number, message):
                super()._process(kind, number, message)  # type: ignore[misc]  # not in the stubs

    interface = _interface(files)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transports: list[paramiko.Transport] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                transport = paramiko.Transport(connection)
                transports.append(transport)
                transport.add_server_key(_KEY)
                transport.set_subsystem_handler("sftp", Session, interface)
                transport.start_server(server=_Login())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield Endpoint(
                scheme="sftp",
                host="127.0.0.1",
                port=listener.getsockname()[1],
                user="reader",
                folder="/",
                password="any",
                host_key=f"{_KEY.get_name()} {_KEY.get_base64()}",
                timeout=5,
            )
        finally:
            # Close alone does not wake a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for transport in transports:
                transport.close()
