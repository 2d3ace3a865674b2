"""Triggers only: translate, call one use case. All wiring is in the `build_…` functions.

What a function needs is imported when it first runs, so that the app is indexed quickly.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING

import azure.functions as func

from config import telemetry
from config.errors import SettingsError
from imagefeed.errors import PermanentError, TransientError
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE, RAW_CONTAINER, SMOKE

if TYPE_CHECKING:
    from config.settings import Settings
    from ops.web.responses import Request, Response
    from ops.web.views import StatusViews
    from preprocess.context import Context
    from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")
app = func.FunctionApp()

_SLOT = Lock()
"""One batch at a time in this process, whichever function runs it."""


@app.function_name("poll_sources")
@app.timer_trigger(arg_name="timer", schedule="%POLL_SCHEDULE%", use_monitor=False)
def poll_sources(timer: func.TimerRequest, context: func.Context) -> None:  # noqa: ARG001 -- the trigger passes it
    """Poll the one source in this call; ask for several to be polled, each in a call of its own."""
    from storage.queues.messages import PollMessages

    services = build_services()
    sources = list(services.settings.sources)
    if len(sources) == 1:
        with _traced(context):
            _poll(sources[0], services)
    else:
        polls = PollMessages(services.clients)
        for source in sources:
            # There is no span of ours to go on from: it would cost as much telemetry as the call itself.
            polls.put(source, context.trace_context.trace_parent)


@app.function_name("poll_source")
@app.queue_trigger(arg_name="message", queue_name=POLL_QUEUE, connection="DATA_STORAGE")
def poll_source(message: func.QueueMessage, context: func.Context) -> None:
    """Poll the source that a message names."""
    from storage.queues.messages import parse_poll_message

    services = build_services()
    with _traced(context), _settled("poll_source"):
        asked = parse_poll_message(message.get_body())
        _poll(asked.source, services, asked.traceparent)


@app.function_name("on_raw_archive")
@app.event_grid_trigger(arg_name="event")
def on_raw_archive(event: func.EventGridEvent, context: func.Context) -> None:
    """Plan the archive that an event announces, and preprocess it here if it is small; else queue its batches."""
    from preprocess.handlers import handle_archive_created

    blob = announced_archive(event)
    if blob is None:
        return
    with _traced(context), _settled("on_raw_archive"):
        handle_archive_created(blob, build_preprocessing())


def announced_archive(event: func.EventGridEvent | func.CloudEvent) -> str | None:
    """Name the archive that an event announces, in whichever schema its subscription delivers; None if it is none."""
    from preprocess.event import archive_blob

    kind = event.type if isinstance(event, func.CloudEvent) else event.event_type
    subject, api = event.subject or "", str(event.get_json().get("api", ""))
    blob = archive_blob(kind, subject, api, RAW_CONTAINER)
    if blob is None:
        log.info("event.passed_over type=%r api=%r subject=%r", kind, api, subject)
    return blob


@app.function_name("process_batch")
@app.queue_trigger(arg_name="message", queue_name=BATCH_QUEUE, connection="DATA_STORAGE")
def process_batch(message: func.QueueMessage, context: func.Context) -> None:
    """Preprocess the batch that a message names, or plan the archive where it names none."""
    from preprocess.handlers import handle_batch_message
    from storage.queues.messages import parse_batch_message

    with _traced(context), _settled("process_batch"):
        handle_batch_message(parse_batch_message(message.get_body()), build_preprocessing())


@app.function_name("reconcile")
@app.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%", use_monitor=False)
def reconcile(timer: func.TimerRequest, context: func.Context) -> None:  # noqa: ARG001 -- the trigger passes it
    """Tell what is missing, and drive again what stopped half way."""
    from config.types import longest_pause
    from preprocess.recovery.reconcile import reconcile as redrive
    from storage.blobs.runs import note_run

    with _traced(context), telemetry.span("reconcile"):
        services, now = build_services(), datetime.now(UTC)
        with _settled("watch"):
            # First, and by itself: settings that stop preprocessing must not make anybody blind.
            _watch(services, now)
        telemetry.watch_ran()
        with _settled("queues"):
            _look_at_queues(services, now)
        with _settled("reconcile"):
            redrive(list(services.settings.sources), build_preprocessing(), now, services.settings.pipeline.window)
        with _settled("repair"):
            _repair(services, now)
        with _settled("leftovers"):
            _settle_dead_letters(services, now)
        # Last, so that it tells of calls that fail, too.
        note_run(services.clients, datetime.now(UTC), longest_pause(services.settings.schedules.reconcile))


@app.function_name("status")
@app.route(route="status", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status(req: func.HttpRequest) -> func.HttpResponse:
    """Show the last hours of every source at a glance."""
    return _answer(req, lambda asked: build_status_views().page(asked))


@app.function_name("status_json")
@app.route(route="status.json", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_json(req: func.HttpRequest) -> func.HttpResponse:
    """Give the same for machines."""
    return _answer(req, lambda asked: build_status_views().json(asked))


@app.function_name("status_script")
@app.route(route="status/refresh.js", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_script(req: func.HttpRequest) -> func.HttpResponse:
    """Give the script that keeps the page fresh; it needs nothing, wrong settings included."""
    from ops.web.views import refresh_script

    return _answer(req, refresh_script)


@app.function_name("status_archive")
@app.route(route="archives/{source}/{id}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_archive(req: func.HttpRequest) -> func.HttpResponse:
    """Show one archive."""
    source, name = req.route_params["source"], req.route_params["id"]
    return _answer(req, lambda asked: build_status_views().archive(asked, source, name))


@app.function_name("status_image")
@app.route(route="images/{source}/{id}/{pipeline}/{image}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_image(req: func.HttpRequest) -> func.HttpResponse:
    """Show one image, small, as it is read back from its rows."""
    from ops.web.views import parse_image_key

    where = req.route_params
    key = parse_image_key(where["source"], where["id"], where["pipeline"], where["image"])
    return _answer(req, lambda asked: build_status_views().image(asked, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every call needs."""

    settings: "Settings"
    clients: "Clients"


