"""Whether a server's MDTM and MLSD give UTC, as RFC 3659 demands, or local time, as vsftpd's `use_localtime` does."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
_AHEAD = timedelta(minutes=15)
"""No zone is nearer to UTC. A time further ahead than this is read in the wrong zone."""
_OPTIONS = ("-", "~")
"""First letters of arguments that LIST does not take for a path."""
_HOLDS_FOR = timedelta(hours=1)
"""Time after which the zone is compared again: a server's settings may change."""
_WITH_CLOCK = timedelta(days=170)
"""Age up to which LIST gives the time of day; for older files it gives the year instead, after about 180 days."""


def is_local(exact: datetime, listed: datetime, zone: ZoneInfo, now: datetime) -> bool | None:
    """Return whether a time of MDTM or MLSD is in `zone`, by the same file's time in LIST; None if they do not fit.

    Both are given in UTC, `exact` as if the server gave UTC, `listed` as if LIST were in `zone`.
    """
    as_local = in_zone(exact, zone)
    if timedelta(0) <= as_local - listed < _MINUTE:
        # East of Greenwich UTC would be further in the future still: the server's clock is fast.
        return as_local <= now + _AHEAD or as_local < exact
    return False if timedelta(0) <= exact - listed < _MINUTE else None


def in_zone(exact: datetime, zone: ZoneInfo) -> datetime:
    """Return a time, whose digits were read as UTC, as one in `zone`."""
    try:
        return exact.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return exact


class FtpClock:
    """Converts the times of MDTM and MLSD of one server to UTC. Until it is decided they are taken as UTC."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._local: bool | None = None
        self._decided: datetime | None = None

    def is_open(self, path: str, exact: datetime, now: datetime) -> bool:
        """Return whether the file's time in LIST would decide, which `compare` takes."""
        if in_zone(exact, self._zone) == exact or (self._decided and now - self._decided < _HOLDS_FOR):
            return False
        return now - exact < _WITH_CLOCK and not path.startswith(_OPTIONS)

    def compare(self, exact: datetime, listed: datetime | None, now: datetime) -> None:
        """Decide by the file's time in LIST; None: LIST did not give it. A time that fits neither decides nothing."""
        local = None if listed is None else is_local(exact, listed, self._zone, now)
        # Another connection may have decided meanwhile, by a file that does.
        if local is not None:
            self._local, self._decided = local, now

    def utc(self, exact: datetime) -> datetime:
        """Return a time of MDTM or MLSD in UTC."""
        return in_zone(exact, self._zone) if self._local else exact


_clocks: dict[tuple[str, int, str], FtpClock] = {}


def clock_of(host: str, port: int, zone: str) -> FtpClock:
    """Return the clock of a server. All connections share it, so that they read the same time alike."""
    return _clocks.setdefault((host, port, zone), FtpClock(ZoneInfo(zone)))
