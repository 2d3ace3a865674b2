"""Computes the status page's values from stored values: states, gaps, lags and findings. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import ceil

from imagefeed import terminal
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE
from imagefeed.ledger import Entry
from imagefeed.model import Counts, State
from imagefeed.versions import why_left_out, with_newer
from ingest.model import Promises, SourceState
from ops import text
from ops.health.app_checks import LISTENERS, check_given_up, check_preprocessing, check_runs
from ops.health.archive_checks import check_archives, check_raw, is_late, late_after
from ops.health.findings import Finding, Severity, few
from ops.health.load import MAX_DEAD_LETTERS, ImageEntry, StoredSource, StoredStatus
from ops.health.promises import Held
from ops.health.result_checks import check_results
from ops.health.source_checks import check_source, deletion_of, gaps_since, is_near_deletion
from ops.web.headlines import source_headline, total_headline, window_phrase
from ops.web.model import (
    ArchiveMark,
    Deletion,
    DisplayState,
    Lag,
    Queues,
    SourceStatus,
    Status,
    Thumbnail,
)

LEAST_INTERVALS = 8
"""Shortest timeline, in intervals of the source, so that the first archives of a new source are spread out."""
_DISPLAYED = {
    State.SEEN: DisplayState.SEEN,
    State.COPYING: DisplayState.COPYING,
    State.RAW: DisplayState.RAW,
    State.PROCESSING: DisplayState.RAW,
    State.PROCESSED: DisplayState.PROCESSED,
    State.REFUSED: DisplayState.REFUSED,
    State.EMPTY: DisplayState.EMPTY,
    State.FAILED: DisplayState.FAILED,
    State.SUPERSEDED: DisplayState.SUPERSEDED,
    State.EXPIRED: DisplayState.EXPIRED,
}


def window(promises: Promises | None) -> timedelta:
    """Return how far back a source is shown: its server's retention, or 48 hours if that is unknown."""
    return promises.retention if promises else timedelta(hours=48)


def assess(stored: StoredStatus, held: Held, now: datetime) -> Status:
    """Return the status of all sources. A source that is not, or no longer, in the settings has no promises."""
    findings = {item.source: list(check_stored(item, held, now)) for item in stored.sources}
    # A source that is neither in the settings nor has archives to show was removed.
    sources = [
        source
        for source in (assess_source(item, held, findings[item.source], now) for item in stored.sources)
        if source.name in held.known or source.marks
    ]
    queues, runs = stored.queues, stored.runs
    more, waiting = queues.dead_letters >= MAX_DEAD_LETTERS, {LISTENERS[BATCH_QUEUE]: queues.batches}
    waiting[LISTENERS[POLL_QUEUE]] = queues.polls
    found = [
        *check_runs(runs, waiting, now),
        *check_preprocessing(runs),
        *check_given_up(queues.poison, queues.dead_letters, more=more),
    ]
    found += [finding for source in sources for finding in findings[source.name]]
    reconciled = runs.get("reconcile")
    return Status(
        at=now,
        severity=max((finding.severity for finding in found), default=Severity.FINE if sources else Severity.NOTICE),
        headline=total_headline(sources, found),
        sources=sources,
        queues=Queues(
            batches=queues.batches,
            polls=queues.polls,
            poison=queues.poison,
            dead_letters=queues.dead_letters,
            dead_letters_more=more,
        ),
        reconciled_at=reconciled.at if reconciled else None,
        findings=sorted(few(found), key=lambda finding: -finding.severity),
    )


def check_stored(stored: StoredSource, held: Held, now: datetime) -> Iterator[Finding]:
    """Yield the findings on a source from the values that one load of its status read."""
    state, promises = stored.state, held.promises.get(stored.source)
    yield from check_source(stored.source, held, state, stored.arrivals, now, _since(stored, promises, now))
    yield from check_archives(stored.source, stored.entries, state, now, late_after(promises))
    yield from check_raw(stored.entries, stored.raw_missing)
    yield from check_results(stored.source, stored.entries, now)


