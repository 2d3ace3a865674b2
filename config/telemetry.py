"""Every name of our telemetry, and how it is recorded; nothing happens unless an SDK was configured, as Azure does it.

Spans of one archive share a trace: its context travels in the raw blob's metadata and in queue messages, as a W3C
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
"""Seconds that a call may take longer to send its metrics; after that they are sent in the background."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means, and what it is told apart by."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    meaning: str
    dimensions: tuple[str, ...] = ("source",)


METRICS: Mapping[str, Metric] = {
    "archives.copied": Metric("counter", "{archive}", "archives copied"),
    "archives.copied.bytes": Metric("counter", "By", "their size"),
    "archives.terminal": Metric("counter", "{archive}", "archives that reached a terminal state", ("source", "state")),
    "images.processed": Metric("counter", "{image}", "images preprocessed", ("source", "pipeline")),
    "members.refused": Metric("counter", "{member}", "members refused", ("source", "reason")),
    "archive.copy.rate": Metric("histogram", "By/s", "rate of a copy"),
    "archive.lag.raw": Metric("histogram", "s", "from an archive's modified time to its raw blob"),
    "archive.lag.processed": Metric(
        "histogram", "s", "from an archive's modified time to its last image; what is redone does not count"
    ),
    "source.backlog": Metric("gauge", "{file}", "files listed and not yet copied"),
    "source.oldest_uncopied": Metric("gauge", "s", "age of the oldest of them; 0 if there is none"),
    "source.deletion_margin": Metric("gauge", "h", "until the server deletes the next of them; absent if none"),
    "source.last_archive_age": Metric("gauge", "s", "age of the newest archive; absent before the first"),
    "source.silent": Metric("gauge", "s", "since the last complete listing; absent before the first"),
    "source.gaps": Metric("gauge", "{gap}", "gaps in the last PIPELINE_WINDOW, open ones included"),
    "source.near_deletion": Metric("gauge", "{file}", "files not copied with half of their time over"),
    "messages.poison": Metric("gauge", "{message}", "messages that their queue gave up", ("queue",)),
    "events.dead_letter": Metric("gauge", "{event}", "events that Event Grid gave up", ()),
    "watch.runs": Metric("counter", "{run}", "runs of reconcile: the heartbeat", ()),
}
"""Every metric, by its name. Workbook, alerts and queries are built on these."""

type _Labels = Mapping[str, str]


class _Gauge:
    """A gauge that tells each value once.

    A synchronous gauge would send its last value again and again, from each instance that ever set it.
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
"""There is something to flush."""
_SENDING = Lock()
"""Held by the one thread that flushes: an exporter that hangs must not gather a thread for each call."""


def copied(source: str, *, size: int, received: int, seconds: float, lag: timedelta) -> None:
    """Record a copy: `received` bytes, perhaps fewer than its `size`, came in `seconds`."""
    _add("archives.copied", 1, source=source)
    _add("archives.copied.bytes", size, source=source)
    _observe("archive.lag.raw", lag / timedelta(seconds=1), source=source)
    if received and seconds > 0:
        _observe("archive.copy.rate", received / seconds, source=source)


def terminal(source: str, state: str, lag: timedelta | None = None) -> None:
    """Record that an archive is terminal; `lag` where it was processed, and its modified time is known."""
    _add("archives.terminal", 1, source=source, state=state)
    if lag is not None:
        _observe("archive.lag.processed", lag / timedelta(seconds=1), source=source)


def preprocessed(source: str, pipeline: str, images: int, refused: Mapping[str, int]) -> None:
    """Record a batch: its images, and its refused members by reason. Reasons are names of ours or of exceptions."""
    _add("images.processed", images, source=source, pipeline=pipeline)
    for reason, members in refused.items():
        _add("members.refused", members, source=source, reason=reason)


def source(name: str, figures: Mapping[str, float]) -> None:
    """Record what is known of a source, by the names of its gauges behind `source.`."""
    for figure, value in figures.items():
        _set_gauge(f"source.{figure}", value, source=name)


def dead_letters(poison: Mapping[str, int], dead_letters: int) -> None:
    """Record what queues, by their names, and Event Grid gave up."""
    for queue, messages in poison.items():
        _set_gauge("messages.poison", messages, queue=queue)
    _set_gauge("events.dead_letter", dead_letters)


def watch_ran() -> None:
    """Record that somebody watches. An alert that hears none of this fires."""
    _add("watch.runs", 1)


@contextmanager
def call(traceparent: str | None, tracestate: str | None = None) -> Iterator[None]:
    """Go on in the trace of whoever called a function, and send its metrics before it ends: it may freeze then."""
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
    """Time a piece of work within what goes on here, in the trace that `of` tells, or as the `root` of a new one.

    In another trace, what goes on here is linked.
    """
    optional = {"source": source, "archive": archive, "blob": blob}
    attributes = {key: value for key, value in optional.items() if value is not None}
    parent = _remote(of) if of or root else None
    here = trace.get_current_span().get_span_context()
    links = [trace.Link(here)] if parent is not None and here.is_valid else []
    # Exceptions are logged once, where they are handled; told in each span on their way they would count as several.
    with _TRACER.start_as_current_span(name, parent, attributes=attributes, links=links, record_exception=False):
        yield


def traceparent() -> str | None:
    """Name the current span for work that goes on elsewhere; None if nobody records it."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT)


def flush(within: float = _FLUSH_WITHIN) -> None:
    """Send the metrics that were recorded, if any were. Never raises, and takes no longer than `within` seconds."""
    send = getattr(metrics.get_meter_provider(), "force_flush", None)
    until = monotonic() + within
    if send is None or not _RECORDED.is_set() or not _SENDING.acquire(timeout=within):
        return
    _RECORDED.clear()
    # In a thread, since the exporter minds no time limit.
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
    """Tell whether to record nothing: so lag, alerts and every query leave the smoke test out."""
    return labels.get("source") == SMOKE
