"""A remote server in memory. It passes the same contract as the real ones, and tests can make it fail."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import EVERYTHING, Listing, RemoteFile, Scope, Unread, UnsizedFile
from ingest.ports import Connection, Reader
from ingest.protocols.measure import count_bytes

type Hook = Callable[[], object]


class FakeServer:
    """Files in memory; `calls` has the requests for them."""

    def __init__(self, *, piece: int = 2**20) -> None:
        self.files: dict[str, tuple[bytes, datetime]] = {}
        self.calls: list[str] = []
        self.piece = piece
        """Most bytes that one read returns."""
        self.max_connections = 100
        self.connections = 0
        self.down: str | None = None
        """The error of every call."""
        self.breaks_at: dict[str, int] = {}
        """Offset of a file at which reading breaks off, once."""
        self.rest: Callable[[int], int] = lambda offset: offset
        """The offset at which reading begins, by the requested one."""
        self.before_read: dict[str, Callable[[int], object]] = {}
        """Called with the offset before each read of a file."""
        self.unaskable = set[str]()
        """Paths that are listed, but refused when they are requested."""
        self.unreadable = set[str]()
        """Paths that cannot be stat'ed."""
        self.forbidden = set[str]()
        """Paths that are listed, but reported as absent when requested: FTP's 550 means both."""
        self.certain: dict[str, datetime] = {}
        """Times that stat returns instead of the listed ones."""
        self.forbidden_to_stat = set[str]()
        """Paths that can be read, and that stat calls absent."""
        self.sizeless = set[str]()
        """Paths of which neither a listing nor stat gives the size."""
        self.unlisted = set[str]()
        """Existing paths that are missing from a listing."""
        self.unconfirmed = set[str]()
        """Paths whose end the server does not confirm when their bytes are counted."""
        self.unread: Sequence[Unread] = ()
        """Parts of a listing that cannot be read."""
        self.before_stat: Hook = lambda: None
        self.before_list: Hook = lambda: None
        self._lock = threading.Lock()

    def put(self, path: str, content: bytes, modified: datetime) -> RemoteFile:
        """Place a file."""
        self.files[path] = (content, modified)
        return RemoteFile(path=path, size=len(content), modified=modified)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Log in, if there is room."""
        with self._lock:
            self.note("connect")
            if self.connections >= self.max_connections:
                raise SourceUnavailableError("connect: 421 too many connections; tried again later")
            self.connections += 1
        try:
            yield FakeConnection(self)
        finally:
            with self._lock:
                self.connections -= 1

    def note(self, call: str) -> None:
        """Record a call, and fail it if the server is down."""
        self.calls.append(call)
        if self.down:
            raise SourceUnavailableError(self.down)

    def ask(self, path: str) -> None:
        """Refuse paths that cannot be requested."""
        if path in self.unaskable:
            raise SourceRefusedError(f"ask for {path!r}: no command can hold it")


class FakeConnection:
    """One connection to a FakeServer."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def list_files(self, scope: Scope = EVERYTHING) -> Listing:
        """List all files but those in `unlisted`."""
        self._server.before_list()
        scope.check()
        self._server.note("list")
        files, sizeless = list[RemoteFile](), list[UnsizedFile]()
        for path, (content, modified) in list(self._server.files.items()):
            if path in self._server.sizeless - self._server.unlisted:
                sizeless.append(UnsizedFile(path=path, modified=modified))
            elif path not in self._server.unlisted:
                files.append(RemoteFile(path=path, size=len(content), modified=modified))
        return Listing(files=files, unread=tuple(self._server.unread), unsized=sizeless)

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Stat one file."""
        self._server.before_stat()
        self._server.note(f"stat {listed.path}")
        self._server.ask(listed.path)
        if listed.path in self._server.unreadable:
            raise SourceUnavailableError(f"stat {listed.path!r}: failure")
        absent = self._server.forbidden | self._server.forbidden_to_stat
        if listed.path not in self._server.files or listed.path in absent:
            return None
        content, modified = self._server.files[listed.path]
        certain = self._server.certain.get(listed.path, modified)
        size = listed.size if listed.path in self._server.sizeless else len(content)
        return RemoteFile(path=listed.path, size=size, modified=certain)

    def measure(self, file: UnsizedFile, check: Callable[[], None]) -> int:
        """Read to the end."""
        with self.open(file.of_size(0), 0) as reader:
            size = count_bytes(reader, check)
        if file.path in self._server.unconfirmed:
            raise SourceUnavailableError(f"count the bytes of {file.path!r}: not confirmed; tried again later")
        return size

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Read a file."""
        self._server.note(f"open {file.path} {offset}")
        self._server.ask(file.path)
        if file.path not in self._server.files or file.path in self._server.forbidden:
            raise SourceUnavailableError(f"open {file.path!r}: there is no such file; tried again later")
        yield FakeReader(self._server, file.path, self._server.rest(offset))


class FakeReader:
    """Bytes of one file, in pieces."""

    def __init__(self, server: FakeServer, path: str, offset: int) -> None:
        self._server = server
        self._path = path
        self._offset = offset

    def readinto(self, buffer: memoryview, _ahead: int = 0, /) -> int:
        """Return the next piece of the file's present content."""
        if self._path in self._server.before_read:
            self._server.before_read[self._path](self._offset)
        if self._server.down or self._offset >= self._server.breaks_at.get(self._path, 2**63):
            self._server.breaks_at.pop(self._path, None)
            raise SourceUnavailableError(f"read {self._path!r}: the connection broke; tried again later")
        content, _ = self._server.files.get(self._path, (b"", None))
        part = content[self._offset : self._offset + min(len(buffer), self._server.piece)]
        buffer[: len(part)] = part
        self._offset += len(part)
        return len(part)
