"""Wiring: reads the settings, opens connections, and passes adapters to each use case.

Modules are imported inside the functions that need them, so that the functions host indexes the app quickly.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from config import telemetry
from imagefeed.errors import PermanentError, PipelineError, TransientError
from imagefeed.layout import RAW_CONTAINER, SMOKE

if TYPE_CHECKING:
    from config.settings import Settings, Storage
    from ops.web.views import StatusViews
    from preprocess.context import Context, ReplayContext
    from preprocess.recipe import Identity
    from storage.blobs.runs import LastRun
    from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")

_NOTE_EVERY = 60.0
_NOTED: dict[str, float] = {}
"""Monotonic seconds at which this process last recorded a run, by function name."""
_BATCH_LOCK = Lock()
"""Limits this process to one batch at a time, whichever function runs it."""
_RUN = timedelta(minutes=15)
"""Time limit of a run of `reconcile`: half of functionTimeout, which leaves time for a last request that hangs."""
_MOST_LOOKS = 8
"""Sources whose open archives are checked concurrently."""

_POLLED = set[str]()
"""Sources that this process has polled. New settings start a new process, so its first poll ignores the back-off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Settings and connections that every call needs."""

    settings: "Settings"
    clients: "Clients"


def open_clients(storage: "Storage | None" = None, **options: Any) -> "Clients":
    """Connect to `storage`, or to the storage of the app settings. Raises SettingsError."""
    from config.settings import read_storage
    from storage.clients import connect

    where = storage or read_storage()
    return connect(
        where.connection, blob=where.blob, queue=where.queue, table=where.table, client_id=where.client_id, **options
    )


@cache
def build_services() -> Services:
    """Read the settings and connect, once per process. Raises SettingsError; every call fails until they are fixed."""
    from config.settings import settings

    return Services(settings=settings(), clients=open_clients(settings().storage))


@cache
def _identity() -> "Identity":
    from preprocess.recipe import identify

    settings = build_services().settings
    return identify(settings.recipe, settings.pipeline.name)


@cache
def build_replay_context() -> "ReplayContext":
    """Build the context for queuing archives and batches, once per process.

    Raises SettingsError, PipelineMismatchError, StoreUnavailableError.
    """
    from ingest.timestamps import stamps_by
    from preprocess.context import ReplayContext
    from storage.blobs.pipelines import hold_pipeline
    from storage.blobs.raw import RawBlobs
    from storage.queues.messages import BatchMessages
    from storage.tables.batches import TableBatchLedger

    settings, clients, identity = build_services().settings, build_services().clients, _identity()
    hold_pipeline(clients, identity.pipeline, identity.fingerprint)
    redrive_after = settings.pipeline.redrive_after
    return ReplayContext(
        raw=RawBlobs(clients, stamps_by({name: source.spec.stamp for name, source in settings.sources.items()})),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        pipeline=identity.pipeline,
        redrive_after=redrive_after,
        redrive_tries=settings.pipeline.redrive_tries,
        # One minute at the default of 15 minutes. Shorter in tests, but never too short for renewals.
        claim_for=min(max(redrive_after / 15, timedelta(seconds=5)), redrive_after / 2, timedelta(minutes=1)),
    )


@cache
def build_context() -> "Context":
    """Build the preprocessing context, once per process.

    Raises SettingsError, PipelineMismatchError, StoreUnavailableError.
    """
    from preprocess.context import Context
    from storage.results import ShardsAndRows

    settings, clients, replaying = build_services().settings, build_services().clients, build_replay_context()
    return Context(
        **{field.name: getattr(replaying, field.name) for field in fields(replaying)},
        results=ShardsAndRows(clients, settings.recipe.codec, settings.table.max_rows_per_image),
        recipe=settings.recipe,
        hook=_identity().hook,
        limits=settings.limits,
        sizes=settings.batches,
        member_encodings=settings.member_encodings,
        batch_lock=_BATCH_LOCK,
    )


@cache
def build_status_views() -> "StatusViews":
    """Build the views of the status page, once per process. Raises SettingsError."""
    from ops.web.views import StatusViews

    services = build_services()
    return StatusViews(services.clients, {name: source.spec for name, source in services.settings.sources.items()})


def poll_source(name: str, traceparent: str | None = None) -> None:
    """Poll one source. Log a warning if the settings do not contain it (any more)."""
    from ingest.poll import poll
    from ingest.protocols.connect import connector
    from preprocess.zip import end
    from storage.blobs.raw_upload import BlobArchives
    from storage.blobs.source_state import BlobSourceStates
    from storage.tables.archives import TableCopyLedger

    if name == SMOKE:
        log.info("poll.smoke: the queue of polls is listened to")
        return
    source, clients = build_services().settings.sources.get(name), build_services().clients
    if source is None:
        log.warning("poll.unknown source=%r: no such source in the settings (any more)", name)
        return
    report = poll(
        source.spec,
        connector(source.endpoint),
        BlobSourceStates(clients),
        BlobArchives(clients),
        TableCopyLedger(clients, _pipeline()),
        zip_end=end,
        traceparent=traceparent,
        at_once=name not in _POLLED,
    )
    if not report.busy:
        _POLLED.add(name)


def _pipeline() -> str | None:
    """Return the pipeline's name; None if its settings are wrong, which stops preprocessing but not copying."""
    try:
        return build_replay_context().pipeline
    except PipelineError as exc:
        log.warning("pipeline.unknown error=%s", exc)
        return None