def assess_source(stored: StoredSource, held: Held, findings: Sequence[Finding], now: datetime) -> SourceStatus:
    """Return the status of one source."""
    promises, state = held.promises.get(stored.source), stored.state
    limit, since = late_after(promises), _since(stored, promises, now)
    versions = [*with_newer(entry for entry in stored.entries if entry.state is not State.SAME)]
    marks = [make_mark(entry, now, limit, newer) for entry, newer in reversed(versions)]
    start = _start(marks, promises, since, now)
    gaps = gaps_since(promises, state, stored.arrivals, now, since) if promises else []
    phrase = window_phrase(window(promises), start, marks, now)
    return SourceStatus(
        name=stored.source,
        severity=max((finding.severity for finding in findings), default=Severity.FINE),
        headline=source_headline(marks, gaps, findings, now, phrase),
        start=start,
        window=window(promises),
        marks=marks,
        gaps=gaps,
        counts={state: sum(mark.state is state for mark in marks) for state in DisplayState},
        lag=_lag([mark.lag for mark in marks if mark.lag is not None]),
        next_deletion=_next_deletion(state, promises, now),
        polled_at=state.listed_at,
        error=text.last_error(state.error or "", state.not_before, now),
        on_server=len(state.tracked_files),
        rows_read=stored.rows,
        cut=stored.cut,
        thumbnails=[make_thumbnail(image) for image in stored.images],
    )


def make_mark(entry: Entry, now: datetime, limit: timedelta, newer: Entry | None = None) -> ArchiveMark:
    """Return an archive's mark. It is late if under way for over `limit`; `newer` is the version replacing it."""
    archive, counts = entry.archive, entry.counts or Counts()
    state = _DISPLAYED.get(entry.state, DisplayState.SUPERSEDED)
    if newer is not None:
        state = DisplayState.SUPERSEDED
    elif state is DisplayState.PROCESSED and counts.refused:
        state = DisplayState.PARTLY
    return ArchiveMark(
        id=archive.key.id,
        stamp=archive.stamp,
        state=state,
        path=terminal.clean(archive.path),
        size=archive.size,
        images=counts.images,
        refused=counts.refused,
        refused_kinds=counts.refused_kinds,
        skipped=counts.skipped,
        lag=lag_of(entry),
        late=is_late(entry, now, limit),
        reason=terminal.clean(why_left_out(entry, newer)),
    )


def lag_of(entry: Entry) -> float | None:
    """Return the seconds from an archive's modified time until it was readable; None if it is not readable yet.

    The first processing counts: a later repair, replay or change of pipeline does not add to the lag.
    """
    readable = entry.first_processed
    if readable is None or entry.modified is None:
        return None
    # The server's clock may be ahead of ours.
    return max((readable - entry.modified).total_seconds(), 0.0)


def make_thumbnail(stored: ImageEntry) -> Thumbnail:
    """Return the values that link to an image and label it."""
    archive = stored.archive
    return Thumbnail(
        source=archive.source,
        archive=archive.key.id,
        stamp=archive.stamp,
        pipeline=stored.pipeline,
        member=stored.row.member,
        frame=stored.row.frame,
        name=terminal.clean(stored.row.name),
    )


def _start(marks: Sequence[ArchiveMark], promises: Promises | None, since: datetime, now: datetime) -> datetime:
    """Return the start of a timeline; that of a new source is a little before its first archive."""
    least = (promises.interval if promises else timedelta(minutes=10)) * LEAST_INTERVALS
    first = min((mark.stamp for mark in marks), default=now)
    return max(since, min(first - (now - first) / 20, now - least))


def _since(stored: StoredSource, promises: Promises | None, now: datetime) -> datetime:
    return stored.entries[-1].archive.stamp if stored.cut and stored.entries else now - window(promises)


def _lag(lags: Sequence[float]) -> Lag | None:
    if not lags:
        return None
    ordered = sorted(lags)
    return Lag(p50=ordered[(len(ordered) - 1) // 2], p95=ordered[ceil(0.95 * len(ordered)) - 1])


def _next_deletion(source_state: SourceState, promises: Promises | None, now: datetime) -> Deletion | None:
    """Return the file that the server deletes next; files that are not copied yet take precedence."""
    if promises is None or not source_state.tracked_files:
        return None
    first = min(source_state.tracked_files, key=lambda file: (file.done, deletion_of(promises, file)))
    return Deletion(
        at=deletion_of(promises, first),
        copied=first.done,
        near=is_near_deletion(promises, first, now),
        path=terminal.clean(first.archive.file.path),
    )
