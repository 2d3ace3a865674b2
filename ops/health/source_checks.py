"""Checks of a source, from its last listing and the times of its archives. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from config.near import NEAR
from imagefeed.terminal import count
from ingest.active import active_between
from ingest.gaps import Gap, find_gaps, time_of
from ingest.model import Arrival, PassedOver, Promises, SourceState, TrackedFile
from ingest.outages import unlisted
from ingest.protocols.listing import MAX_FILES
from ingest.timestamps import read_stamp
from ops.health.findings import Finding, Slug
from ops.health.limits import BUDGET, LISTED_FILES
from ops.health.promises import Held

_LONG_POLL_SHOWN = timedelta(hours=1)
_UNCHECKED_SHOWN = timedelta(days=1)
_PATIENCE = timedelta(minutes=10)
"""A server counts as silent after this time, so that a restart is not reported."""


def check_source(
    source: str, held: Held, state: SourceState, arrivals: Iterable[Arrival], now: datetime, since: datetime
) -> Iterator[Finding]:
    """Yield what is missing of a source from `since` on, or will be soon; most urgent first."""
    promises, arrivals = held.promises.get(source), list(arrivals)
    if source in held.known:
        yield from _check_answers(source, promises or Promises(), state, now)
    if promises is not None:
        yield from _check_deadlines(source, promises, state, now)
        settings = list(_check_settings(source, promises, state, arrivals, now))
        yield from settings
        # An open gap is no gap if archives do arrive but PATTERN skips them.
        left_out = any(finding.slug is Slug.NOTHING_MATCHES for finding in settings)
        gaps = gaps_since(promises, state, arrivals, now, since)
        yield from (_gap(source, gap) for gap in reversed(gaps) if not (left_out and gap.open))
    elif source in held.unknown:
        yield Finding(slug=Slug.NOT_JUDGED, source=source, name="gaps, silence and deadlines")
    yield from _check_unread(source, state)
    yield from _check_limits(source, state, now)
    for arrival in arrivals:
        if arrival.by_hand and arrival.stamp >= since:
            yield Finding(slug=Slug.BY_HAND, source=source, name=arrival.by_hand, since=arrival.stamp)


def _check_unread(source: str, state: SourceState) -> Iterator[Finding]:
    """Find the parts of the last listing that could not be read."""
    if unread := state.unread:
        slug = Slug.LISTING_INCOMPLETE if unread.incomplete else Slug.ENTRY_UNREADABLE
        detail = f"{count(unread.count, 'part')} of the last listing could not be read"
        yield Finding(slug=slug, source=source, name=unread.texts[0], since=state.listed_at, detail=detail)


def _check_limits(source: str, state: SourceState, now: datetime) -> Iterator[Finding]:
    """Yield limits of polling that are nearly reached."""
    listed = len(state.tracked_files) + (state.passed_over.count if state.passed_over else 0)
    if listed >= NEAR * MAX_FILES:
        detail = f"{listed / MAX_FILES:.0%} of {MAX_FILES:,}"
        yield Finding(slug=Slug.NEAR_LIMIT, source=source, name=LISTED_FILES, since=state.listed_at, detail=detail)
    if state.long_poll_at and now - state.long_poll_at <= _LONG_POLL_SHOWN:
        detail = f"a poll took {NEAR:.0%} of it or more"
        yield Finding(slug=Slug.NEAR_LIMIT, source=source, name=BUDGET, since=state.long_poll_at, detail=detail)
    if state.unchecked_at and now - state.unchecked_at <= _UNCHECKED_SHOWN:
        detail = "Azure Storage returned no CRC64 of a block"
        yield Finding(slug=Slug.BLOCKS_UNCHECKED, source=source, name="raw", since=state.unchecked_at, detail=detail)


def gaps_since(
    promises: Promises, state: SourceState, arrivals: Iterable[Arrival], now: datetime, since: datetime
) -> Sequence[Gap]:
    """Return the gaps that end after `since`, oldest first."""
    return [gap for gap in find_gaps(promises, arrivals, now, unlisted(state, now)) if gap.end > since]


def deletion_of(promises: Promises, file: TrackedFile) -> datetime:
    """Return when the server deletes a file, according to the promised retention."""
    # A server's clock may run ahead, so the earlier time counts.
    return min(file.archive.file.modified, file.first_seen) + promises.retention


def is_near_deletion(promises: Promises, file: TrackedFile, now: datetime) -> bool:
    """Return whether a file is not copied although half of its retention is over."""
    return not file.done and deletion_of(promises, file) - now < promises.retention / 2


def _check_answers(source: str, promises: Promises, state: SourceState, now: datetime) -> Iterator[Finding]:
    # A poll that copies may not list for up to its budget; it has no error then.
    patience = _PATIENCE if state.error else _PATIENCE + promises.budget
    if state.listed_at is not None:
        expected = active_between(promises.active, state.listed_at, now)
        if sum((end - start for start, end in expected), timedelta(0)) <= patience:
            return
    elif not state.error:
        yield Finding(slug=Slug.NOT_POLLED, source=source)
        return
    slug = Slug.SOURCE_REJECTS if state.outage and state.outage.refused else Slug.SOURCE_SILENT
    yield Finding(slug=slug, source=source, since=state.listed_at, detail=state.error or "it was not polled")


def _check_deadlines(source: str, promises: Promises, state: SourceState, now: datetime) -> Iterator[Finding]:
    late = (file for file in state.tracked_files if is_near_deletion(promises, file, now))
    for file in sorted(late, key=lambda file: deletion_of(promises, file)):
        yield Finding(
            slug=Slug.NEAR_DELETION,
            source=source,
            name=file.archive.file.path,
            since=file.first_seen,
            until=deletion_of(promises, file),
            detail=f"{count(file.failures, 'try', 'tries')} failed",
        )


def _check_settings(
    source: str, promises: Promises, state: SourceState, arrivals: Iterable[Arrival], now: datetime
) -> Iterator[Finding]:
    """Yield settings that do not fit the files on the server, or no longer do."""
    if passed_over := _find_passed_over(promises, state, arrivals, now):
        files = count(passed_over.count, "file")
        matched = "some newer than every archive" if state.tracked_files else "none matches it"
        detail = f"PATTERN {promises.pattern} skips {files}, {matched}; this one is the newest"
        name, since = passed_over.newest, passed_over.modified
        yield Finding(slug=Slug.NOTHING_MATCHES, source=source, name=name, since=since, detail=detail)
    if misfits := _find_misfits(promises, state):
        newest = max((file.archive.file for file in misfits), key=lambda file: file.modified)
        detail = f"STAMP {promises.stamp} does not fit {len(misfits)} of {count(len(state.tracked_files), 'name')}"
        name, since = newest.path, newest.modified
        yield Finding(slug=Slug.STAMP_MISFIT, source=source, name=name, since=since, detail=detail)


def _find_passed_over(
    promises: Promises, state: SourceState, arrivals: Iterable[Arrival], now: datetime
) -> PassedOver | None:
    """Return files that PATTERN skips and that are newer than every archive, if the next archive is overdue."""
    newest = max(map(time_of, arrivals), default=None)
    passed_over = state.passed_over
    if passed_over is None or newest is None:
        return passed_over
    awaited = now - newest > promises.interval * promises.gap
    return passed_over if awaited and passed_over.modified > newest else None


def _find_misfits(promises: Promises, state: SourceState) -> Sequence[TrackedFile]:
    """Return files on the server whose names do not contain a time in the form of STAMP."""
    if promises.stamp is None:
        return ()
    names = ((file, file.archive.file.path.rpartition("/")[2]) for file in state.tracked_files)
    return [file for file, name in names if read_stamp(promises.stamp, name) is None]


def _gap(source: str, gap: Gap) -> Finding:
    slug = Slug.GAP_UNHEARD if gap.unheard else Slug.GAP if gap.open else Slug.GAP_CLOSED
    detail = f"about {count(gap.missing, 'archive')} missing"
    if outage := gap.outage:
        end = f"{outage.end:%Y-%m-%d %H:%M:%S}" if outage.end else "now"
        detail += f"; no answer from {outage.start:%Y-%m-%d %H:%M:%S} to {end}"
    return Finding(slug=slug, source=source, since=gap.start, until=None if gap.open else gap.end, detail=detail)
