"""Names of the app's spans and metrics, and functions that record them.

The functions do nothing unless an OpenTelemetry SDK is configured, as it is in Azure.

Spans of one archive share a trace. Its context is stored in the raw blob's metadata and in queue messages, as a W3C
traceparent (https://www.w3.org/TR/trace-context/).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Lock, Thread
from time import monotonic
from typing import Literal

from opentelemetry import context, metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imagefeed.layout import SMOKE

type Span = Literal["tick", "poll", "copy", "plan", "batch", "reconcile"]
SPANS: tuple[Span, ...] = ("tick", "poll", "copy", "plan", "batch", "reconcile")
TRACEPARENT = "traceparent"

_NAME = "ingestion"
_FLUSH_WITHIN = 5.0
"""Seconds that a call waits until its metrics are sent; after that they are sent in the background."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Kind, unit, meaning and dimensions of a metric."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    meaning: str
    dimensions: tuple[str, ...] = ("source",)


METRICS: Mapping[str, Metric] = {
    "archives.copied": Metric("counter", "{archive}", "archives copied"),
    "archives.copied.bytes": Metric("counter", "By", "size of archives copied"),
    "archives.terminal": Metric("counter", "{archive}", "archives that reached a terminal state", ("source", "state")),
    "images.processed": Metric("counter", "{image}", "images preprocessed", ("source", "pipeline")),
    "members.refused": Metric("counter", "{member}", "members refused", ("source", "reason")),
    "archive.copy.rate": Metric("histogram", "By/s", "rate of a copy"),
    "archive.lag.raw": Metric("histogram", "s", "from an archive's modified time to its raw blob"),
    "archive.lag.processed": Metric(
        "histogram", "s", "from an archive's modified time to its last image; only the first time it is preprocessed"
    ),
    "source.backlog": Metric("gauge", "{file}", "files listed and not yet copied"),
    "source.oldest_uncopied": Metric("gauge", "s", "age of the oldest file not yet copied; 0 if there is none"),
    "source.deletion_margin": Metric("gauge", "h", "until the server deletes the next uncopied file; absent if none"),
    "source.last_archive_age": Metric("gauge", "s", "age of the newest archive; absent before the first"),
    "source.silent": Metric("gauge", "s", "time since the last complete listing; absent before the first"),
    "source.gaps": Metric("gauge", "{gap}", "gaps in the last PIPELINE_WINDOW, open ones included"),
    "source.near_deletion": Metric("gauge", "{file}", "files not copied after half of RETENTION"),
    "messages.poison": Metric("gauge", "{message}", "messages in poison queues, after their last try", ("queue",)),
    "events.dead_letter": Metric("gauge", "{event}", "events that Event Grid could not deliver", ()),
    "watch.runs": Metric("counter", "{run}", "runs of reconcile: the heartbeat", ()),
}
"""Every metric, by its name. The workbook, alerts and queries use these names."""

type _Labels = Mapping[str, str]


