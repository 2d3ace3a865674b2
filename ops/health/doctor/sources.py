"""Checks a source as polling would: connection, login, listing, first bytes of the newest file."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic

from config.errors import SourceUnavailableError
from config.settings import Source
from imagefeed.durations import format_duration
from imagefeed.errors import PipelineError
from imagefeed.terminal import count
from ingest.model import Endpoint, RemoteFile, SourceSpec, UnreadParts
from ingest.ports import Connection, Connector
from ingest.protocols.connect import connector
from ingest.timestamps import read_stamp
from ingest.tracked_files import relevant, unread_parts, wanted
from ops.health.doctor.findings import Finding, ok, wrong
from ops.health.findings import ADVICE, Slug

CALL_WITHIN = 10.0
"""Timeout of one network call in seconds; short because a person waits."""
WITHIN = 60.0
"""Timeout of all checks of a source in seconds."""
_CLOCK = timedelta(minutes=1)
_ZONES_APART = timedelta(minutes=15)
"""No two zones are nearer to each other. LIST leaves out seconds, and the time of day of old files."""
_FIRST = 1024
_NO_SIZE = "whose size the server does not give, so that it is read twice"


def check_sources(sources: Mapping[str, Source], now: datetime, within: float = WITHIN) -> Iterator[Finding]:
    """Check all sources concurrently, each for at most `within` seconds, and yield their findings."""
    checks = [_SourceCheck(name, source, now) for name, source in sources.items()]
    until = monotonic() + within
    for check in checks:
        yield from check.findings(until, within)


class _SourceCheck(threading.Thread):
    """Checks of one source. A daemon thread: a DNS server that never answers must not block the exit."""

    def __init__(self, name: str, source: Source, now: datetime) -> None:
        super().__init__(name=f"doctor-{name}", daemon=True)
        self._about = name
        self._source = source
        self._now = now
        self._findings: list[Finding] = []
        self._ended = False
        self.start()

    def run(self) -> None:
        """Run the checks and collect their findings."""
        for finding in check_source(self._source, self._now):
            self._findings.append(finding)
        self._ended = True

    def findings(self, until: float, within: float) -> Sequence[Finding]:
        """Return the findings; wait for the checks until `until` (monotonic) at most."""
        self.join(max(0.0, until - monotonic()))
        if self._ended:
            return self._findings
        slow = f"not finished after {within:.0f} s: the server, or DNS, is too slow to be polled"
        why = slow if self.is_alive() else "the check failed; see the traceback"
        return [*self._findings, wrong(self._about, why)]


def check_source(
    source: Source, now: datetime, make_connector: Callable[[Endpoint], Connector] = connector
) -> Iterator[Finding]:
    """Yield findings of connection, login, listing and reading; stop at the first failure."""
    name, endpoint = source.spec.name, source.endpoint
    quick = replace(endpoint, timeout=min(endpoint.timeout, CALL_WITHIN))
    try:
        with make_connector(quick).connect() as connection:
            yield ok(name, f"{_where(endpoint)}: {_trust(endpoint)}, logged in as {endpoint.user}")
            yield from _check_folder(source, connection, now)
    except SourceUnavailableError as exc:
        yield wrong(name, _why_no_answer(quick) or str(exc).removesuffix("; tried again later"))
    except PipelineError as exc:
        yield wrong(name, str(exc))


def _check_folder(source: Source, connection: Connection, now: datetime) -> Iterator[Finding]:
    spec, folder = source.spec, source.endpoint.folder
    listing = connection.list_files()
    unsized = {file.path for file in listing.unsized}
    listed = [*listing.files, *(file.of_size(0) for file in listing.unsized)]
    files = sorted(wanted(spec, listed), key=lambda file: file.modified)
    if unread := unread_parts(relevant(spec, listing.unread)):
        yield wrong(spec.name, _unread(folder, unread))
    if not files:
        if listed or not unread:
            yield wrong(spec.name, _nothing(spec, folder, len(listed)))
        return
    # As polling takes it, which may differ from the listing.
    newest = connection.stat(files[-1]) or files[-1]
    matches = (
        f"{folder!r}: {len(files)} of {count(len(listed), 'file')} match {spec.pattern}, the newest is {newest.path!r}"
    )
    size = _NO_SIZE if newest.path in unsized else f"{newest.size / 1e6:.1f} MB"
    yield ok(spec.name, f"{matches} of {newest.modified:%Y-%m-%d %H:%M:%S} UTC, {size}")
    yield from _read(spec, connection, newest)
    yield from _zone(source, files[-1], newest)
    yield from _times(spec, newest, now)


def _zone(source: Source, listed: RemoteFile, taken: RemoteFile) -> Iterator[Finding]:
    """Compare the two times that FTP servers give of a file: that of LIST, which TIMEZONE is for, and that of MDTM."""
    if abs(taken.modified - listed.modified) >= _ZONES_APART:
        yield wrong(
            source.spec.name,
            f"times: LIST in TIMEZONE {source.endpoint.timezone} gives {listed.modified:%Y-%m-%d %H:%M} UTC for "
            f"{taken.path!r}, and the server's exact time, which is taken, is {taken.modified:%Y-%m-%d %H:%M:%S} UTC; "
            "set TIMEZONE to the zone of the server's listings, and compare with a file of a known time",
        )


def _unread(folder: str, unread: UnreadParts) -> str:
    slug = Slug.LISTING_INCOMPLETE if unread.incomplete else Slug.ENTRY_UNREADABLE
    quoted = ", ".join(map(repr, unread.texts))
    return f"{folder!r}: {count(unread.count, 'part')} of its listing could not be read: {quoted}; {ADVICE[slug]}"


def _nothing(spec: SourceSpec, folder: str, listed: int) -> str:
    if listed:
        files = count(listed, "file")
        return f"{folder!r}: none of {files} matches PATTERN {spec.pattern}; change it, or the folder in the URL"
    return f"{folder!r}: it is empty; check the folder in the URL, and RECURSIVE if archives are in subfolders"


def _read(spec: SourceSpec, connection: Connection, file: RemoteFile) -> Iterator[Finding]:
    with connection.open(file, 0) as reader:
        length = reader.readinto(memoryview(bytearray(min(_FIRST, file.size) or 1)))
    if length or not file.size:
        yield ok(spec.name, f"{file.path!r} can be read")
    else:
        yield wrong(
            spec.name, f"{file.path!r}: listed with {file.size} bytes, but reading returns none; ask the server's owner"
        )


def _times(spec: SourceSpec, newest: RemoteFile, now: datetime) -> Iterator[Finding]:
    """Compare the newest file's time with the clock and with INTERVAL."""
    age, limit = now - newest.modified, spec.interval * spec.gap
    if age < -_CLOCK:
        yield wrong(
            spec.name,
            f"clock: its newest file is {-age.total_seconds():.0f} s ahead of this machine's clock; check both "
            "clocks, and TIMEZONE if the difference is whole hours",
        )
    elif age > limit:
        yield wrong(
            spec.name,
            f"its newest file is {age.total_seconds() / 60:.0f} min old, and INTERVAL promises one every "
            f"{format_duration(spec.interval)}: ask the server's owner; or set INTERVAL, or TIMEZONE",
        )
    else:
        yield ok(spec.name, "the newest file is as young as INTERVAL promises, and not ahead of this machine's clock")
    if spec.stamp and read_stamp(spec.stamp, newest.path) is None:
        yield wrong(
            spec.name, f"STAMP {spec.stamp} does not occur in {newest.path!r}: the modified time is used instead"
        )


def _trust(endpoint: Endpoint) -> str:
    known = {"sftp": "its host key is HOST_KEY", "ftp": "it answers, unprotected"}
    return known.get(endpoint.scheme, "its certificate is trusted")


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.scheme}://{endpoint.host}:{endpoint.port}"


def _why_no_answer(endpoint: Endpoint) -> str | None:
    """Return why the server cannot be reached; None if it can, so that the cause is another."""
    where = _where(endpoint)
    try:
        socket.create_connection((endpoint.host, endpoint.port), endpoint.timeout).close()
    except socket.gaierror:
        return f"{where}: the host name cannot be resolved; check the name in the URL, and DNS"
    except ConnectionRefusedError:
        return f"{where}: nothing listens there; check the port in the URL, and whether the server runs"
    except OSError as exc:
        return (
            f"{where}: cannot connect: {str(exc) or type(exc).__name__}; the server is down, or a firewall blocks this "
            "machine. The app connects from another address: see fixedOutboundAddress in docs/deploy.md"
        )
    return None
