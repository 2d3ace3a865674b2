"""When `reconcile` last came to its end: a small blob, for all who do not see its telemetry."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from imagefeed.layout import run_blob
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients

_MISSED = 4
"""Runs that may be missed before it counts as standing still."""
_PATIENCE = timedelta(minutes=10)
"""However often it is to run: a restart, or much to do, holds it up for minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last run of `reconcile` that came to its end."""

    at: datetime
    every: timedelta | None
    """The longest time between two runs by its schedule; None if nobody knows."""

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether it stands still by now."""
        return self.every is not None and now - self.at > max(_MISSED * self.every, _PATIENCE)


def note_run(clients: Clients, at: datetime, every: timedelta | None) -> None:
    """Leave the mark of a run. Raises StoreUnavailableError, StoreRefusedError."""
    _mark(clients).write(LastRun(at=at, every=every))


def last_run(clients: Clients) -> LastRun | None:
    """Read the mark; None if no run has come to its end yet. Raises StoreUnavailableError, StoreRefusedError."""
    return _mark(clients).read()


def _mark(clients: Clients) -> JsonBlob[LastRun]:
    return JsonBlob(clients.state, run_blob("reconcile"), LastRun)
