"""Find the times at which a source should have had an archive and had none. No I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

from ingest.active import active_between
from ingest.model import Arrival, Outage, Promises

_NONE = timedelta(0)
_RESTS = timedelta(minutes=2)
"""Time without polls after a host ends, which is normal: timers pause for 62 to 66 s (measured), and the next tick
comes up to 30 s later."""


type _Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A period without archives. `open`: it still lasts."""

    start: datetime
    end: datetime
    open: bool = False
    active: timedelta
    """The part of it that lies in the hours in which archives are expected."""
    missing: int
    """Estimated number of missing archives, by the source's interval."""
    outage: Outage | None = None
    """The outage that explains the gap: the source could not be listed; None if no outage does."""

    @property
    def unheard(self) -> bool:
        """Return whether the outage still lasts, so that only the next listing shows whether there were files."""
        return self.outage is not None and self.outage.end is None


def find_gaps(
    promises: Promises, arrivals: Iterable[Arrival], now: datetime, outages: Sequence[Outage] = ()
) -> Sequence[Gap]:
    """Return the gaps between neighbouring archives, oldest first, and the open gap after the newest if there is one.

    A source without archives has no gap, because the time of its first archive is unknown.
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
    """Return the outages that explain a gap as one; None if a span outside of them exceeds `longest`.

    `longest` includes the delay of archives, because one may have been late when the outage began.
    """
    left = _without(expected, [(outage.start, outage.end or now) for outage in unheard])
    return replace(unheard[-1], start=unheard[0].start) if unheard and _longest(left) <= longest else None


def _longest(spans: Iterable[_Span]) -> timedelta:
    return max((end - start for start, end in spans), default=_NONE)


def _without(spans: Sequence[_Span], others: Sequence[_Span]) -> Sequence[_Span]:
    """Return `spans` with `others` cut out of them; both are in order."""
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
    """Return an archive's stamp, or the time first seen if that is earlier, because a clock may run ahead."""
    return arrival.stamp if arrival.seen is None else min(arrival.stamp, arrival.seen)


def _delay(arrivals: Iterable[Arrival]) -> timedelta:
    """Return the time that may pass between an archive's stamp and the first poll that sees it.

    It is large if, for example, the stamp is the beginning of a measurement. The smallest delay counts, because the
    first listing of a server, or the first after an outage, finds older archives late.
    """
    delays = [arrival.seen - time_of(arrival) for arrival in arrivals if arrival.seen and not arrival.by_hand]
    return min(delays, default=_NONE) + _RESTS
