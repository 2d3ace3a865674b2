"""Times at which a source should have had an archive and had none. Pure arithmetic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

from ingest.active import active_between
from ingest.model import Arrival, Outage, Promises

_NONE = timedelta(0)
_RESTS = timedelta(minutes=2)
"""After each end of a host, an everyday thing, timers rest for 62 to 66 s (measured), and the next tick comes up to
30 s later: for so long nobody looks whether there is an archive."""


type _Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """No archive between two times; `open`: none has come since."""

    start: datetime
    end: datetime
    open: bool = False
    active: timedelta
    """How much of it lies in the hours in which archives are expected."""
    missing: int
    """About so many archives, by the source's interval."""
    outage: Outage | None = None
    """The source could not be listed then."""

    @property
    def unheard(self) -> bool:
        """Whether there were files will show when the source is listed again."""
        return self.outage is not None and self.outage.end is None


def find_gaps(
    promises: Promises, arrivals: Iterable[Arrival], now: datetime, outages: Sequence[Outage] = ()
) -> Sequence[Gap]:
    """Find neighbours that lie too far apart, and the wait for the next archive if it is too long.

    Before a source's first archive there is no gap: nobody knows since when it should have had any.
    """
    known = list(arrivals)
    limit, delay = promises.interval * promises.gap, _delay(known)
    times = sorted({time_of(arrival) for arrival in known})
    found = []
    for start, end in [*pairwise(times), *([(times[-1], now)] if times else [])]:
        is_open = start == times[-1]
        longest = limit + delay if is_open else limit
        expected = active_between(promises.active, start, end) if end - start > longest else ()
        if _longest(expected) > longest:
            outage = _explanation(
                expected, [o for o in outages if o.start < end and (o.end or now) > start], now, limit + delay
            )
            active = sum((later - earlier for earlier, later in expected), _NONE)
            missing = max(1, ceil(active / promises.interval - 0.5) - (0 if is_open else 1))
            found.append(Gap(start=start, end=end, open=is_open, active=active, missing=missing, outage=outage))
    return found


def _explanation(
    expected: Sequence[_Span], unheard: Sequence[Outage], now: datetime, longest: timedelta
) -> Outage | None:
    """Return the outage that explains a gap: what is left beside it is no longer than between two archives.

    What a source brings after its stamp may have been on its way when it could no longer be listed.
    """
    left = _without(expected, [(outage.start, outage.end or now) for outage in unheard])
    return replace(unheard[-1], start=unheard[0].start) if unheard and _longest(left) <= longest else None


def _longest(spans: Iterable[_Span]) -> timedelta:
    return max((end - start for start, end in spans), default=_NONE)


def _without(spans: Sequence[_Span], others: Sequence[_Span]) -> Sequence[_Span]:
    """Return what is left of spans without others, which are in order."""
    left = list(spans)
    for start, end in others:
        left = [
            part
            for earlier, later in left
            for part in ((earlier, min(later, start)), (max(earlier, end), later))
            if part[0] < part[1]
        ]
    return left


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
