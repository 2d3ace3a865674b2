"""What is missing or about to be, source by source: from the last listing and the ledger, at no cost to any server."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from config import telemetry
from imagefeed.errors import TransientError
from ingest.active import active_between
from ingest.gaps import Gap, find_gaps
from ingest.gauges import figures
from ingest.model import Promises, SourceSpec, SourceState, TrackedFile
from ingest.outages import unlisted
from ingest.ports import Arrivals, SourceStateView
from ops.health.findings import Finding
from ops.health.source_findings import Silence, settings_findings

log = logging.getLogger(f"ingestion.{__name__}")

_PATIENCE = timedelta(minutes=10)
"""A server may be down for so long before it counts as silent: it must not cost a word each time that one restarts."""
_MAX_LINES = 10
"""Lines of each kind that one call writes for a source; one more tells the number of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A file that is not copied, and will be deleted."""

    tracked_file: TrackedFile
    at: datetime
    """When the server deletes it, as far as its owner's promise tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOutcome:
    """What there is to say of a source."""

    source: str
    silence: Silence | None = None
    gaps: Sequence[Gap] = ()
    deadlines: Sequence[Deadline] = ()
    settings: Sequence[Finding] = ()
    """Settings that do not fit what is on the server."""
    by_hand: Sequence[str] = ()
    """Raw blobs that somebody put there."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What its gauges show, by their names behind `source.`."""


def watch(
    specs: Iterable[SourceSpec], source_states: SourceStateView, ledger: Arrivals, now: datetime, window: timedelta
) -> Sequence[WatchOutcome]:
    """Look at each source's last `window` and log what is missing. One that fails for now is left to the next call."""
    outcomes = []
    for spec in specs:
        try:
            outcomes.append(watch_source(spec.name, spec, source_states, ledger, now, now - window))
        except TransientError as exc:
            log.warning("watch.deferred source=%s error=%s", spec.name, exc)
        else:
            _log_findings(outcomes[-1])
            telemetry.source(spec.name, outcomes[-1].figures)
    return outcomes


def watch_source(
    source: str,
    promises: Promises,
    source_states: SourceStateView,
    ledger: Arrivals,
    now: datetime,
    since: datetime,
) -> WatchOutcome:
    """Look at one source. Raises StoreUnavailableError, StoreRefusedError."""
    source_state = source_states.look(source) or SourceState(source=source)
    arrivals = [*ledger.since(source, since), *source_state.arrivals]
    gaps = [gap for gap in find_gaps(promises, arrivals, now, unlisted(source_state, now)) if gap.end > since]
    deadlines = find_deadlines(promises, source_state, now)
    counts = {"gaps": len(gaps), "near_deletion": len(deadlines)}
    return WatchOutcome(
        source=source,
        silence=find_silence(promises, source_state, now),
        gaps=gaps,
        deadlines=deadlines,
        settings=list(settings_findings(source, promises, source_state, arrivals, now)),
        by_hand=[arrival.by_hand for arrival in arrivals if arrival.by_hand and arrival.stamp >= since],
        figures={**figures(promises, source_state, arrivals, now), **counts},
    )


def find_silence(promises: Promises, source_state: SourceState, now: datetime) -> Silence | None:
    """Tell whether a source has not been listed for too long."""
    # While a poll copies, for at most its budget, it may not list; but then it has no error either.
    patience = _PATIENCE if source_state.error else _PATIENCE + promises.budget
    if source_state.listed_at is not None:
        expected = active_between(promises.active, source_state.listed_at, now)
        if sum((end - start for start, end in expected), timedelta(0)) <= patience:
            return None
    outage = source_state.outage
    refused = outage is not None and outage.refused
    return Silence(since=source_state.listed_at, error=source_state.error, refused=refused)


def find_deadlines(promises: Promises, source_state: SourceState, now: datetime) -> Sequence[Deadline]:
    """Find files that are not copied although half of their time on the server is over, the next to go first."""
    # The earlier of the two, since a server's clock may run ahead.
    waiting = ((min(s.archive.file.modified, s.first_seen), s) for s in source_state.tracked_files if not s.done)
    late = [
        Deadline(tracked_file=s, at=born + promises.retention)
        for born, s in waiting
        if now - born > promises.retention / 2
    ]
    return sorted(late, key=lambda deadline: deadline.at)


def _log_findings(outcome: WatchOutcome) -> None:
    """Log one line for each finding, of each kind the newest or most urgent few: alerts are built on them."""
    source, silence, extra = outcome.source, outcome.silence, {"source": outcome.source}
    if silence:
        since, error = (silence.since.isoformat() if silence.since else "ever"), silence.error or "it was not polled"
        log.error("source.silent source=%s since=%s error=%r", source, since, error, extra=extra)
    for gap in _few(outcome.gaps[::-1], "gap.more", source):
        start, end = gap.start.isoformat(), "now" if gap.open else gap.end.isoformat()
        unheard, found = "gap.unheard source=%s from=%s to=%s", "gap.found source=%s from=%s to=%s"
        log.warning(unheard if gap.unheard else found, source, start, end, extra=extra)
    for finding in outcome.settings:
        log.warning("settings.misfit source=%s path=%r %s: %s", source, finding.name, finding.detail, finding.advice)
    for deadline in _few(outcome.deadlines, "file.more", source):
        tracked_file = deadline.tracked_file
        log.error(
            "file.near_deletion source=%s path=%r deleted_at=%s failures=%d",
            source,
            tracked_file.archive.file.path,
            deadline.at.isoformat(),
            tracked_file.failures,
            extra=extra,
        )
    for blob in _few(outcome.by_hand, "archive.more", source):
        log.warning("archive.by_hand source=%s blob=%r", source, blob)


def _few[T](findings: Sequence[T], more: str, source: str) -> Iterator[T]:
    yield from findings[:_MAX_LINES]
    if len(findings) > _MAX_LINES:
        log.warning("%s source=%s count=%d", more, source, len(findings) - _MAX_LINES)