@cache
def build_services() -> Services:
    """Connect to storage, once a process. Raises SettingsError: then every call fails, and the platform tells."""
    from config.settings import settings
    from storage.clients import connect

    chosen = settings()
    where = chosen.storage
    clients = connect(
        where.connection, blob=where.blob, queue=where.queue, table=where.table, client_id=where.client_id
    )
    return Services(settings=chosen, clients=clients)


@cache
def build_preprocessing() -> "Context":
    """Wire preprocessing, once a process. Raises SettingsError, PipelineMismatchError, StoreUnavailableError."""
    from uuid import uuid4

    from ingest.timestamps import read_stamp
    from preprocess.context import Context
    from preprocess.recipe import identify
    from storage.blobs.pipelines import hold_pipeline
    from storage.blobs.raw import RawBlobs
    from storage.queues.messages import BatchMessages
    from storage.results import ShardsAndRows
    from storage.tables.batches import TableBatchLedger

    chosen, clients = build_services().settings, build_services().clients
    identity = identify(chosen.recipe, chosen.pipeline.name)
    hold_pipeline(clients, identity.pipeline, identity.fingerprint)
    stamps = {source: setting.spec.stamp for source, setting in chosen.sources.items()}

    def stamp_of(source: str, path: str) -> datetime | None:
        pattern = stamps.get(source)
        return read_stamp(pattern, path) if pattern else None

    return Context(
        raw=RawBlobs(clients, stamp_of),
        results=ShardsAndRows(clients, chosen.recipe.codec, chosen.table.max_rows_per_image),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=chosen.recipe,
        hook=identity.hook,
        pipeline=identity.pipeline,
        limits=chosen.limits,
        sizes=chosen.batches,
        owner=uuid4().hex,
        redrive_after=chosen.pipeline.redrive_after,
        # A dead holder's claim must have run out when its batch is driven again: else that try is wasted.
        claim_for=min(timedelta(minutes=1), chosen.pipeline.redrive_after / 2),
        redrive_tries=chosen.pipeline.redrive_tries,
        batch_lock=_SLOT,
    )


