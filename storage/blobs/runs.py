"""When `reconcile` last came to its end: a small blob, for all who do not see its telemetry."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.layout import run_blob
from storage.clients import Clients

_NAME = run_blob("reconcile")
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
    told = {"at": at.astimezone(UTC).isoformat(), "every": every.total_seconds() if every else None}
    with azure_errors(f"write {_NAME} to the state container"):
        clients.state.upload_blob(_NAME, json.dumps(told).encode(), overwrite=True)


def last_run(clients: Clients) -> LastRun | None:
    """Read the mark; None if no run has come to its end yet. Raises StoreUnavailableError, StoreRefusedError."""
    with azure_errors(f"read {_NAME} from the state container"):
        try:
            told = json.loads(clients.state.download_blob(_NAME).readall())
        except ResourceNotFoundError as exc:
            if error_code(exc) == "ContainerNotFound":
                raise
            return None
    every = None if told["every"] is None else timedelta(seconds=told["every"])
    return LastRun(at=datetime.fromisoformat(told["at"]), every=every)
