"""SFTP sources."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import paramiko

from config.errors import SourceRefusedError, SourceUnavailableError, TransferTruncatedError
from ingest.model import EVERYTHING, Endpoint, Listing, RemoteFile, Scope, UnsizedFile
from ingest.ports import Connection, Reader
from ingest.protocols.listing import Gathered, limited
from ingest.protocols.measure import count_bytes
from ingest.protocols.sftp_login import log_in, sftp_errors
from ingest.protocols.sftp_protocol import NO_SUCH_FILE, Attributes, ProtocolError, SftpSession, StatusError

type _Entry = tuple[str, Attributes]

_PIECE = 256 * 2**10
"""Maximum bytes that `readinto` returns, so that the caller gets control back often enough to stop."""


class SftpConnector:
    """Connector for one SFTP source."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection that is logged in, and close it at the end."""
        connection = SftpConnection(self._endpoint)
        try:
            connection.log_in()
            yield connection
        finally:
            connection.close()


class SftpConnection:
    """One SSH connection with at most one SFTP session. After a failure the next call reconnects."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: paramiko.Transport | None = None
        self._session: SftpSession | None = None

    def log_in(self) -> None:
        """Connect and log in, unless the connection is active."""
        endpoint = self._endpoint
        if self._transport is not None and not self._transport.is_active():
            self.close()
        if self._transport is None:
            with sftp_errors(f"connect to sftp://{endpoint.host}:{endpoint.port}"):
                self._transport = log_in(endpoint)

    def close(self) -> None:
        """Close the connection and its session."""
        self._session = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def list_files(self, scope: Scope = EVERYTHING) -> Listing:
        """Return all files of the source, links to files included, broken links and links to folders excluded."""
        gathered = Gathered(folder=self._endpoint.folder)
        with self._use(f"list {self._endpoint.folder!r}") as session:
            self._list(session, "", gathered, scope)
        return gathered.listing

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Return a file's current size and modification time; what the server leaves out is as listed.

        None if it is gone.
        """
        with self._use(f"stat {listed.path!r}") as session:
            metadata = _stat(session, self._wire(listed.path))
        if metadata is None:
            return None
        as_listed = Attributes(size=listed.size, mode=None, modified=int(listed.modified.timestamp()))
        now = _listed_file(listed.path, metadata.completed_by(as_listed))
        return now if isinstance(now, RemoteFile) else None

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Yield a reader of a file's bytes from `offset` on."""
        with self._open(file.path, offset) as reader:
            yield reader

    def measure(self, file: UnsizedFile, check: Callable[[], None]) -> int:
        """Read a file to its end, which the server reports, and return the number of its bytes."""
        with self._open(file.path, 0) as reader:
            return count_bytes(reader, check)

    @contextmanager
    def _open(self, path: str, offset: int) -> Iterator["_PipelinedReader"]:
        with self._use(f"open {path!r}") as session:
            handle = session.open_file(self._wire(path))
            reader = _PipelinedReader(session, handle, path, offset, session.longest_read())
        try:
            yield reader
        finally:
            self._leave(session, reader)

    def _leave(self, session: SftpSession, reader: "_PipelinedReader") -> None:
        """Close a file. If replies are outstanding, close the whole session, which discards them."""
        try:
            if reader.at_rest:
                session.close_file(reader.handle)
            else:
                self._session = None
                session.close()
        except (paramiko.SSHException, OSError, EOFError, ProtocolError):
            # Not an error: the caller checks the number of bytes, and the next call reconnects.
            self.close()

    def _list(
        self,
        session: SftpSession,
        folder: str,
        gathered: Gathered,
        scope: Scope,
        above: tuple[frozenset[_Entry], ...] = (),
    ) -> None:
        """Gather the files of a folder. `above`: the entries of the folders on the way to it."""
        scope.check()
        entries = {
            folder + raw.decode(self._endpoint.encoding, "surrogateescape"): attributes
            for raw, attributes in self._entries(session, folder, gathered)
            if raw not in (b".", b"..")
        }
        here = frozenset((path.removeprefix(folder), attributes) for path, attributes in entries.items())
        if here and here in above:
            gathered.add_unread(f"{folder}: it leads back to a folder above it", folder)
            return
        entries = {path: listed for path, listed in entries.items() if not listed.is_link or scope.wants(path)}
        unsure = [path for path, attributes in entries.items() if not attributes.is_sufficient]
        found = dict(zip(unsure, session.stat_all([self._wire(path) for path in unsure]), strict=True))
        for path, listed in entries.items():
            now = found.get(path, listed)
            if isinstance(now, StatusError):
                # Only a link may lack its file; what is listed is there.
                if not (listed.is_link and now.code == NO_SUCH_FILE):
                    gathered.add_unread(f"{path}: {now}", path)
                continue
            attributes = now if listed.is_link else now.completed_by(listed)
            if attributes.is_folder:
                below = f"{path}/"
                if self._endpoint.recursive and not listed.is_link and gathered.enter(below):
                    self._list(session, below, gathered, scope, (*above, here))
            elif file := _listed_file(path, attributes):
                gathered.add(file)
            elif attributes.is_link:
                gathered.add_unread(f"{path}: the server does not follow this link", path)
            elif attributes.may_be_file:
                gathered.add_unread(f"{path}: the server gives no modified time of it", path)

    def _entries(self, session: SftpSession, folder: str, gathered: Gathered) -> list[tuple[bytes, Attributes]]:
        """Return all entries of one folder before any other request, so that its handle is always closed."""
        entries: list[tuple[bytes, Attributes]] = []
        try:
            for entry in limited(session.read_folder(self._wire(folder)), folder or self._endpoint.folder):
                entries.append(entry)  # noqa: PERF402 - what came before an error is kept
        except StatusError as exc:
            if folder and exc.code == NO_SUCH_FILE:
                return []
            if not folder and not entries:
                if exc.code != NO_SUCH_FILE:
                    raise
                raise SourceRefusedError(
                    f"list {self._endpoint.folder!r} on sftp://{self._endpoint.host}:{self._endpoint.port}: "
                    "there is no such folder; check the path in the source's URL"
                ) from exc
            gathered.add_unread(f"{folder or self._endpoint.folder}: {exc}", folder or None)
        return entries

    def _wire(self, path: str) -> bytes:
        """Return the server's path of a file or folder. A relative folder is relative to the login's home folder."""
        whole = f"{self._endpoint.folder.rstrip('/')}/{path}".rstrip("/") or "/"
        return whole.encode(self._endpoint.encoding, "surrogateescape")

    @contextmanager
    def _use(self, doing: str) -> Iterator[SftpSession]:
        """Yield a working session, reconnected if needed, and raise its errors as source errors."""
        self.log_in()
        where = f"{doing} on sftp://{self._endpoint.host}:{self._endpoint.port}"
        try:
            with sftp_errors(where):
                if self._session is None:
                    self._session = self._begin()
                yield self._session
        except SourceUnavailableError as exc:
            # After an error status the session is usable. Any other error leaves it in an unknown state.
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
    """Reader of a file's bytes in order, which sends READ requests ahead of the bytes that it returns."""

    def __init__(self, session: SftpSession, handle: bytes, path: str, offset: int, longest: int) -> None:
        """`longest`: maximum bytes of one READ request."""
        self.handle = handle
        self._session = session
        self._path = path
        self._longest = longest
        self._at = offset
        """Offset in the file of the next byte to return."""
        self._next = offset
        """Offset in the file of the next byte to request."""
        self._asked: deque[tuple[int, int, int]] = deque()
        """Number, offset and length of each outstanding request, in file order."""
        self._left = memoryview(b"")
        self._ended = False
        """Whether the server reported the end. Replies to later requests may still bring bytes, from other offsets."""
        self._broken = False

    @property
    def at_rest(self) -> bool:
        """True if no request is outstanding and the last read succeeded."""
        return not self._asked and not self._broken

    def readinto(self, buffer: memoryview, ahead: int = 0, /) -> int:
        """Fill the first 256 KiB of `buffer`, or read to the end of the file, and return the number of bytes.

        The rest of the buffer, and `ahead` bytes beyond it, may be requested too.
        """
        self._broken = True
        with sftp_errors(f"read {self._path!r}"):
            filled, wanted = 0, min(len(buffer), _PIECE)
            end = self._at + len(buffer) + ahead
            while filled < wanted and (self._left or self._refill(end)):
                part = self._left[: wanted - filled]
                buffer[filled : filled + len(part)] = part
                self._left = self._left[len(part) :]
                filled += len(part)
        self._at += filled
        self._broken = False
        return filled

    def _refill(self, end: int) -> bool:
        """Request bytes up to offset `end` and take the next reply; return False at the end of the file."""
        if self._ended:
            return False
        self._ask(end)
        number, offset, length = self._asked.popleft()
        part = self._session.read_answer(number)
        if len(part) > length:
            raise TransferTruncatedError(
                f"read {self._path!r}: the server sent {len(part)} bytes of {length} requested at {offset}, so "
                "none of its bytes can be trusted; tried again later"
            )
        if 0 < len(part) < length:
            # Servers may return fewer bytes; request the rest now, because it precedes all other requests in the file.
            offset, length = offset + len(part), length - len(part)
            (number,) = self._session.ask_to_read(self.handle, [(offset, length)])
            self._asked.appendleft((number, offset, length))
        self._left = part
        self._ended = not part
        return bool(part)

    def _ask(self, end: int) -> None:
        """Send requests of the maximum length, and a shorter one only if no other is outstanding."""
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
    """Close the transport if the block takes longer. Some calls of paramiko wait for a reply without a time-out."""
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


def _listed_file(path: str, metadata: Attributes) -> RemoteFile | UnsizedFile | None:
    """Return a file; None if its time is missing, or it is not a regular file."""
    if metadata.modified is None or not metadata.may_be_file:
        return None
    file = UnsizedFile(path=path, modified=datetime.fromtimestamp(metadata.modified, UTC))
    return file if metadata.size is None else file.of_size(metadata.size)
