"""FTP sources, with or without TLS."""

import ftplib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from config.errors import SourceRefusedError, SourceUnavailableError, TransferTruncatedError
from ingest.model import Endpoint, Listing, RemoteFile
from ingest.ports import Connection, Reader
from ingest.protocols.ftp_listing import Entry, Kind, parse_list, parse_mdtm, parse_mlsd
from ingest.protocols.ftp_session import FTP_ERRORS, Ftp, ftp_errors
from ingest.protocols.listing import Gathered
from ingest.protocols.pace import Pace

_LEAVE_WITHIN = 5.0
"""Seconds to wait for the server's reply after this client aborts a transfer."""
_MOMENT = 0.1
"""Seconds that `readinto` collects bytes before it returns. TLS yields at most 16 KiB per receive, so one receive is
too few bytes, and the caller has to get control back often enough to stop."""
_UNKNOWN_COMMAND = ("500", "501", "502", "504")
_NO_FILE = "550"


class FtpConnector:
    """Connector for one FTP source."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection that is logged in, and close it at the end."""
        connection = FtpConnection(self._endpoint)
        try:
            connection.log_in()
            yield connection
        finally:
            connection.close()


class FtpConnection:
    """One control connection to an FTP server. After a failure the next call reconnects."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._zone = ZoneInfo(endpoint.timezone)
        self._ftp: Ftp | None = None
        self._home = ""
        self._mlsd = False
        self._rest: bool | None = None
        """True if the server starts a transfer at the offset set by REST, False if not, None if not tested yet."""

    def log_in(self) -> Ftp:
        """Return the control connection. If there is none, connect, log in and change to the source's folder first."""
        if self._ftp is None:
            self._ftp = Ftp(self._endpoint)
            try:
                with ftp_errors(f"log in to {self._where}"):
                    self._begin(self._ftp)
            except BaseException:
                self.close()
                raise
        return self._ftp

    def close(self) -> None:
        """Close the socket without sending QUIT, because a server that does not answer would block."""
        if self._ftp is not None:
            self._ftp.close()
            self._ftp = None

    def list_files(self) -> Listing:
        """Return all files of the source, links to files included, broken links and links to folders excluded."""
        gathered = Gathered(folder=self._endpoint.folder)
        with self._use(f"list {self._endpoint.folder!r}") as ftp:
            self._list(ftp, "", gathered)
        return gathered.listing

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Return a file's current size and modification time (whole seconds); None if there is no such file.

        If the server has no command for them, both are read from a new listing.
        """
        with self._use(f"stat {listed.path!r}") as ftp:
            return self._stat_mlst(ftp, listed.path) if self._mlsd else self._stat(ftp, listed.path)

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Yield a reader of a file's bytes from `offset` on."""
        with self._use(f"open {file.path!r}") as ftp:
            if offset and self._rest is None:
                self._rest = self._obeys_rest(ftp, file)
                ftp = self.log_in()
            ftp.voidcmd("TYPE I")
            start = offset if self._rest else 0
            incoming = ftp.transfercmd(f"RETR {ftp.wire(file.path)}", start or None)
        reader = _FtpReader(incoming, file.path, offset - start, Pace(self._endpoint.timeout))
        with self._transfer(ftp, incoming, reader):
            yield reader

    def _obeys_rest(self, ftp: Ftp, file: RemoteFile) -> bool:
        """Return whether REST works, by reading only the last byte of a file.

        Some servers accept REST and still send the file from its start. A resumed copy could not detect this, because
        staged blocks cannot be read back, and would publish bytes from the wrong offset.
        """
        ftp.voidcmd("TYPE I")
        try:
            incoming = ftp.transfercmd(f"RETR {ftp.wire(file.path)}", file.size - 1)
        except ftplib.error_perm as exc:
            if not str(exc).startswith(_UNKNOWN_COMMAND):
                raise
            return False
        reader, buffer = _FtpReader(incoming, file.path, 0, Pace(self._endpoint.timeout)), memoryview(bytearray(2))
        with self._transfer(ftp, incoming, reader):
            return reader.readinto(buffer) == 1 and reader.readinto(buffer) == 0

    @contextmanager
    def _transfer(self, ftp: Ftp, incoming: socket.socket, reader: "_FtpReader") -> Iterator[None]:
        """Close the data connection and read the final reply, also if the transfer is aborted.

        A data connection that broke ends like a file. Only the reply shows whether the server sent all that it has.
        """
        confirmed = False
        try:
            try:
                yield
            finally:
                incoming.close()
                confirmed = self._leave(ftp, None if reader.ended else _LEAVE_WITHIN)
        except TransferTruncatedError as exc:
            if confirmed or not reader.ended:
                raise
            raise SourceUnavailableError(f"{exc}; the server does not confirm the transfer") from exc

    def _leave(self, ftp: Ftp, within: float | None) -> bool:
        """Read the reply that ends a transfer, and return whether it confirms it.

        Closes the control connection if no valid reply arrives.

        `within`: seconds to wait; None keeps the time-out. Neither an error reply nor a missing reply raises, because
        the caller checks the number of bytes, and the idle control connection may be lost during a long transfer.
        """
        try:
            if within is not None and ftp.sock is not None:
                ftp.sock.settimeout(within)
            ftp.voidresp()
            confirmed = True
        except (ftplib.error_temp, ftplib.error_perm):
            confirmed = False
        except FTP_ERRORS:
            confirmed = False
            self.close()
        if ftp.sock is not None:
            ftp.sock.settimeout(self._endpoint.timeout)
        return confirmed

    def _begin(self, ftp: Ftp) -> None:
        try:
            ftp.begin()
        except ftplib.error_perm as exc:
            if not str(exc).startswith(_NO_FILE):
                raise
            raise SourceRefusedError(
                f"enter {self._endpoint.folder!r} on {self._where}: {exc}; check the path in the source's URL"
            ) from exc
        if self._endpoint.recursive:
            self._home = ftp.pwd()
        self._mlsd = self._endpoint.mlsd and _offers_mlsd(ftp)

    def _list(self, ftp: Ftp, folder: str, gathered: Gathered) -> None:
        for entry in self._entries(ftp, folder):
            path = folder + entry.name
            if entry.kind is Kind.FOLDER and self._endpoint.recursive:
                self._list(ftp, f"{path}/", gathered)
            elif entry.kind is Kind.FILE and entry.size is not None and entry.modified is not None:
                gathered.add(RemoteFile(path=path, size=entry.size, modified=entry.modified))
            elif entry.kind in (Kind.FILE, Kind.LINK) and (file := self._resolve(ftp, path, entry)):
                gathered.add(file)

    def _entries(self, ftp: Ftp, folder: str) -> list[Entry]:
        """Return the entries of one folder. CWD first: LIST misreads names with a dash, a space or a star."""
        if folder:
            try:
                ftp.cwd(ftp.wire(folder.rstrip("/")))
            except ftplib.error_perm as exc:
                if str(exc).startswith(_NO_FILE):
                    return []
                raise
        lines = ftp.lines("MLSD" if self._mlsd else "LIST")
        if folder:
            ftp.cwd(self._home)
        now = datetime.now(UTC)
        entries = [parse_mlsd(line) if self._mlsd else parse_list(line, self._zone, now) for line in lines]
        return [entry for entry in entries if entry is not None]

    def _resolve(self, ftp: Ftp, path: str, entry: Entry) -> RemoteFile | None:
        """Request the size and, if it is not listed, the time of a file or link: a link's listed size is its own."""
        size, modified = _ask_size(ftp, path), entry.modified or _ask_modified(ftp, path)
        return None if size is None or modified is None else RemoteFile(path=path, size=size, modified=modified)

    def _stat(self, ftp: Ftp, path: str) -> RemoteFile | None:
        try:
            size, modified = _ask_size(ftp, path), _ask_modified(ftp, path)
        except ftplib.error_perm as exc:
            if not str(exc).startswith(_UNKNOWN_COMMAND):
                raise
            gathered = Gathered(folder=self._endpoint.folder)
            self._list(ftp, "", gathered)
            return next((file for file in gathered.files if file.path == path), None)
        return None if size is None or modified is None else RemoteFile(path=path, size=size, modified=modified)

    def _stat_mlst(self, ftp: Ftp, path: str) -> RemoteFile | None:
        try:
            answer = ftp.sendcmd(f"MLST {ftp.wire(path)}")
        except ftplib.error_perm as exc:
            if str(exc).startswith(_NO_FILE):
                return None
            raise
        entry = next(filter(None, map(parse_mlsd, answer.split("\n")[1:-1])), None)
        if entry is None or entry.size is None or entry.modified is None:
            return self._stat(ftp, path)
        return RemoteFile(path=path, size=entry.size, modified=entry.modified)

    @contextmanager
    def _use(self, doing: str) -> Iterator[Ftp]:
        """Yield a working connection, reconnected if needed, and raise its errors as source errors."""
        ftp = self.log_in()
        try:
            with ftp_errors(f"{doing} on {self._where}"):
                yield ftp
        except SourceUnavailableError as exc:
            # After a 5xx reply the connection is usable. Any other error leaves it in an unknown state.
            if not isinstance(exc.__cause__, ftplib.error_perm):
                self.close()
            raise

    @property
    def _where(self) -> str:
        return f"{self._endpoint.scheme}://{self._endpoint.host}:{self._endpoint.port}"


