"""The last completed run of each function, as small blobs, for readers without access to the telemetry."""

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
"""Functions that run by themselves: on a timer, or when messages wait."""
FUNCTION_TIMEOUT = timedelta(minutes=30)
"""The same as functionTimeout in host.json."""
_MISSED = 4
"""Number of runs that may be missed before a function counts as overdue."""
_PATIENCE = timedelta(minutes=10)
"""Minimum delay before a function counts as overdue: heavy load delays it for minutes, a host's end for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last completed run of a function."""

    at: datetime
    every: timedelta | None = None
    """The longest time between two runs by its schedule; None if unknown, or if messages start the function."""
    takes: timedelta = timedelta()
    """How long one run may take, added to the time between runs."""
    sources: tuple[str, ...] = ()
    """For poll_sources: the sources in the app's settings; sources that were removed do not count."""
    pipeline: str | None = None
    """For poll_sources: the pipeline that the app runs under; None if unknown."""
    fingerprint: str | None = None
    """The fingerprint of that pipeline's settings and hook."""
    stopped: str | None = None
    """For poll_sources: the reason why the app preprocesses nothing; None if it does preprocess."""

    def is_overdue(self, now: datetime, waiting: int = 0) -> bool:
        """Return True if the function is overdue by its schedule, or because `waiting` messages are not processed."""
        if self.every is None and not waiting:
            return False
        return now - self.at > max(_MISSED * (self.every or timedelta()), _PATIENCE) + self.takes


def describe_run(function: str, settings: Settings, at: datetime) -> LastRun:
    """Return the record of a run that ended at `at`."""
    budgets = [source.spec.budget for source in settings.sources.values()]
    poll = max(budgets, default=timedelta())
    match function:
        case "poll_sources":
            # A single source is polled in the timer's own call.
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
    """Write the record of a run. Raises StoreUnavailableError, StoreRefusedError."""
    _mark(clients, function).write(run)


def last_run(clients: Clients, function: str) -> LastRun | None:
    """Return the last completed run; None if there is none yet. Raises StoreUnavailableError, StoreRefusedError."""
    return _mark(clients, function).read()


def last_runs(clients: Clients) -> Mapping[str, LastRun]:
    """Return the last completed run of each function that has one. Raises StoreUnavailableError, StoreRefusedError."""
    runs = {function: last_run(clients, function) for function in FUNCTIONS}
    return {function: run for function, run in runs.items() if run is not None}


def _mark(clients: Clients, function: str) -> JsonBlob[LastRun]:
    return JsonBlob(clients.state, run_blob(function), LastRun)
