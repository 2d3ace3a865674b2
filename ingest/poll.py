"""One tick of a source: list it and copy its new files."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from config import telemetry
from config.errors import LeaseLostError, OutOfTimeError, SettingsError, SourceRefusedError, SourceUnavailableError
from ingest.discover import Discovery
from ingest.model import SourceSpec
from ingest.ports import ArchiveStore, Connector, CopyLedger, SourceStateHold, SourceStateStore, ZipEnd
from ingest.tracker import Copied, FileTracker
from ingest.workers import CopyWorkers

log = logging.getLogger(f"ingestion.{__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """Result of one tick."""

    source: str
    listed: int = 0
    """Files of the last complete listing that PATTERN matches."""
    new: int = 0
    copied: tuple[Copied, ...] = ()
    failed: int = 0
    waiting: int = 0
    """Archives that are tracked and not copied yet."""
    error: str | None = None
    """Why the source could not be polled this time or the last time, or why a file could not be read."""
    not_before: datetime | None = None
    """Time before which the source is not polled again."""
    busy: bool = False
    """Another process polls the source."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def poll(
    spec: SourceSpec,
    connector: Connector,
    source_states: SourceStateStore,
    store: ArchiveStore,
    ledger: CopyLedger,
    *,
    zip_end: ZipEnd,
    now: Callable[[], datetime] = utc_now,
    wait: Callable[[float], None] = time.sleep,
    traceparent: str | None = None,
    at_once: bool = False,
) -> PollReport:
    """List a source and copy its new files, until `spec.budget` is spent. Return a report.

    Spans join the trace that `traceparent` names. A source that failed is not polled for a while, unless `at_once`.
    The report holds the error of a source that is down or refuses us. Raises StoreUnavailableError, StoreRefusedError.
    """
    with telemetry.span("poll", source=spec.name, of=traceparent):
        try:
            with source_states.hold(spec.name) as hold:
                report = _poll_held(spec, connector, hold, store, ledger, zip_end, now, wait, at_once=at_once)
        except LeaseLostError:
            report = PollReport(source=spec.name, busy=True)
        _log_report(report)
    return report


def _poll_held(
    spec: SourceSpec,
    connector: Connector,
    hold: SourceStateHold,
    store: ArchiveStore,
    ledger: CopyLedger,
    zip_end: ZipEnd,
    now: Callable[[], datetime],
    wait: Callable[[float], None],
    *,
    at_once: bool,
) -> PollReport:
    source_state = hold.load()
    tracker = FileTracker(spec, hold, ledger, source_state, now)
    if source_state.not_before is not None and now() < source_state.not_before and not at_once:
        return _report(spec, tracker, source_state.error, source_state.not_before)
    discovery = Discovery(spec=spec, tracker=tracker, now=now, wait=wait)
    workers = CopyWorkers(
        spec=spec, connector=connector, store=store, zip_end=zip_end, tracker=tracker, discovery=discovery
    )
    try:
        with connector.connect() as connection:
            workers.run(connection)
        tracker.record_end()
    except OutOfTimeError:
        tracker.record_end()
        return _report(spec, tracker)
    except (SourceUnavailableError, SourceRefusedError, SettingsError) as exc:
        not_before = tracker.record_source_failure(exc)
        extra = {"source": spec.name, "reason": type(exc).__name__}
        log.warning("poll.failed source=%s until=%s error=%r", spec.name, not_before.isoformat(), str(exc), extra=extra)
        return _report(spec, tracker, str(exc), not_before)
    return _report(spec, tracker)


def _report(
    spec: SourceSpec, tracker: FileTracker, error: str | None = None, not_before: datetime | None = None
) -> PollReport:
    return PollReport(
        source=spec.name,
        listed=tracker.listed,
        new=tracker.new,
        copied=tuple(tracker.copied),
        failed=tracker.failed,
        waiting=tracker.waiting,
        error=error or tracker.error,
        not_before=not_before,
    )


def _log_report(report: PollReport) -> None:
    """Log one line and record the backlog. A tick that did nothing is logged at DEBUG and not recorded."""
    quiet = report.busy or not (report.new or report.copied or report.failed)
    if not quiet:
        telemetry.source(report.source, {"backlog": report.waiting})
    log.log(
        logging.DEBUG if quiet else logging.INFO,
        "poll.done source=%s listed=%d new=%d copied=%d failed=%d waiting=%d busy=%s",
        report.source,
        report.listed,
        report.new,
        len(report.copied),
        report.failed,
        report.waiting,
        report.busy,
    )