def recovering() -> AbstractContextManager[None]:
    """Redrive work that crashed processes held: at once, then every half a minute while the block runs."""
    from preprocess.recovery.crashes import every, redrive_crashed
    from storage.blobs.raw import MANUAL

    def look() -> None:
        ctx, sources = build_replay_context(), (*build_services().settings.sources, MANUAL)

        def look_at(source: str) -> None:
            try:
                redrive_crashed(source, ctx, datetime.now(UTC))
            except PipelineError as exc:
                # An error of one source must not hold up the others.
                log.warning("crashes.deferred source=%s error=%s", source, exc)

        with ThreadPoolExecutor(min(len(sources), _MOST_LOOKS)) as pool:
            list(pool.map(look_at, sources))

    return every(min(timedelta(seconds=30), build_services().settings.pipeline.redrive_after / 30), look)


def reconcile_steps(now: datetime) -> dict[str, Callable[[], object]]:
    """Return the steps of the timer `reconcile`, in order, by the names used in log lines. Raises SettingsError.

    `watch` is first and needs no preprocessing, so that missing archives are reported even if preprocessing is stopped.
    """
    services = build_services()
    return {
        "watch": partial(_watch, services, now),
        "queues": partial(_check_queues, services, now),
        "reconcile": partial(_reconcile, services, now),
        "current": partial(_switch_pipelines, services, now),
        "repair": partial(_repair, services, now),
        "dead_letters": partial(_redrive_dead_letters, services, now),
    }


def record_run(function: str) -> None:
    """Record that a call has ended, at most once a minute. Errors are only logged, because the call's work is done."""
    from storage.blobs.runs import FUNCTIONS, describe_run, note_run

    if function not in FUNCTIONS or monotonic() - _NOTED.get(function, -_NOTE_EVERY) < _NOTE_EVERY:
        return
    _NOTED[function] = monotonic()
    try:
        services = build_services()
        run = describe_run(function, services.settings, datetime.now(UTC))
        note_run(services.clients, function, _with_pipeline(run) if function == "poll_sources" else run)
    except PipelineError as exc:
        log.warning("run.not_noted function=%s error=%r", function, str(exc))


def _with_pipeline(run: "LastRun") -> "LastRun":
    """Return the run with the app's pipeline, or with the reason why preprocessing is stopped."""
    try:
        build_replay_context()
    except PermanentError as exc:
        return replace(run, stopped=str(exc))
    return replace(run, pipeline=_identity().pipeline, fingerprint=_identity().fingerprint)


def _watch(services: Services, now: datetime) -> None:
    from ops.health.load import find_in_results
    from ops.health.watch import watch
    from storage.blobs.source_state import BlobSourceStates
    from storage.tables.arrivals import TableArrivals

    specs = [services.settings.sources[name].spec for name in _names(services, now)]
    window = services.settings.pipeline.window
    clients, results = services.clients, partial(find_in_results, services.clients)
    watch(in_time(specs, now), BlobSourceStates(clients), TableArrivals(clients), now, window, results)


def _check_queues(services: Services, now: datetime) -> None:
    """Log findings about the app itself. A check with a transient error is repeated by the next run."""
    from ops.health.app_checks import check_preprocessing, check_runs
    from ops.health.findings import Severity
    from ops.health.listening import check_queues
    from ops.health.watch import log_findings
    from storage.blobs.runs import last_runs

    clients, settings = services.clients, services.settings
    try:
        runs = last_runs(clients)
        log_findings(check_preprocessing(runs))
        for finding in (
            *check_runs(runs, {}, now),
            *check_queues(clients, settings.sources, now, settings.pipeline.window),
        ):
            if finding.severity is Severity.MISSING:
                log.error("function.stands_still function=%s %s: %s", finding.name, finding.detail, finding.advice)
    except TransientError as exc:
        log.warning("queues.deferred error=%s", exc)


def _reconcile(services: Services, now: datetime) -> None:
    from preprocess.recovery.reconcile import reconcile

    reconcile(in_time(_names(services, now), now), build_context(), now, services.settings.pipeline.window)


def _switch_pipelines(services: Services, now: datetime) -> None:
    from preprocess.recovery.current import switch_pipelines
    from storage.blobs.current_pipeline import BlobCurrentPipelines

    settings, current = services.settings, BlobCurrentPipelines(services.clients)
    switch_pipelines(settings.sources, build_context().pipeline, current, now, settings.pipeline.window)


def _repair(services: Services, now: datetime) -> None:
    from ops.health.result_audit import SlicedResultAudit
    from preprocess.recovery.repair import repair

    names, window = _names(services, now), services.settings.pipeline.window
    repair(in_time(names, now), SlicedResultAudit(services.clients), build_context(), now, window)


def _redrive_dead_letters(services: Services, now: datetime) -> None:
    from preprocess.event import archive_blob
    from preprocess.recovery.dead_letters import settle_dead_letters
    from storage.queues.dead_letters import count_dead_letters, dead_letters, poison_messages

    telemetry.dead_letters(*count_dead_letters(services.clients))
    ctx, settings, clients = build_context(), services.settings, services.clients
    announced = partial(archive_blob, container=RAW_CONTAINER)
    for letters in (poison_messages(clients), dead_letters(clients, announced)):
        settle_dead_letters(
            in_time(letters, now), ctx, now, sources=settings.sources.keys(), window=settings.pipeline.window
        )


def _names(services: Services, now: datetime) -> Sequence[str]:
    """Return the sources' names, rotated at each run, so that a run cut short does not skip the same ones each time."""
    names = list(services.settings.sources)
    start = int(now.timestamp() // _RUN.total_seconds()) % max(len(names), 1)
    return [*names[start:], *names[:start]]


def in_time[T](items: Iterable[T], began: datetime) -> Iterator[T]:
    """Yield items until the time limit of `reconcile` is reached: a run must end before the host ends it."""
    for item in items:
        if datetime.now(UTC) - began > _RUN:
            log.warning("reconcile.cut: it has taken %s; the next run continues", _RUN)
            return
        yield item
