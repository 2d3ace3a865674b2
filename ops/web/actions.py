"""What needs a person, and what to do about it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from imagefeed.model import Origin
from ingest.model import SourceSpec, SourceState
from ops import text
from ops.health.findings import Finding, Kind
from ops.health.load import StoredSource
from ops.health.watch import find_deadlines, find_silence
from ops.web.model import Hole, Mark, Queues, Severity, Shown, SourceStatus, Todo
from storage.blobs.runs import LastRun

MOST = 8
"""Of each kind for a source; one more line tells the number of the others."""
_ENDS = {Shown.EXPIRED: Kind.EXPIRED, Shown.FAILED: Kind.FAILED, Shown.REFUSED: Kind.REFUSED}
_LATE = {Shown.WAITING: Kind.NOT_COPIED, Shown.COPYING: Kind.NOT_COPIED, Shown.RAW: Kind.UNPROCESSED}
_OF_MARKS = (Kind.EXPIRED, Kind.NOT_COPIED, Kind.FAILED, Kind.UNPROCESSED, Kind.REFUSED)
_REPLAY = "reconcile takes them; at once: imagefeed replay --poison --dead-letters"


def of_queues(queues: Queues) -> Iterator[Todo]:
    """Tell of what was given up."""
    given_up = Todo(severity=Severity.MISSING, what="", which="", advice=_REPLAY)
    if queues.poison:
        which = text.count(queues.poison, "message")
        yield replace(given_up, what="poison queue", which=which, detail="given up after several calls")
    if queues.dead_letters:
        which = f"{text.count(queues.dead_letters, 'dead letter')}{' or more' if queues.dead_letters_more else ''}"
        yield replace(given_up, what="dead letters", which=which, detail="Event Grid could not deliver")


def of_run(run: LastRun | None, now: datetime) -> Iterator[Todo]:
    """Tell if nobody watches any more."""
    if run is not None and run.every is not None and run.is_overdue(now):
        yield Todo(
            severity=Severity.MISSING,
            what="reconcile stands still",
            which="",
            since=run.at,
            detail=f"it is to run every {text.span(run.every.total_seconds())}",
            advice="restart the app: timers are known to stop after a deployment; or its calls fail: see its log",
        )


def of_source(stored: StoredSource, source: SourceStatus, spec: SourceSpec | None, now: datetime) -> Iterator[Todo]:
    """Tell of what is missing or late at a source, most urgent first."""
    source_state = stored.source_state or SourceState(source=source.name)
    if spec is not None:
        yield from _of_server(spec, source_state, now)
    yield from _few([_of_hole(source.name, hole) for hole in reversed(source.holes)])
    blobs = {entry.archive.version: entry.archive.blob for entry in stored.entries}
    newest_first = source.marks[::-1]
    for kind in _OF_MARKS:
        yield from _few([_of_mark(source.name, mark, kind, blobs) for mark in newest_first if _kind(mark) is kind])
    yield from _of_members(source)
    by_hand = [one.archive for one in stored.entries if one.archive.origin is Origin.MANUAL]
    hand = (
        Finding(source=source.name, kind=Kind.BY_HAND, name=one.blob, since=one.stamp, blob=one.blob) for one in by_hand
    )
    yield from _few([_found(finding) for finding in hand])


def _of_server(spec: SourceSpec, source_state: SourceState, now: datetime) -> Iterator[Todo]:
    silence = find_silence(spec, source_state, now)
    if silence is not None and (silence.since or silence.error):
        error = silence.error or "it was not polled"
        yield _found(Finding(source=spec.name, kind=Kind.SILENT, name="", since=silence.since, detail=error))
    near = (
        Finding(
            source=spec.name,
            kind=Kind.NEAR_DELETION,
            name=one.tracked_file.archive.file.path,
            since=one.tracked_file.first_seen,
            detail=_deadline(one.at, one.tracked_file.failures, now),
        )
        for one in find_deadlines(spec, source_state, now)
    )
    yield from _few([_found(finding) for finding in near])


def _deadline(at: datetime, failures: int, now: datetime) -> str:
    left = (at - now).total_seconds()
    when = f"deleted in {text.span(left)}" if left > 0 else f"due to be deleted since {text.span(-left)}"
    return f"{when}; {text.count(failures, 'try', 'tries')} failed"


def _of_hole(source: str, hole: Hole) -> Todo:
    until = "now" if hole.open else f"{hole.end:%Y-%m-%d %H:%M:%S}"
    about = f"about {text.count(hole.missing, 'archive')} missing"
    return _found(Finding(source=source, kind=Kind.GAP, name=f"until {until}", since=hole.start, detail=about))


def _kind(mark: Mark) -> Kind | None:
    return _LATE.get(mark.state) if mark.late else _ENDS.get(mark.state)


def _of_mark(source: str, mark: Mark, kind: Kind, blobs: dict[str, str]) -> Todo:
    blob = blobs.get(mark.id.rpartition(".")[2], "")
    finding = Finding(source=source, kind=kind, name=mark.path, since=mark.stamp, detail=mark.reason, blob=blob)
    return _found(finding, mark.id)


def _of_members(source: SourceStatus) -> Iterator[Todo]:
    partly = [mark for mark in source.marks if mark.state is Shown.PARTLY]
    if partly:
        members = text.count(sum(mark.refused for mark in partly), "member")
        yield Todo(
            severity=Severity.NOTICE,
            source=source.name,
            what="refused members",
            which=f"{members} of {text.count(len(partly), 'archive')}",
            since=partly[-1].stamp,
            detail="all others can be read",
            advice=f"imagefeed refused {source.name} tells the reasons",
            archive=partly[-1].id,
        )


def _found(finding: Finding, archive: str | None = None) -> Todo:
    return Todo(
        severity=Severity.MISSING if finding.missing else Severity.NOTICE,
        source=finding.source,
        what=str(finding.kind),
        which=text.clean(finding.name),
        since=finding.since,
        detail=text.clean(finding.detail),
        advice=text.clean(finding.advice),
        archive=archive,
    )


def _few(found: Sequence[Todo]) -> Iterator[Todo]:
    yield from islice(found, MOST)
    if len(found) > MOST:
        yield replace(found[MOST], which=f"{len(found) - MOST} more", since=None, detail="", archive=None)
