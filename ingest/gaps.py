"""Times at which a source should have had an archive and had none. Pure arithmetic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from ingest.model import Arrival, SourceSpec

_NONE = timedelta(0)
_RESTS = timedelta(minutes=2)
"""After each end of a host, an everyday thing, timers rest for 62 to 66 s (measured), and the next tick comes up to
30 s later: for so long nobody looks whether there is an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """No archive between two times; `open`: none has come since."""

    start: datetime
    end: datetime
    open: bool = False


def find_gaps(spec: SourceSpec, arrivals: Iterable[Arrival], now: datetime) -> Sequence[Gap]:
    """Find neighbours that lie too far apart, and the wait for the next archive if it is too long.

    Before a source's first archive there is no gap: nobody knows since when it should have had any.
    """
    known = list(arrivals)
    limit = spec.interval * spec.gap
    times = sorted({time_of(arrival) for arrival in known})
    gaps = [Gap(start=earlier, end=later) for earlier, later in pairwise(times) if later - earlier > limit]
    if times and now - times[-1] > limit + _delay(known):
        gaps.append(Gap(start=times[-1], end=now, open=True))
    return gaps


def time_of(arrival: Arrival) -> datetime:
    """Tell when an archive is from. A clock that runs ahead must not fill the times that are still to come."""
    return arrival.stamp if arrival.seen is None else min(arrival.stamp, arrival.seen)


def _delay(arrivals: Iterable[Arrival]) -> timedelta:
    """Tell how long an archive may be there after its stamp, and nobody know it yet.

    Where a stamp is, say, the beginning of a measurement, the newest archive is never young. The least delay counts:
    after the first look at a server, or one that was down, all older archives seem to be late.
    """
    delays = [arrival.seen - time_of(arrival) for arrival in arrivals if arrival.seen and not arrival.by_hand]
    return min(delays, default=_NONE) + _RESTS
