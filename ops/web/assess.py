"""From what storage knows to what the page says: states, gaps, lags, and what needs a person. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from imagefeed import terminal
from imagefeed.layout import format_stamp
from imagefeed.ledger import Entry
from imagefeed.model import State
from ingest.gaps import find_gaps
from ingest.model import Promises, SourceState
from ingest.outages import unlisted
from ops import text
from ops.health.load import MAX_DEAD_LETTERS, ImageEntry, StoredQueues, StoredSource, StoredStatus
from ops.health.promises import Held
from ops.health.watch import find_silence
from ops.web.actions import queue_actions, run_actions, source_actions
from ops.web.headlines import source_headline, total_headline, window_phrase
from ops.web.model import (
    ArchiveMark,
    Deletion,
    DisplayState,
    Gap,
    Lag,
    Queues,
    Severity,
    SourceStatus,
    Status,
    Thumbnail,
)

LEAST_INTERVALS = 8
"""A young source's timeline is as long as this, so that its first archives are not squeezed into a corner."""
_LATE = timedelta(minutes=30)
_DISPLAYED = {
    State.SEEN: DisplayState.WAITING,
    State.COPYING: DisplayState.COPYING,
    State.RAW: DisplayState.RAW,
    State.PROCESSING: DisplayState.RAW,
    State.PROCESSED: DisplayState.PROCESSED,
    State.REFUSED: DisplayState.REFUSED,
    State.FAILED: DisplayState.FAILED,
    State.SUPERSEDED: DisplayState.REPLACED,
    State.EXPIRED: DisplayState.EXPIRED,
}


def window(promises: Promises | None) -> timedelta:
    """Tell how far back a source is shown: for as long as its server keeps files."""
    return promises.retention if promises else timedelta(hours=48)


def assess(stored: StoredStatus, held: Held, now: datetime) -> Status:
    """Say how everything is. A source that is not in the settings (any more) is shown without its promises."""
    assessed = [(item, assess_source(item, held, now)) for item in stored.sources]
    # What is not in the settings, and has nothing to show, is history.
    shown = [(item, source) for item, source in assessed if source.name in held.known or source.marks]
    sources = [source for _, source in shown]
    actions = [action for item, source in shown for action in source_actions(item, source, held, now)]
    queues, reconciled = _queues(stored.queues), stored.runs.get("reconcile")
    not_running = list(run_actions(stored.runs, queues, now))
    actions = sorted([*not_running, *queue_actions(queues), *actions], key=lambda action: -action.severity)
    severity, headline = total_headline(
        sources,
        given_up=bool(queues.poison or queues.dead_letters),
        unwatched=reconciled is not None and reconciled.is_overdue(now),
        not_judged=[source.name for source in sources if source.name in held.unknown],
    )
    return Status(
        at=now,
        severity=max([severity, *(action.severity for action in actions)]),
        headline=headline,
        sources=sources,
        queues=queues,
        reconciled_at=reconciled.at if reconciled else None,
        actions=actions,
    )


def assess_source(stored: StoredSource, held: Held, now: datetime) -> SourceStatus:
    """Say how one source is."""
    promises = held.promises.get(stored.source)
    source_state = stored.source_state or SourceState(source=stored.source)
    limit = promises.interval * promises.gap if promises else _LATE
    marks = [make_mark(entry, now, limit) for entry in reversed(stored.entries) if entry.state is not State.SAME]
    since = stored.entries[-1].archive.stamp if stored.cut and stored.entries else now - window(promises)
    start = _start(marks, promises, since, now)
    gaps = _gaps(stored, source_state, promises, since, now) if promises else []
    silence = find_silence(promises or Promises(), source_state, now) if stored.source in held.known else None
    severity, headline = source_headline(marks, gaps, silence, now, window_phrase(window(promises), start, marks, now))
    if stored.source in held.unknown:
        severity, headline = max(severity, Severity.NOTICE), f"Not judged: nobody knows what it promises. {headline}"
    return SourceStatus(
        name=stored.source,
        severity=severity,
        headline=headline,
        start=start,
        window=window(promises),
        marks=marks,
        gaps=gaps,
        counts={state: sum(mark.state is state for mark in marks) for state in DisplayState},
        lag=_lag([mark.lag for mark in marks if mark.lag is not None]),
        next_deletion=_next_deletion(source_state, promises, now),
        polled_at=source_state.listed_at,
        error=text.last_error(source_state.error or "", source_state.not_before, now),
        on_server=len(source_state.tracked_files),
        rows_read=stored.rows,
        cut=stored.cut,
        thumbnails=[make_thumbnail(image) for image in stored.images],
    )


