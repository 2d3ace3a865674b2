"""Gauge values of a source, computed from its last listing and the ledger. Pure functions."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ingest.gaps import time_of
from ingest.model import Arrival, Promises, SourceState

_SECOND, _HOUR = timedelta(seconds=1), timedelta(hours=1)


def figures(
    promises: Promises, source_state: SourceState, arrivals: Iterable[Arrival], now: datetime
) -> Mapping[str, float]:
    """Return gauge values by name. Names without a known value are omitted.

    Uncopied archives: `backlog` (number), `oldest_uncopied` (age in seconds) and `deletion_margin` (hours until the
    server deletes the oldest). Seconds since the newest archive and the last listing: `last_archive_age`, `silent`.
    """
    # Use the earlier time, because a server's clock may be ahead.
    waiting = [min(s.archive.file.modified, s.first_seen) for s in source_state.tracked_files if not s.done]
    newest = max(map(time_of, arrivals), default=None)
    values = {"backlog": float(len(waiting)), "oldest_uncopied": 0.0}
    if waiting:
        values["oldest_uncopied"] = (now - min(waiting)) / _SECOND
        values["deletion_margin"] = (min(waiting) + promises.retention - now) / _HOUR
    if newest:
        values["last_archive_age"] = (now - newest) / _SECOND
    if source_state.listed_at:
        values["silent"] = (now - source_state.listed_at) / _SECOND
    return values
