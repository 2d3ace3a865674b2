"""Looks at what the app leaves in storage: is it alive, does it keep up, whose results are these."""

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

_SEE = "look into its log"


def check_storage(clients: Clients) -> Iterator[Finding]:
    """Try every container, table and queue, and count what was given up."""
    for outcome in (*probe(clients), *probe_dead_letters(clients)):
        yield (
            wrong("storage", f"{outcome.name}: {outcome.problem}")
            if outcome.problem
            else ok("storage", f"{outcome.name}: {outcome.detail}")
        )


def check_identity(where: Storage) -> Iterator[Finding]:
    """Say it where storage was tried as the person who asks: a role that the app lacks does not show then."""
    if where.connection is None and where.client_id is None:
        yield unknown(
            "storage",
            "the rights of the app's own identity: all this was tried with yours. infra/deploy.sh gives it its roles; "
            "its last polls and its run of reconcile, below, show whether they suffice",
        )


def check_pipeline(clients: Clients, settings: Settings) -> Iterator[Finding]:
    """Hold the preprocessing settings against those that made the results of that name."""
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
    """Say that a pipeline's name stands for other settings."""
    return (
        f"{pipeline}: its results were made with other settings, so nothing is preprocessed; set PIPELINE_NAME to a "
        "new name, or set the PREPROCESS_ settings back"
    )


def check_polling(clients: Clients, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Tell from the source states whether the app polls, and what the last poll said."""
    source_states = BlobSourceStates(clients)
    for name, source in settings.sources.items():
        try:
            source_state = source_states.look(name)
        except PipelineError as exc:
            yield unknown("app", f"{name}: {exc}")
        else:
            yield from _check_source(source, source_state or SourceState(source=name), now)


def check_runs(clients: Clients, now: datetime) -> Iterator[Finding]:
    """Tell when each function last came to its end. Without messages nobody calls those of queues."""
    try:
        runs = last_runs(clients)
    except PipelineError as exc:
        yield unknown("app", f"when functions last ran: {exc}")
        return
    found = list(find_overdue(runs, {}, now))
    yield from map(_from_finding, found)
    for function, run in runs.items():
        if function not in {finding.name for finding in found}:
            yield ok("app", f"{function} last came to its end {(now - run.at).total_seconds() / 60:.0f} min ago")
    for function in TIMERS if not runs else ():
        yield unknown("app", f"{function} has not come to its end yet: is the app just starting? Else {_SEE}")


def check_listeners(clients: Clients, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Tell whether messages wait for somebody who never comes."""
    try:
        found = list(check_queues(clients, settings.sources, now, settings.pipeline.window))
    except PipelineError as exc:
        yield unknown("app", f"queues: {exc}")
        return
    yield from map(_from_finding, found)
    if not found:
        yield ok("app", "queues: no message waits in vain; whether the app listens `doctor --smoke` tries")


def _check_source(source: Source, state: SourceState, now: datetime) -> Iterator[Finding]:
    name = source.spec.name
    # What came before is the audit's affair: it reads the ledger.
    found = list(check_source(name, Held(promises={name: source.spec}), state, state.arrivals, now, since=now))
    yield from map(_from_finding, few(found))
    if state.listed_at and not any(finding.slug in ANSWERS for finding in found):
        waiting = sum(not tracked_file.done for tracked_file in state.tracked_files)
        files = count(len(state.tracked_files), "file")
        ago = f"{(now - state.listed_at).total_seconds():.0f} s ago"
        error = f"; the last poll failed: {state.error}" if state.error else ""
        yield ok("app", f"{name}: listed {ago}, {waiting} of {files} not copied yet{error}")


def _from_finding(finding: HealthFinding) -> Finding:
    # Whoever calls the doctor expects that the app runs.
    bad = finding.severity is Severity.MISSING or finding.slug in ANSWERS
    return (wrong if bad else unknown)("app", finding.message)
