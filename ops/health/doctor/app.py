"""Looks at what the app leaves in storage: is it alive, does it keep up, whose results are these."""

from collections.abc import Iterator
from datetime import datetime

from config.settings import Settings, Source, Storage
from imagefeed.errors import PipelineError
from imagefeed.terminal import count
from ingest.model import SourceState
from ops.health.doctor.findings import Finding, ok, unknown, wrong
from ops.health.listening import check_queues, why_overdue
from ops.health.probe import probe, probe_dead_letters
from ops.health.watch import find_deadlines, find_silence
from preprocess.recipe import identify
from storage.blobs.pipelines import known_fingerprint
from storage.blobs.runs import FUNCTIONS, TIMERS, last_runs
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
    for function in FUNCTIONS:
        run = runs.get(function)
        if run is None:
            if function in TIMERS:
                yield unknown("app", f"{function} has not come to its end yet: is the app just starting? Else {_SEE}")
            continue
        message = f"{function} last came to its end {(now - run.at).total_seconds() / 60:.0f} min ago"
        if run.every is not None and run.is_overdue(now):
            yield wrong("app", f"{message}, and {why_overdue(run.every).removeprefix('it ')}")
        else:
            yield ok("app", message)


def check_listeners(clients: Clients, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Tell whether messages wait for somebody who never comes."""
    try:
        symptoms = list(check_queues(clients, settings.sources, now, settings.pipeline.window))
    except PipelineError as exc:
        yield unknown("app", f"queues: {exc}")
        return
    yield from (wrong("app", symptom.message) for symptom in symptoms)
    if not symptoms:
        yield ok("app", "queues: no message waits in vain; whether the app listens `doctor --smoke` tries")


def _check_source(source: Source, source_state: SourceState, now: datetime) -> Iterator[Finding]:
    name = source.spec.name
    silence = find_silence(source.spec, source_state, now)
    if silence and silence.error:
        yield wrong("app", f"{name}: its polls fail (the last good one: {_when(silence.since)}): {silence.error}")
    elif silence:
        yield wrong(
            "app",
            f"{name}: last listed {_when(silence.since)}: the app is not running, or its timers stand still, which is "
            "known to happen after a deployment: restart it, and look into its log",
        )
    elif source_state.listed_at:
        waiting = sum(not tracked_file.done for tracked_file in source_state.tracked_files)
        files = count(len(source_state.tracked_files), "file")
        ago = f"{(now - source_state.listed_at).total_seconds():.0f} s ago"
        error = f"; the last poll failed: {source_state.error}" if source_state.error else ""
        yield ok(
            "app",
            f"{name}: listed {ago}, {waiting} of {files} not copied yet{error}",
        )
    late = find_deadlines(source.spec, source_state, now)
    if late:
        first = late[0].tracked_file.archive.file.path
        yield wrong(
            "app", f"{name}: not copied and near their deletion: {count(len(late), 'file')}, {first!r} is the next"
        )


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "never"