class _Gauge:
    """A gauge that sends each value once.

    A synchronous gauge would send its last value repeatedly, from each instance that ever set it.
    """

    def __init__(self, name: str, about: Metric) -> None:
        self._values: dict[frozenset[tuple[str, str]], float] = {}
        self._lock = Lock()
        _METER.create_observable_gauge(name, [self._take], about.unit, about.meaning)

    def set(self, value: float, labels: _Labels) -> None:
        with self._lock:
            self._values[frozenset(labels.items())] = value

    def _take(self, _: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        with self._lock:
            values, self._values = self._values, {}
        return (metrics.Observation(value, dict(labels)) for labels, value in values.items())


_METER = metrics.get_meter(_NAME)
_TRACER = trace.get_tracer(_NAME)
_PROPAGATOR = TraceContextTextMapPropagator()
_COUNTERS = {n: _METER.create_counter(n, m.unit, m.meaning) for n, m in METRICS.items() if m.kind == "counter"}
_HISTOGRAMS = {n: _METER.create_histogram(n, m.unit, m.meaning) for n, m in METRICS.items() if m.kind == "histogram"}
_GAUGES = {n: _Gauge(n, m) for n, m in METRICS.items() if m.kind == "gauge"}
_RECORDED = Event()
"""Set if there are metrics to flush."""
_SENDING = Lock()
"""Held by the one thread that flushes, so that a hung exporter does not cost a thread for each call."""


def copied(source: str, *, size: int, received: int, seconds: float, lag: timedelta) -> None:
    """Record a copy: `received` bytes came in `seconds`, which are fewer than `size` if the copy was resumed."""
    _add("archives.copied", 1, source=source)
    _add("archives.copied.bytes", size, source=source)
    _observe("archive.lag.raw", lag / timedelta(seconds=1), source=source)
    if received and seconds > 0:
        _observe("archive.copy.rate", received / seconds, source=source)


def terminal(source: str, state: str, lag: timedelta | None = None) -> None:
    """Record that an archive is terminal; with its `lag` if it was processed and its modified time is known."""
    _add("archives.terminal", 1, source=source, state=state)
    if lag is not None:
        _observe("archive.lag.processed", lag / timedelta(seconds=1), source=source)


def preprocessed(source: str, pipeline: str, images: int, refused: Mapping[str, int]) -> None:
    """Record the images and refused members of a batch, by reason: one of the app's names or an exception's."""
    _add("images.processed", images, source=source, pipeline=pipeline)
    for reason, members in refused.items():
        _add("members.refused", members, source=source, reason=reason)


def source(name: str, figures: Mapping[str, float]) -> None:
    """Record gauges of a source, by their names without `source.`."""
    for figure, value in figures.items():
        _set_gauge(f"source.{figure}", value, source=name)


def dead_letters(poison: Mapping[str, int], dead_letters: int) -> None:
    """Record the numbers of poison messages by queue, and of events that Event Grid could not deliver."""
    for queue, messages in poison.items():
        _set_gauge("messages.poison", messages, queue=queue)
    _set_gauge("events.dead_letter", dead_letters)


def watch_ran() -> None:
    """Record a run of the watch. An alert fires if this metric is absent."""
    _add("watch.runs", 1)


@contextmanager
def call(traceparent: str | None, tracestate: str | None = None) -> Iterator[None]:
    """Continue the caller's trace, and send metrics before the call ends: the process may freeze afterwards."""
    token = context.attach(_remote(traceparent, tracestate))
    try:
        yield
    finally:
        context.detach(token)
        flush()


@contextmanager
def span(
    name: Span,
    *,
    source: str | None = None,
    archive: str | None = None,
    blob: str | None = None,
    of: str | None = None,
    root: bool = False,
) -> Iterator[None]:
    """Record a span: a child of the current one, in the trace of traceparent `of`, or the `root` of a new trace.

    In another trace, the span links to the current one.
    """
    optional = {"source": source, "archive": archive, "blob": blob}
    attributes = {key: value for key, value in optional.items() if value is not None}
    parent = _remote(of) if of or root else None
    here = trace.get_current_span().get_span_context()
    links = [trace.Link(here)] if parent is not None and here.is_valid else []
    # Exceptions are logged once, where they are handled; recorded in each span too, they would count several times.
    with _TRACER.start_as_current_span(name, parent, attributes=attributes, links=links, record_exception=False):
        yield


def traceparent() -> str | None:
    """Return the traceparent of the current span, for work in other processes; None if it is not recorded."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT)


def flush(within: float = _FLUSH_WITHIN) -> None:
    """Send the recorded metrics, if any. Never raises, and returns after at most `within` seconds."""
    send = getattr(metrics.get_meter_provider(), "force_flush", None)
    until = monotonic() + within
    if send is None or not _RECORDED.is_set() or not _SENDING.acquire(timeout=within):
        return
    _RECORDED.clear()
    # In a thread, because the exporter ignores time limits.
    sending = Thread(target=_send, args=(send,), name="telemetry-flush", daemon=True)
    sending.start()
    sending.join(max(until - monotonic(), 0))


def _send(send: Callable[[], object]) -> None:
    try:
        send()
    finally:
        _SENDING.release()


def _remote(traceparent: str | None, tracestate: str | None = None) -> context.Context:
    carrier = {TRACEPARENT: traceparent or "", "tracestate": tracestate or ""}
    return _PROPAGATOR.extract(carrier, context.Context())


def _add(name: str, amount: int, **labels: str) -> None:
    if amount and not _is_smoke(labels):
        _COUNTERS[name].add(amount, labels)
        _RECORDED.set()


def _observe(name: str, value: float, **labels: str) -> None:
    if _is_smoke(labels):
        return
    _HISTOGRAMS[name].record(max(value, 0), labels)
    _RECORDED.set()


def _set_gauge(name: str, value: float, **labels: str) -> None:
    if _is_smoke(labels):
        return
    _GAUGES[name].set(value, labels)
    _RECORDED.set()


def _is_smoke(labels: _Labels) -> bool:
    """Return whether metrics are of the smoke test; they are not recorded, so no query or alert counts them."""
    return labels.get("source") == SMOKE
