"""Checks the app through its storage: whether it runs, keeps up, and has the settings of its results."""

from collections.abc import Iterator
from datetime import datetime

from config.settings import Settings, Source, Storage
from imagefeed.errors import PipelineError
from imagefeed.terminal import count
from ingest.model import SourceState
from ops.health.app_checks import check_runs as find_overdue
from ops.health.doctor.findings import Finding, ok, unknown, wrong
from ops.health.findings import ANSWERS, Severity, few
from ops.health.findings import Finding as HealthFinding
from ops.health.listening import check_queues
from ops.health.probe import probe, probe_dead_letters
from ops.health.promises import Held
from ops.health.source_checks import check_source
from preprocess.recipe import identify
from storage.blobs.pipelines import known_fingerprint
from storage.blobs.runs import TIMERS, last_runs
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients

_SEE = "see its log"


def check_storage(clients: Clients) -> Iterator[Finding]:
    """Yield the probes of every container, table and queue, and the dead letters."""
    for outcome in (*probe(clients), *probe_dead_letters(clients)):
        yield (
            wrong("storage", f"{outcome.name}: {outcome.problem}")
            if outcome.problem
            else ok("storage", f"{outcome.name}: {outcome.detail}")
        )


def check_identity(where: Storage) -> Iterator[Finding]:
    """Yield a note if storage was checked with the user's own identity, which does not test the app's roles."""
    if where.connection is None and where.client_id is None:
        yield unknown(
            "storage",
            "the roles of the app's own identity were not tested: these checks used yours. infra/deploy.sh assigns the "
            "app's roles; its last polls and its run of reconcile, below, show whether they suffice",
        )


def check_pipeline(clients: Clients, settings: Settings) -> Iterator[Finding]:
    """Compare the preprocessing settings with those recorded for the pipeline's results."""
    try:
        identity = identify(settings.recipe, settings.pipeline.name)
        first = known_fingerprint(clients, identity.pipeline)
    except PipelineError as exc:
        yield wrong("pipeline", str(exc))
        return
    if first is None:
        yield unknown("pipeline", f"{identity.pipeline}: the app has not run with these settings yet")
    elif first != identity.fingerprint:
        yield wrong("pipeline", other_settings(identity.pipeline))
    else:
        yield ok("pipeline", f"{identity.pipeline}: the settings are those that made its results")


def other_settings(pipeline: str) -> str:
    """Return the message for a pipeline whose results were made with other settings."""
    return (
        f"{pipeline}: its results were made with other settings, so nothing is preprocessed; set PIPELINE_NAME to a "
        "new name, or set the PREPROCESS_ settings back"
    )


def check_polling(clients: Clients, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield from the source states whether the app polls, and the error of the last poll."""
    source_states = BlobSourceStates(clients)
    for name, source in settings.sources.items():
        try:
            source_state = source_states.look(name)
        except PipelineError as exc:
            yield unknown("app", f"{name}: {exc}")
        else:
            yield from _check_source(source, source_state or SourceState(source=name), now)


def check_runs(clients: Clients, now: datetime) -> Iterator[Finding]:
    """Yield when each function last completed. Queue functions do not run without messages."""
    try:
        runs = last_runs(clients)
    except PipelineError as exc:
        yield unknown("app", f"when functions last ran: {exc}")
        return
    found = list(find_overdue(runs, {}, now))
    yield from map(_from_finding, found)
    for function, run in runs.items():
        if function not in {finding.name for finding in found}:
            yield ok("app", f"{function} last completed {(now - run.at).total_seconds() / 60:.0f} min ago")
    for function in TIMERS if not runs else ():
        yield unknown("app", f"{function} has not completed yet: the app may just have started; else {_SEE}")


def check_listeners(clients: Clients, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield the findings of the queue checks."""
    try:
        found = list(check_queues(clients, settings.sources, now, settings.pipeline.window))
    except PipelineError as exc:
        yield unknown("app", f"queues: {exc}")
        return
    yield from map(_from_finding, found)
    if not found:
        yield ok("app", "queues: no message waits too long; `doctor --smoke` tests whether the app reads them")


def _check_source(source: Source, state: SourceState, now: datetime) -> Iterator[Finding]:
    name = source.spec.name
    # Older archives are checked by the audit, which reads the ledger.
    found = list(check_source(name, Held(promises={name: source.spec}), state, state.arrivals, now, since=now))
    yield from map(_from_finding, few(found))
    if state.listed_at and not any(finding.slug in ANSWERS for finding in found):
        waiting = sum(not tracked_file.done for tracked_file in state.tracked_files)
        files = count(len(state.tracked_files), "file")
        ago = f"{(now - state.listed_at).total_seconds():.0f} s ago"
        error = f"; the last poll failed: {state.error}" if state.error else ""
        yield ok("app", f"{name}: listed {ago}, {waiting} of {files} not copied yet{error}")


def _from_finding(finding: HealthFinding) -> Finding:
    # A user of the doctor expects the app to run, so a source that does not answer is WRONG.
    bad = finding.severity is Severity.MISSING or finding.slug in ANSWERS
    return (wrong if bad else unknown)("app", finding.message)
