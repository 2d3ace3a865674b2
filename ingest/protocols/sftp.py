"""Sources that are reached by SFTP."""

import stat
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import paramiko

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint, Listing, RemoteFile
from ingest.ports import Connection, Reader
from ingest.protocols.listing import Gathered, whole
from ingest.protocols.sftp_login import log_in, sftp_errors
from ingest.protocols.sftp_protocol import NO_SUCH_FILE, Attributes, ProtocolError, SftpSession, StatusError


class SftpConnector:
    """The way to a source by SFTP."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Log in."""
        connection = SftpConnection(self._endpoint)
        try:
            connection.log_in()
            yield connection
        finally:
            connection.close()


class SftpConnection:
    """One SSH connection, and at most one SFTP session on it. One that broke is made anew by the next call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: paramiko.Transport | None = None
        self._session: SftpSession | None = None

    def log_in(self) -> None:
        """Connect and log in, unless that is done."""
        endpoint = self._endpoint
        if self._transport is not None and not self._transport.is_active():
            self.close()
        if self._transport is None:
            with sftp_errors(f"connect to sftp://{endpoint.host}:{endpoint.port}"):
                self._transport = log_in(endpoint)

    def close(self) -> None:
        """Hang up."""
        self._session = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def list_files(self) -> Listing:
        """List all files; links to files count, broken links and links to folders do not."""
        gathered = Gathered(folder=self._endpoint.folder)
        with self._use(f"list {self._endpoint.folder!r}") as session:
            self._list(session, "", gathered)
        return gathered.listing

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Ask for a file's facts; SFTP's listings and answers agree."""
        with self._use(f"look at {listed.path!r}") as session:
            metadata = _stat(session, self._wire(listed.path))
        return None if metadata is None else _remote_file(listed.path, metadata)

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Read a file from `offset` on."""
        with self._use(f"open {file.path!r}") as session:
            handle = session.open_file(self._wire(file.path))
            reader = _PipelinedReader(session, handle, file.path, offset, session.longest_read())
        try:
            yield reader
        finally:
            self._leave(session, reader)

    def _leave(self, session: SftpSession, reader: "_PipelinedReader") -> None:
        """Close a file; if it was broken off, the session goes with it, and with that all that is still to come."""
        try:
            if reader.at_rest:
                session.close_file(reader.handle)
            else:
                self._session = None
                session.close()
        except (paramiko.SSHException, OSError, EOFError, ProtocolError):
            # Every byte may have arrived, and whether it did is the caller's to check: the next call connects anew.
            self.close()

    def _list(self, session: SftpSession, folder: str, gathered: Gathered) -> None:
        for raw, attributes in self._entries(session, folder):
            if raw in (b".", b".."):
                continue
            path = folder + raw.decode(self._endpoint.encoding, "surrogateescape")
            folder_itself = attributes.mode is not None and stat.S_ISDIR(attributes.mode)
            metadata: Attributes | None = attributes
            if not folder_itself and (attributes.mode is None or stat.S_ISLNK(attributes.mode)):
                metadata = _stat(session, self._wire(path))
            if folder_itself and self._endpoint.recursive:
                self._list(session, f"{path}/", gathered)
            elif metadata is not None and (file := _remote_file(path, metadata)):
                gathered.add(file)

    def _entries(self, session: SftpSession, folder: str) -> list[tuple[bytes, Attributes]]:
        """Read one folder whole, before any other request, so that its handle is never left open."""
        try:
            return whole(session.read_folder(self._wire(folder)), folder or self._endpoint.folder)
        except StatusError as exc:
            if exc.code != NO_SUCH_FILE:
                raise
            if folder:
                return []
            raise SourceRefusedError(
                f"list {self._endpoint.folder!r} on sftp://{self._endpoint.host}:{self._endpoint.port}: "
                "there is no such folder; check the path in the source's URL"
            ) from exc

    def _wire(self, path: str) -> bytes:
        """Give a path as the server knows it; a relative folder is relative to where the login leads."""
        whole = f"{self._endpoint.folder.rstrip('/')}/{path}".rstrip("/") or "/"
        return whole.encode(self._endpoint.encoding, "surrogateescape")

    @contextmanager
    def _use(self, doing: str) -> Iterator[SftpSession]:
        """Give the session, made anew if it broke, and translate what goes wrong in it."""
        self.log_in()
        where = f"{doing} on sftp://{self._endpoint.host}:{self._endpoint.port}"
        try:
            with sftp_errors(where):
                if self._session is None:
                    self._session = self._begin()
                yield self._session
        except SourceUnavailableError as exc:
            # A server that says no still answers; all else leaves the session in an unknown state.
            if not isinstance(exc.__cause__, StatusError):
                self.close()
            raise

    def _begin(self) -> SftpSession:
        if self._transport is None:
            raise EOFError("the connection is closed")
        channel = self._transport.open_session(timeout=self._endpoint.timeout)
        channel.settimeout(self._endpoint.timeout)
        with _hung_up_after(self._endpoint.timeout, self._transport):
            channel.invoke_subsystem("sftp")
        return SftpSession(channel, self._endpoint.timeout)


class _PipelinedReader:
    """A file's bytes in order; what may be read ahead is asked for, and on its way, before it is wanted."""

    def __init__(self, session: SftpSession, handle: bytes, path: str, offset: int, longest: int) -> None:
        """`longest`: bytes that one request may ask for."""
        self.handle = handle
        self._session = session
        self._path = path
        self._longest = longest
        self._at = offset
        """Where the next byte that is handed on lies in the file."""
        self._next = offset
        """Where the next byte that is asked for lies."""
        self._asked: deque[tuple[int, int, int]] = deque()
        """Number, offset and length of each request, in the order of the file."""
        self._left = memoryview(b"")
        self._broken = False

    @property
    def at_rest(self) -> bool:
        """Whether all that was asked for has arrived."""
        return not self._asked and not self._broken

    def readinto(self, buffer: memoryview, ahead: int = 0, /) -> int:
        """Fill `buffer` as far as the file goes."""
        self._broken = True
        with sftp_errors(f"read {self._path!r}"):
            filled = 0
            end = self._at + len(buffer)
            while filled < len(buffer) and (self._left or self._refill(end + ahead)):
                part = self._left[: len(buffer) - filled]
                buffer[filled : filled + len(part)] = part
                self._left = self._left[len(part) :]
                filled += len(part)
        self._at += filled
        self._broken = False
        return filled

    def _refill(self, end: int) -> bool:
        """Take the next answer, and ask on up to `end`; False at the end of the file."""
        self._ask(end)
        number, offset, length = self._asked.popleft()
        part = self._session.read_answer(number)
        if 0 < len(part) < length:
            # Servers may answer short; the rest is asked for at once, before what follows it.
            offset, length = offset + len(part), length - len(part)
            (number,) = self._session.ask_to_read(self.handle, [(offset, length)])
            self._asked.appendleft((number, offset, length))
        self._left = part
        return bool(part)

    def _ask(self, end: int) -> None:
        """Ask in whole requests, for the rest alone only when nothing else is on its way."""
        spans: list[tuple[int, int]] = []
        while (length := min(self._longest, end - self._next)) > 0:
            if length < self._longest and (spans or self._asked):
                break
            spans.append((self._next, length))
            self._next += length
        if spans:
            numbers = self._session.ask_to_read(self.handle, spans)
            self._asked += [(number, *span) for number, span in zip(numbers, spans, strict=True)]


@contextmanager
def _hung_up_after(seconds: float, transport: paramiko.Transport) -> Iterator[None]:
    """Hang up if the block takes longer: for calls of paramiko that wait for their answer without a time-out."""
    timer = threading.Timer(seconds, transport.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _stat(session: SftpSession, path: bytes) -> Attributes | None:
    try:
        return session.stat(path)
    except StatusError as exc:
        if exc.code == NO_SUCH_FILE:
            return None
        raise


def _remote_file(path: str, metadata: Attributes) -> RemoteFile | None:
    """Make a RemoteFile of what is told; None if it is no regular file."""
    if (
        metadata.size is None
        or metadata.modified is None
        or (metadata.mode is not None and not stat.S_ISREG(metadata.mode))
    ):
        return None
    return RemoteFile(path=path, size=metadata.size, modified=datetime.fromtimestamp(metadata.modified, UTC))
