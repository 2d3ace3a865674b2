"""FTP sources, with or without TLS."""

import ftplib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from config.errors import SourceRefusedError, SourceUnavailableError, TransferTruncatedError
from ingest.model import EVERYTHING, Endpoint, Listing, RemoteFile, Scope, Unread, UnsizedFile
from ingest.ports import Connection, Reader
from ingest.protocols.ftp_clock import clock_of
from ingest.protocols.ftp_facts import CONNECTION, NOT_FOUND, Facts, ask_facts
from ingest.protocols.ftp_folders import FtpFolders
from ingest.protocols.ftp_listing import Entry, Kind, parse_list
from ingest.protocols.ftp_session import FTP_ERRORS, Ftp, ftp_errors
from ingest.protocols.measure import count_bytes
from ingest.protocols.pace import Pace

_LEAVE_WITHIN = 5.0
"""Seconds to wait for the server's reply after this client aborts a transfer."""
_COMPARISONS = 10
_MOMENT = 0.1
"""Seconds that `readinto` collects bytes before it returns. TLS yields at most 16 KiB per receive, so one receive is
too few bytes, and the caller has to get control back often enough to stop."""


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
        self._mlsd = False
        self._clock = clock_of(endpoint.host, endpoint.port, endpoint.timezone)
        self._comparisons = _COMPARISONS
        """Files whose times in LIST may still be requested."""
        self._rest_works_to, self._rest_fails_from = 0, 2**63
        """Offsets for which REST was tested: the largest that works, and the smallest that does not."""

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

    def list_files(self, scope: Scope = EVERYTHING) -> Listing:
        """Return all files of the source, links to files included, broken links and links to folders excluded."""
        with self._use(f"list {self._endpoint.folder!r}") as ftp:
            try:
                return FtpFolders(ftp, self._endpoint, self._resolve, scope, mlsd=self._mlsd).list()
            except BaseException:
                # The connection may be in any folder now.
                self.close()
                raise

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Return a file's current size and modification time (whole seconds); what the server refuses is as listed.

        None if it refuses both, whether there is no such file or it has no command for them.
        """
        with self._use(f"stat {listed.path!r}") as ftp:
            facts = self._facts(ftp, listed.path, listed)
        return None if facts == Facts() else facts.completed(listed.path, listed.size, listed.modified)

    @contextmanager
    def open(self, file: RemoteFile, offset: int) -> Iterator[Reader]:
        """Yield a reader of a file's bytes from `offset` on."""
        with self._use(f"open {file.path!r}") as ftp:
            start = offset if self._can_start(ftp, file, offset) else 0
            ftp = self.log_in()
            ftp.voidcmd("TYPE I")
            incoming = ftp.transfercmd(f"RETR {ftp.wire(file.path)}", start or None)
        reader = _FtpReader(incoming, file.path, offset - start, Pace(self._endpoint.timeout))
        with self._transfer(ftp, incoming, reader):
            yield reader

    def measure(self, file: UnsizedFile, check: Callable[[], None]) -> int:
        """Read a file to its end and return the number of its bytes, if the server's last reply confirms them."""
        with self._use(f"count the bytes of {file.path!r}") as ftp:
            ftp.voidcmd("TYPE I")
            incoming = ftp.transfercmd(f"RETR {ftp.wire(file.path)}")
        reader = _FtpReader(incoming, file.path, 0, Pace(self._endpoint.timeout))
        with self._transfer(ftp, incoming, reader):
            size = count_bytes(reader, check)
        if not reader.confirmed:
            raise SourceUnavailableError(
                f"count the bytes of {file.path!r}: the server does not confirm that it sent the whole file; "
                "tried again later"
            )
        return size

    def _can_start(self, ftp: Ftp, file: RemoteFile, offset: int) -> bool:
        """Return whether REST works up to an offset. Some servers wrap it, for example at 4 GiB."""
        if offset > self._rest_works_to and file.size - 1 < self._rest_fails_from:
            if self._obeys_rest(ftp, file):
                self._rest_works_to = file.size - 1
            else:
                self._rest_fails_from = file.size - 1
        return offset <= self._rest_works_to

    def _obeys_rest(self, ftp: Ftp, file: RemoteFile) -> bool:
        """Return whether REST works, by reading only the last byte of a file.

        Some servers accept REST and still send the file from its start. A resumed copy could not detect this, because
        staged blocks cannot be read back, and would publish bytes from the wrong offset.
        """
        ftp.voidcmd("TYPE I")
        try:
            incoming = ftp.transfercmd(f"RETR {ftp.wire(file.path)}", file.size - 1)
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            if str(exc).startswith(CONNECTION):
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
        try:
            try:
                yield
            finally:
                incoming.close()
                reader.confirmed = self._leave(ftp, None if reader.ended else _LEAVE_WITHIN)
        except TransferTruncatedError as exc:
            if reader.confirmed or not reader.ended:
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
            if not str(exc).startswith(NOT_FOUND):
                raise
            raise SourceRefusedError(
                f"enter {self._endpoint.folder!r} on {self._where}: {exc}; check the path in the source's URL"
            ) from exc
        self._mlsd = self._endpoint.mlsd and _offers_mlsd(ftp)

    def _resolve(self, ftp: Ftp, path: str, entry: Entry) -> RemoteFile | UnsizedFile | Unread:
        """Return a file or link. Size and time are requested if its entry lacks them, as a link's does."""
        link, listed, facts = entry.kind is Kind.LINK, entry.modified, Facts()
        if listed and self._mlsd:
            listed = self._utc(ftp, path, listed)
        if link or entry.size is None or listed is None:
            facts = self._facts(ftp, path)
        missing = "size" if link or entry.size is None else "modified time"
        if file := facts.completed(path, None if link else entry.size, listed):
            return file
        modified = facts.modified or (None if link else listed)
        if modified and entry.kind is not Kind.UNKNOWN:
            return UnsizedFile(path=path, modified=modified)
        return Unread(text=f"{path}: the server gives no {missing} of it", path=path)

    def _facts(self, ftp: Ftp, path: str, listed: RemoteFile | None = None) -> Facts:
        """Request a file's size and its modification time, which is returned in UTC."""
        facts = ask_facts(ftp, path, mlst=self._mlsd, listed=listed)
        return facts if facts.modified is None else replace(facts, modified=self._utc(ftp, path, facts.modified))

    def _utc(self, ftp: Ftp, path: str, exact: datetime) -> datetime:
        """Return a time of MDTM or MLSD in UTC."""
        now = datetime.now(UTC)
        if self._comparisons and self._clock.is_open(path, exact, now):
            self._comparisons -= 1
            try:
                lines = ftp.lines(f"LIST {ftp.wire(path)}").lines
            except (ftplib.error_perm, ftplib.error_temp):
                lines = []
            self._clock.compare(exact, self._minute_of(path, lines, now), now)
        return self._clock.utc(exact)

    def _minute_of(self, path: str, lines: Iterable[str], now: datetime) -> datetime | None:
        """Return the time that LIST gives of a file; None if it gives the day alone, or several files of its name.

        Some servers list the whole folder instead.
        """
        name = path.rpartition("/")[2]
        found = {parse_list(line, self._zone, now) for line in lines if ":" in line.removesuffix(name)}
        named = [entry for entry in found if entry and entry.name == name]
        return named[0].modified if len(named) == 1 else None

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
        self.confirmed = False
        """Whether the server's last reply says that it sent all that it has."""

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
