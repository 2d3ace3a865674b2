"""Sources that are reached by FTP, in the clear or under TLS."""

import ftplib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint, Listing, RemoteFile
from ingest.ports import Connection, Reader
from ingest.protocols.ftp_listing import Entry, Kind, parse_list, parse_mdtm, parse_mlsd
from ingest.protocols.ftp_session import FTP_ERRORS, Ftp, ftp_errors
from ingest.protocols.listing import Gathered
from ingest.protocols.pace import Pace

_LEAVE_WITHIN = 5.0
"""Seconds that a server has to confirm the end of a transfer that we broke off."""
_MOMENT = 0.1
"""Seconds that what is received may gather: TLS gives 16 KiB at a time, and whoever wants them may want to stop."""
_UNKNOWN_COMMAND = ("500", "501", "502", "504")
_NO_FILE = "550"


class FtpConnector:
    """The way to a source by FTP."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Log in."""
        connection = FtpConnection(self._endpoint)
        try:
            connection.log_in()
            yield connection
        finally:
            connection.close()


class FtpConnection:
    """One control connection. One that broke is made anew by the next call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._zone = ZoneInfo(endpoint.timezone)
        self._ftp: Ftp | None = None
        self._home = ""
        self._mlsd = False
        self._rest: bool | None = None
        """Whether the server begins where REST tells it to; None: not tried yet."""

    def log_in(self) -> Ftp:
        """Connect, log in and go to the source's folder, unless that is done."""
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
        """Hang up, without a word: a server that does not answer must not hold us."""
        if self._ftp is not None:
            self._ftp.close()
            self._ftp = None

    def list_files(self) -> Listing:
        """List all files; links to files count, broken links and links to folders do not."""
        gathered = Gathered(folder=self._endpoint.folder)
        with self._use(f"list {self._endpoint.folder!r}") as ftp:
            self._list(ftp, "", gathered)
        return gathered.listing

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Ask for a file's size and time of change, to the second; what the server cannot tell is as listed now."""
        with self._use(f"look at {listed.path!r}") as ftp:
            return self._stat_mlst(ftp, listed.path) if self._mlsd else self._stat(ftp, listed.path)

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Read a file from `offset` on."""
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
        """Ask for a file's last byte alone. Some servers accept REST and send all the same from the start on.

        Nobody would notice: blocks that are staged cannot be read, so bytes of the wrong place would be published.
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
        """End a transfer in order, also one that is broken off."""
        try:
            yield
        finally:
            incoming.close()
            self._leave(ftp, None if reader.ended else _LEAVE_WITHIN)

    def _leave(self, ftp: Ftp, within: float | None) -> None:
        """Hear how the transfer ended. A refusal leaves the connection usable, silence does not.

        Neither is an error: whether every byte arrived is the caller's to check, and the control connection may
        have died of idleness during a long transfer.
        """
        try:
            if within is not None and ftp.sock is not None:
                ftp.sock.settimeout(within)
            ftp.voidresp()
        except (ftplib.error_temp, ftplib.error_perm):
            pass
        except FTP_ERRORS:
            self.close()
        if ftp.sock is not None:
            ftp.sock.settimeout(self._endpoint.timeout)

    def _begin(self, ftp: Ftp) -> None:
        try:
            ftp.begin()
        except ftplib.error_perm as exc:
            if not str(exc).startswith(_NO_FILE):
                raise
            raise SourceRefusedError(
                f"go to {self._endpoint.folder!r} on {self._where}: {exc}; check the path in the source's URL"
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
        """List one folder. It is entered, since LIST takes a name with a dash, a space or a star for something else."""
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
        """Ask for what an entry does not tell of itself: a link's size is not that of its file."""
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
        """Give the connection, made anew if it broke, and translate what goes wrong on it."""
        ftp = self.log_in()
        try:
            with ftp_errors(f"{doing} on {self._where}"):
                yield ftp
        except SourceUnavailableError as exc:
            # A server that says no is still there; all else leaves the connection in an unknown state.
            if not isinstance(exc.__cause__, ftplib.error_perm):
                self.close()
            raise

    @property
    def _where(self) -> str:
        return f"{self._endpoint.scheme}://{self._endpoint.host}:{self._endpoint.port}"


class _FtpReader:
    """A data connection's bytes."""

    def __init__(self, incoming: socket.socket, path: str, before: int, pace: Pace) -> None:
        """`before`: bytes that come before those that are wanted."""
        self._incoming = incoming
        self._path = path
        self._before = before
        self._pace = pace
        self.ended = False

    def readinto(self, buffer: memoryview, _ahead: int = 0, /) -> int | None:
        """Receive what is there, or comes within a moment."""
        if self.ended:
            return 0
        if not self._before:
            return self._receive(buffer)
        # A piece at a time: it may be many GB that nobody wants, and whoever waits may have to stop.
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
    """Ask for a file's size; None if there is no such file."""
    ftp.voidcmd("TYPE I")
    answer = _ask(ftp, f"SIZE {ftp.wire(path)}")
    return None if answer is None else int(answer)


def _ask_modified(ftp: Ftp, path: str) -> datetime | None:
    """Ask for a file's time of change; None if there is no such file."""
    answer = _ask(ftp, f"MDTM {ftp.wire(path)}")
    return None if answer is None else parse_mdtm(answer)


def _ask(ftp: Ftp, command: str) -> str | None:
    try:
        return ftp.sendcmd(command)[4:].strip()
    except ftplib.error_perm as exc:
        if str(exc).startswith(_NO_FILE):
            return None
        raise
