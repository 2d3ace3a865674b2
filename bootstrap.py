"""All wiring, once: settings and connections, and each use case with the adapters that it works with.

What a use case needs is imported when it first runs, so that the app is indexed quickly.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from config import telemetry
from imagefeed.errors import TransientError
from imagefeed.layout import RAW_CONTAINER, SMOKE

if TYPE_CHECKING:
    from config.settings import Settings, Storage
    from ops.web.views import StatusViews
    from preprocess.context import Context
    from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")

_BATCH_LOCK = Lock()
"""One batch at a time in this process, whichever function runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Settings and connections, which every call needs."""

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
    """Read the settings and connect, once a process. Raises SettingsError: then every call fails."""
    from config.settings import settings

    return Services(settings=settings(), clients=open_clients(settings().storage))


@cache
def build_context() -> "Context":
    """Wire preprocessing, once a process. Raises SettingsError, PipelineMismatchError, StoreUnavailableError."""
    from uuid import uuid4

    from ingest.timestamps import stamps_by
    from preprocess.context import Context
    from preprocess.recipe import identify
    from storage.blobs.pipelines import hold_pipeline
    from storage.blobs.raw import RawBlobs
    from storage.queues.messages import BatchMessages
    from storage.results import ShardsAndRows
    from storage.tables.batches import TableBatchLedger

    settings, clients = build_services().settings, build_services().clients
    identity = identify(settings.recipe, settings.pipeline.name)
    hold_pipeline(clients, identity.pipeline, identity.fingerprint)
    return Context(
        raw=RawBlobs(clients, stamps_by({name: source.spec.stamp for name, source in settings.sources.items()})),
        results=ShardsAndRows(clients, settings.recipe.codec, settings.table.max_rows_per_image),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=settings.recipe,
        hook=identity.hook,
        pipeline=identity.pipeline,
        limits=settings.limits,
        sizes=settings.batches,
        owner=uuid4().hex,
        redrive_after=settings.pipeline.redrive_after,
        # A dead owner's claim must have run out when its batch is redriven: else that try is wasted.
        claim_for=min(timedelta(minutes=1), settings.pipeline.redrive_after / 2),
        redrive_tries=settings.pipeline.redrive_tries,
        batch_lock=_BATCH_LOCK,
    )


@cache
def build_status_views() -> "StatusViews":
    """Wire the status page, once a process. Raises SettingsError."""
    from ops.web.views import StatusViews

    services = build_services()
    return StatusViews(services.clients, {name: source.spec for name, source in services.settings.sources.items()})


def poll_source(name: str, traceparent: str | None = None) -> None:
    """Poll one source; a name that no setting knows (any more) is logged."""
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
    poll(
        source.spec,
        connector(source.endpoint),
        BlobSourceStates(clients),
        BlobArchives(clients),
        TableCopyLedger(clients),
        zip_end=end,
        traceparent=traceparent,
    )


def reconcile_steps(now: datetime) -> dict[str, Callable[[], object]]:
    """Return what the timer `reconcile` runs, in order, by the names that its log lines carry. Raises SettingsError.

    Watching comes first and needs no preprocessing: settings that stop that must not hide what is missing.
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


def record_run() -> None:
    """Record that `reconcile` came to its end, and when the next run is due."""
    from config.types import longest_pause
    from storage.blobs.runs import note_run

    services = build_services()
    note_run(services.clients, datetime.now(UTC), longest_pause(services.settings.schedules.reconcile))


def _watch(services: Services, now: datetime) -> None:
    from ops.health.watch import watch
    from storage.blobs.source_state import BlobSourceStates
    from storage.tables.arrivals import TableArrivals

    specs = [source.spec for source in services.settings.sources.values()]
    window = services.settings.pipeline.window
    watch(specs, BlobSourceStates(services.clients), TableArrivals(services.clients), now, window)


def _check_queues(services: Services, now: datetime) -> None:
    """Log queues to which nobody listens. A check that fails for now is left to the next call."""
    from ops.health.listening import check_queues

    settings = services.settings
    try:
        for symptom in check_queues(services.clients, settings.sources, now, settings.pipeline.window):
            log.error("%s %s", symptom.slug, symptom.message)
    except TransientError as exc:
        log.warning("queues.deferred error=%s", exc)


def _reconcile(services: Services, now: datetime) -> None:
    from preprocess.recovery.reconcile import reconcile

    reconcile(list(services.settings.sources), build_context(), now, services.settings.pipeline.window)


def _switch_pipelines(services: Services, now: datetime) -> None:
    from preprocess.recovery.current import switch_pipelines
    from storage.blobs.current_pipeline import BlobCurrentPipelines

    settings, current = services.settings, BlobCurrentPipelines(services.clients)
    switch_pipelines(settings.sources, build_context().pipeline, current, now, settings.pipeline.window)


def _repair(services: Services, now: datetime) -> None:
    from ops.health.result_audit import SlicedResultAudit
    from preprocess.recovery.repair import repair

    settings = services.settings
    repair(list(settings.sources), SlicedResultAudit(services.clients), build_context(), now, settings.pipeline.window)


def _redrive_dead_letters(services: Services, now: datetime) -> None:
    from preprocess.event import archive_blob
    from preprocess.recovery.dead_letters import settle_dead_letters
    from storage.queues.dead_letters import count_dead_letters, dead_letters, poison_messages

    telemetry.dead_letters(*count_dead_letters(services.clients))
    ctx, settings, clients = build_context(), services.settings, services.clients
    announced = partial(archive_blob, container=RAW_CONTAINER)
    for letters in (poison_messages(clients), dead_letters(clients, announced)):
        settle_dead_letters(letters, ctx, now, sources=settings.sources.keys(), window=settings.pipeline.window)
