"""When each function last came to its end: small blobs, for all who do not see its telemetry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from config.schedules import longest_pause
from config.settings import Settings
from imagefeed.layout import run_blob
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients

TIMERS = ("poll_sources", "reconcile")
FUNCTIONS = (*TIMERS, "poll_source", "process_batch")
"""All that should run without anybody's doing: by a timer, or because messages wait."""
FUNCTION_TIMEOUT = timedelta(minutes=30)
"""As in host.json."""
_MISSED = 4
"""Runs that may be missed before it counts as standing still."""
_PATIENCE = timedelta(minutes=10)
"""However often it is to run: much to do holds it up for minutes, and each end of a host for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last run of a function that came to its end."""

    at: datetime
    every: timedelta | None = None
    """The longest time between two runs by its schedule; None if nobody knows, or messages start it."""
    takes: timedelta = timedelta()
    """How long one run may take besides."""
    sources: tuple[str, ...] = ()
    """Of the timer that polls: those in the app's settings. What another source once promised is history."""
    pipeline: str | None = None
    """Of the timer that polls: the pipeline that the app runs under; None if nobody knows."""
    fingerprint: str | None = None
    """Of that pipeline's settings and hook."""
    stopped: str | None = None
    """Of the timer that polls: why the app preprocesses nothing; None if it does."""

    def is_overdue(self, now: datetime, waiting: int = 0) -> bool:
        """Tell whether it stands still by now: by its schedule, or because so many messages wait for it."""
        if self.every is None and not waiting:
            return False
        return now - self.at > max(_MISSED * (self.every or timedelta()), _PATIENCE) + self.takes


def describe_run(function: str, settings: Settings, at: datetime) -> LastRun:
    """Describe a run that came to its end."""
    budgets = [source.spec.budget for source in settings.sources.values()]
    poll = max(budgets, default=timedelta())
    match function:
        case "poll_sources":
            # The one source is polled in the timer's own call.
            takes = poll if len(budgets) == 1 else timedelta()
            return LastRun(
                at=at, every=longest_pause(settings.schedules.poll), takes=takes, sources=(*settings.sources,)
            )
        case "reconcile":
            return LastRun(at=at, every=longest_pause(settings.schedules.reconcile))
        case "poll_source":
            return LastRun(at=at, takes=poll)
        case _:
            return LastRun(at=at, takes=FUNCTION_TIMEOUT)


def note_run(clients: Clients, function: str, run: LastRun) -> None:
    """Leave the mark of a run. Raises StoreUnavailableError, StoreRefusedError."""
    _mark(clients, function).write(run)


def last_run(clients: Clients, function: str) -> LastRun | None:
    """Read the mark; None if no run has come to its end yet. Raises StoreUnavailableError, StoreRefusedError."""
    return _mark(clients, function).read()


def last_runs(clients: Clients) -> Mapping[str, LastRun]:
    """Read the marks of all functions that have one. Raises StoreUnavailableError, StoreRefusedError."""
    runs = {function: last_run(clients, function) for function in FUNCTIONS}
    return {function: run for function, run in runs.items() if run is not None}


def _mark(clients: Clients, function: str) -> JsonBlob[LastRun]:
    return JsonBlob(clients.state, run_blob(function), LastRun)