@cache
def build_status_views() -> "StatusViews":
    """Wire the status page, once a process. Raises SettingsError."""
    from ops.web.views import StatusViews

    services = build_services()
    return StatusViews(services.clients, {name: source.spec for name, source in services.settings.sources.items()})


def _answer(request: func.HttpRequest, make: 'Callable[["Request"], "Response"]') -> func.HttpResponse:
    """Translate a request, and what `make` answers to it. Neither address nor key is ever logged."""
    from ops.web.pages import message_page
    from ops.web.responses import Request, guarded, way_up

    asked = Request(
        method=request.method,
        root=way_up(request.url, len(request.route_params)),
        code=request.params.get("code"),
        if_none_match=request.headers.get("if-none-match", ""),
        gzip="gzip" in request.headers.get("accept-encoding", ""),
    )
    answer = guarded(partial(make, asked), partial(message_page, asked))
    return func.HttpResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))


def _poll(name: str, services: Services, traceparent: str | None = None) -> None:
    from ingest.poll import poll
    from ingest.protocols.connect import connector
    from preprocess.zip import end
    from storage.blobs.raw_upload import BlobArchives
    from storage.blobs.source_state import BlobSourceStates
    from storage.tables.archives import TableCopyLedger

    if name == SMOKE:
        log.info("poll.smoke: the queue of polls is listened to")
        return
    source = services.settings.sources.get(name)
    if source is None:
        log.warning("poll.unknown source=%r: no such source in the settings (any more)", name)
        return
    clients = services.clients
    poll(
        source.spec,
        connector(source.endpoint),
        BlobSourceStates(clients),
        BlobArchives(clients),
        TableCopyLedger(clients),
        zip_end=end,
        traceparent=traceparent,
    )


def _watch(services: Services, now: datetime) -> None:
    from ops.health.watch import watch
    from storage.blobs.source_state import BlobSourceStates
    from storage.tables.arrivals import TableArrivals

    specs = [source.spec for source in services.settings.sources.values()]
    window = services.settings.pipeline.window
    watch(specs, BlobSourceStates(services.clients), TableArrivals(services.clients), now, window)


def _look_at_queues(services: Services, now: datetime) -> None:
    """Tell of queues to which nobody listens. One look that fails for now is left to the next call."""
    from ops.health.listening import check_queues

    chosen = services.settings
    try:
        for symptom in check_queues(services.clients, chosen.sources, now, chosen.pipeline.window):
            log.error("%s %s", symptom.slug, symptom.message)
    except TransientError as exc:
        log.warning("queues.deferred error=%s", exc)


def _repair(services: Services, now: datetime) -> None:
    from ops.health.result_audit import SlicedResultAudit
    from preprocess.recovery.repair import repair

    chosen = services.settings
    repair(
        list(chosen.sources), SlicedResultAudit(services.clients), build_preprocessing(), now, chosen.pipeline.window
    )


def _settle_dead_letters(services: Services, now: datetime) -> None:
    from preprocess.event import archive_blob
    from preprocess.recovery.dead_letters import settle_dead_letters
    from storage.queues.dead_letters import count_dead_letters, dead_letters, poison_messages

    telemetry.dead_letters(*count_dead_letters(services.clients))
    p, chosen, clients = build_preprocessing(), services.settings, services.clients
    announced = partial(archive_blob, container=RAW_CONTAINER)
    for found in (poison_messages(clients), dead_letters(clients, announced)):
        settle_dead_letters(found, p, now, sources=chosen.sources.keys(), window=chosen.pipeline.window)


def _traced(context: func.Context) -> AbstractContextManager[None]:
    """Go on in the caller's trace: the worker does not carry it into the threads that run functions."""
    caller = context.trace_context
    return telemetry.call(caller.trace_parent, caller.trace_state)


@contextmanager
def _settled(doing: str) -> Iterator[None]:
    """End a call well after a permanent error: another try could not cure it, so it must not be asked for.

    Wrong settings are the exception. They fail the call, so that whatever it was about comes back once they are right.
    """
    try:
        yield
    except SettingsError:
        raise
    except PermanentError:
        log.exception("%s.settled", doing)
