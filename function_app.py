"""Triggers only: each translates its input and calls one use case. The wiring is in bootstrap.py.

Modules are imported inside the functions that need them, so that the functions host indexes the app quickly.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import azure.functions as func

import bootstrap
from config import calls, telemetry
from config.errors import SettingsError
from imagefeed.errors import PermanentError
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE, RAW_CONTAINER

if TYPE_CHECKING:
    from ops.web.responses import Request, Response

log = logging.getLogger(f"ingestion.{__name__}")
app = func.FunctionApp()


@app.function_name("poll_sources")
@app.timer_trigger(arg_name="timer", schedule="%POLL_SCHEDULE%", use_monitor=False)
def poll_sources(timer: func.TimerRequest, context: func.Context) -> None:  # noqa: ARG001 -- the trigger passes it
    """Redrive work of crashed processes, then poll a single source here, or queue one message per source."""
    from storage.queues.messages import PollMessages

    services = bootstrap.build_services()
    sources = list(services.settings.sources)
    with _traced(context), bootstrap.recovering():
        if len(sources) == 1:
            bootstrap.poll_source(sources[0])
        else:
            polls = PollMessages(services.clients)
            # A timer's call has no trace. This span groups the polls of one tick.
            with telemetry.span("tick"):
                for source in sources:
                    polls.put(source)


@app.function_name("poll_source")
@app.queue_trigger(arg_name="message", queue_name=POLL_QUEUE, connection="DATA_STORAGE")
def poll_source(message: func.QueueMessage, context: func.Context) -> None:
    """Poll the source that a message names."""
    from storage.queues.messages import parse_poll_message

    with _traced(context), suppress_permanent("poll_source"):
        request = parse_poll_message(message.get_body())
        if not request.is_stale(datetime.now(UTC)):
            bootstrap.poll_source(request.source, request.traceparent)


@app.function_name("on_raw_archive")
@app.event_grid_trigger(arg_name="event")
def on_raw_archive(event: func.EventGridEvent, context: func.Context) -> None:
    """Plan the archive that an event announces; preprocess it here if it is small, else queue its batches."""
    from preprocess.handlers import handle_archive_created

    blob = announced_archive(event)
    if blob is None:
        return
    with _traced(context), suppress_permanent("on_raw_archive"):
        handle_archive_created(blob, bootstrap.build_context())


def announced_archive(event: func.EventGridEvent | func.CloudEvent) -> str | None:
    """Return the blob name of the archive that an event of either schema announces; None if it announces none."""
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
    """Preprocess the batch that a message names, or plan the archive if it names no batch."""
    from preprocess.handlers import handle_batch_message
    from storage.queues.messages import parse_batch_message

    with _traced(context), suppress_permanent("process_batch"):
        handle_batch_message(parse_batch_message(message.get_body()), bootstrap.build_context())


@app.function_name("reconcile")
@app.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%", use_monitor=False)
def reconcile(timer: func.TimerRequest, context: func.Context) -> None:  # noqa: ARG001 -- the trigger passes it
    """Log what is missing, and redrive work that stopped half way."""
    with _traced(context), telemetry.span("reconcile"):
        for name, step in bootstrap.reconcile_steps(datetime.now(UTC)).items():
            with suppress_permanent(name):
                step()
            if name == "watch":
                telemetry.watch_ran()


@app.function_name("status")
@app.route(route="status", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status(req: func.HttpRequest) -> func.HttpResponse:
    """Return the status page: the last hours of every source."""
    return _respond(req, lambda request: bootstrap.build_status_views().page(request))


@app.function_name("status_json")
@app.route(route="status.json", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_json(req: func.HttpRequest) -> func.HttpResponse:
    """Return the status as JSON."""
    return _respond(req, lambda request: bootstrap.build_status_views().json(request))


@app.function_name("status_script")
@app.route(route="status/refresh.js", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_script(req: func.HttpRequest) -> func.HttpResponse:
    """Return the script that refreshes the page. It needs no settings."""
    from ops.web.views import refresh_script

    return _respond(req, refresh_script)


@app.function_name("status_archive")
@app.route(route="archives/{source}/{id}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_archive(req: func.HttpRequest) -> func.HttpResponse:
    """Return the page of one archive."""
    source, name = req.route_params["source"], req.route_params["id"]
    return _respond(req, lambda request: bootstrap.build_status_views().archive(request, source, name))


@app.function_name("status_image")
@app.route(route="images/{source}/{id}/{pipeline}/{image}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
def status_image(req: func.HttpRequest) -> func.HttpResponse:
    """Return a thumbnail of one image, read from its rows."""
    from ops.web.views import parse_image_key

    part = req.route_params
    key = parse_image_key(part["source"], part["id"], part["pipeline"], part["image"])
    return _respond(req, lambda request: bootstrap.build_status_views().image(request, key))


def _respond(req: func.HttpRequest, make: 'Callable[["Request"], "Response"]') -> func.HttpResponse:
    """Translate a request, and the response that `make` returns. Addresses and keys are never logged."""
    from ops.web.pages import message_page
    from ops.web.responses import Request, guarded, way_up

    request = Request(
        method=req.method,
        root=way_up(req.url, len(req.route_params)),
        code=req.params.get("code"),
        if_none_match=req.headers.get("if-none-match", ""),
        gzip="gzip" in req.headers.get("accept-encoding", ""),
    )
    response = guarded(partial(make, request), partial(message_page, request))
    return func.HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))


@contextmanager
def _traced(context: func.Context) -> Iterator[None]:
    """Continue the caller's trace in this thread, because the worker does not; record the run if the call succeeds.

    Calls of timers and queues have no trace: their first span begins one.
    """
    caller = context.trace_context
    with calls.running(), telemetry.call(caller.trace_parent, caller.trace_state):
        yield
        # Not in a `finally`: a call that fails must not be recorded as a run.
        bootstrap.record_run(context.function_name)


@contextmanager
def suppress_permanent(doing: str) -> Iterator[None]:
    """Log a permanent error and end the call as done, because a retry would fail in the same way.

    SettingsError is raised: it fails the call, so that its message is retried once the settings are fixed.
    """
    try:
        yield
    except SettingsError:
        raise
    except PermanentError:
        log.exception("%s.suppressed", doing)