def make_mark(entry: Entry, now: datetime, limit: timedelta) -> ArchiveMark:
    """Make an archive's mark; `limit` is how long it may be under way."""
    archive, counts = entry.archive, entry.counts
    state = _DISPLAYED.get(entry.state, DisplayState.REPLACED)
    refused = counts.refused if counts else 0
    if state is DisplayState.PROCESSED and refused:
        state = DisplayState.PARTLY
    begun = min(entry.times.values(), default=archive.stamp)
    return ArchiveMark(
        id=f"{format_stamp(archive.stamp)}.{archive.version}",
        stamp=archive.stamp,
        state=state,
        path=terminal.clean(archive.path),
        size=archive.size,
        images=counts.images if counts else 0,
        refused=refused,
        lag=lag_of(entry),
        late=state.under_way and now - begun > limit,
        reason=terminal.clean(entry.reason or ""),
    )


def lag_of(entry: Entry) -> float | None:
    """Tell how many seconds an archive took from its modified time to being readable; None while it is not.

    What was redone since, by a repair, a replay or another pipeline, makes no archive late.
    """
    readable = entry.first_processed
    if readable is None or entry.modified is None:
        return None
    # The server's clock may run ahead.
    return max((readable - entry.modified).total_seconds(), 0.0)


def make_thumbnail(stored: ImageEntry) -> Thumbnail:
    """Make what links to an image."""
    archive = stored.archive
    return Thumbnail(
        source=archive.source,
        archive=f"{format_stamp(archive.stamp)}.{archive.version}",
        stamp=archive.stamp,
        pipeline=stored.pipeline,
        member=stored.row.member,
        frame=stored.row.frame,
        name=terminal.clean(stored.row.name),
    )


def _start(marks: Sequence[ArchiveMark], promises: Promises | None, since: datetime, now: datetime) -> datetime:
    """Begin a young source's timeline a little before its first archive."""
    least = (promises.interval if promises else timedelta(minutes=10)) * LEAST_INTERVALS
    first = min((mark.stamp for mark in marks), default=now)
    return max(since, min(first - (now - first) / 20, now - least))


def _gaps(
    stored: StoredSource, source_state: SourceState, promises: Promises, since: datetime, now: datetime
) -> Sequence[Gap]:
    return [
        Gap(
            start=gap.start,
            end=gap.end,
            open=gap.open,
            outage=gap.outage,
            missing=max(1, ceil(gap.active / promises.interval - 0.5) - (0 if gap.open else 1)),
        )
        for gap in find_gaps(promises, stored.arrivals, now, unlisted(source_state, now))
        if gap.end > since
    ]


def _lag(lags: Sequence[float]) -> Lag | None:
    if not lags:
        return None
    ordered = sorted(lags)
    return Lag(p50=ordered[(len(ordered) - 1) // 2], p95=ordered[ceil(0.95 * len(ordered)) - 1])


def _next_deletion(source_state: SourceState, promises: Promises | None, now: datetime) -> Deletion | None:
    """Tell what the server deletes next; what is not copied comes before all that is."""
    if promises is None or not source_state.tracked_files:
        return None
    # The earlier of the two, since a server's clock may run ahead.
    first = min(source_state.tracked_files, key=lambda f: (f.done, min(f.archive.file.modified, f.first_seen)))
    born = min(first.archive.file.modified, first.first_seen)
    return Deletion(
        at=born + promises.retention,
        copied=first.done,
        near=not first.done and now - born > promises.retention / 2,
        path=terminal.clean(first.archive.file.path),
    )


def _queues(stored: StoredQueues) -> Queues:
    return Queues(
        batches=stored.batches,
        polls=stored.polls,
        poison=stored.poison,
        dead_letters=stored.dead_letters,
        dead_letters_more=stored.dead_letters >= MAX_DEAD_LETTERS,
    )