class _FtpReader:
    """Reader of the bytes of one data connection."""

    def __init__(self, incoming: socket.socket, path: str, before: int, pace: Pace) -> None:
        """Read from `incoming`. `before`: bytes to skip first, because the server ignores REST."""
        self._incoming = incoming
        self._path = path
        self._before = before
        self._pace = pace
        self.ended = False

    def readinto(self, buffer: memoryview, _ahead: int = 0, /) -> int | None:
        """Receive into `buffer` for about 0.1 s and return the number of bytes: 0 at the end of the file.

        Returns None after a piece of the skipped bytes, of which there may be more.
        """
        if self.ended:
            return 0
        if not self._before:
            return self._receive(buffer)
        # Many GB may have to be skipped, so return after each piece to let the caller stop.
        self._before -= self._receive(buffer[: self._before])
        return None

    def _receive(self, buffer: memoryview) -> int:
        received, began = 0, time.monotonic()
        with ftp_errors(f"read {self._path!r}"):
            while received < len(buffer) and not self.ended:
                got = self._incoming.recv_into(buffer[received:])
                received += got
                self.ended = not got
                if time.monotonic() - began > _MOMENT:
                    break
            self._pace.note(began, received)
        return received


def _offers_mlsd(ftp: Ftp) -> bool:
    try:
        features = ftp.sendcmd("FEAT")
    except ftplib.error_perm:
        return False
    return any(line.strip().upper().startswith(("MLST", "MLSD")) for line in features.split("\n"))


def _ask_size(ftp: Ftp, path: str) -> int | None:
    """Return a file's size in bytes; None if there is no such file."""
    ftp.voidcmd("TYPE I")
    answer = _ask(ftp, f"SIZE {ftp.wire(path)}")
    return None if answer is None else int(answer)


def _ask_modified(ftp: Ftp, path: str) -> datetime | None:
    """Return a file's modification time; None if there is no such file, or no valid time in the reply."""
    answer = _ask(ftp, f"MDTM {ftp.wire(path)}")
    return None if answer is None else parse_mdtm(answer)


def _ask(ftp: Ftp, command: str) -> str | None:
    try:
        return ftp.sendcmd(command)[4:].strip()
    except ftplib.error_perm as exc:
        if str(exc).startswith(_NO_FILE):
            return None
        raise
