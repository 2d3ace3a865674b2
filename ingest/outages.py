"""Outages of a source: the last 50 periods in which it could not be listed. Pure functions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ingest.model import Outage, SourceState

_LIMIT = 50
_SAME = timedelta(minutes=10)
"""An outage that begins within this time after another extends it, so that a flapping server does not fill the list."""
_NOT_POLLED = timedelta(minutes=10)
"""A source counts as not polled after this long without a listing, plus the time that a poll may copy."""


def begun(outages: Sequence[Outage], at: datetime, error: str, *, refused: bool) -> tuple[Outage, ...]:
    """Return the outages after a failed poll: the last one extended, or a new one."""
    *earlier, last = outages or (None,)
    start = last.start if last and (last.end is None or at - last.end <= _SAME) else at
    kept = [*earlier, *([last] if last and start == at else [])]
    return tuple([*kept, Outage(start=start, end=None, error=error, refused=refused)][-_LIMIT:])


def ended(outages: tuple[Outage, ...], at: datetime | None) -> tuple[Outage, ...]:
    """Return the outages after a complete listing at `at`, which ends the last one."""
    if not outages or outages[-1].end is not None or at is None or at < outages[-1].start:
        return outages
    return (*outages[:-1], replace(outages[-1], end=at))


def unlisted(source_state: SourceState, now: datetime) -> Sequence[Outage]:
    """Return all periods without a listing: the outages, and the time since the last listing if polling stopped."""
    budget = source_state.promises.budget if source_state.promises else timedelta(0)
    listed_at, outages = source_state.listed_at, source_state.outages
    if listed_at is None or source_state.outage or now - listed_at <= _NOT_POLLED + budget:
        return outages
    return [*outages, Outage(start=listed_at, end=None, error=source_state.error or "it was not polled")]
