"""What needs a person, and what to do about it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from imagefeed import terminal
from imagefeed.model import Origin
from ingest.model import Promises, SourceState
from ops import text
from ops.health.findings import Finding, Kind
from ops.health.load import StoredSource
from ops.health.promises import Held
from ops.health.source_findings import gap_finding, not_judged, settings_findings, silence_finding, unexplained
from ops.health.watch import find_deadlines, find_silence
from ops.web.model import Action, ArchiveMark, DisplayState, Gap, Queues, Severity, SourceStatus
from storage.blobs.runs import TIMERS, LastRun

MAX = 8
"""Of each kind for a source; one more line tells the number of the others."""
_ENDS = {DisplayState.EXPIRED: Kind.EXPIRED, DisplayState.FAILED: Kind.FAILED, DisplayState.REFUSED: Kind.REFUSED}
_LATE = dict.fromkeys((DisplayState.WAITING, DisplayState.COPYING), Kind.NOT_COPIED)
_LATE |= {DisplayState.RAW: Kind.UNPROCESSED}
_OF_MARKS = (Kind.EXPIRED, Kind.NOT_COPIED, Kind.FAILED, Kind.UNPROCESSED, Kind.REFUSED)
_REPLAY = "reconcile takes them; at once: `imagefeed replay --poison --dead-letters`"


def queue_actions(queues: Queues) -> Iterator[Action]:
    """Tell of what was given up."""
    given_up = Action(severity=Severity.MISSING, kind="", name="", advice=_REPLAY)
    if queues.poison:
        which = terminal.count(queues.poison, "message")
        yield replace(given_up, kind="poison queue", name=which, detail="given up after several calls")
    if queues.dead_letters:
        which = f"{terminal.count(queues.dead_letters, 'dead letter')}{' or more' if queues.dead_letters_more else ''}"
        yield replace(given_up, kind="dead letters", name=which, detail="Event Grid could not deliver")


def run_actions(runs: Mapping[str, LastRun], queues: Queues, now: datetime) -> Iterator[Action]:
    """Tell of functions that do not run although they should."""
    waiting = {"process_batch": queues.batches, "poll_source": queues.polls}
    for function, run in runs.items():
        if run.is_overdue(now, waiting.get(function, 0)):
            every = run.every and f"it is to run every {text.span(run.every.total_seconds())}"
            yield Action(
                severity=Severity.MISSING,
                kind=f"{function} stands still",
                name="",
                since=run.at,
                detail=every or "messages wait for it",
                advice="restart the app: timers are known to stop after a deployment; or it is switched off by a wrong "
                "setting (`imagefeed doctor --app NAME` tells), or its calls fail: see its log",
            )
    if runs and (never := [function for function in TIMERS if function not in runs]):
        yield Action(
            severity=Severity.NOTICE,
            kind="never ran",
            name=" and ".join(never),
            detail="right at the start of an app only",
            advice="`imagefeed doctor --app NAME` tells whether a wrong setting switches it off",
        )


def source_actions(stored: StoredSource, source: SourceStatus, held: Held, now: datetime) -> Iterator[Action]:
    """Tell of what is missing or late at a source, most urgent first."""
    promises, source_state = held.promises.get(source.name), stored.source_state or SourceState(source=source.name)
    settings: list[Finding] = []
    if source.name in held.known:
        yield from _of_server(source.name, promises or Promises(), source_state, now)
    if promises is not None:
        settings += settings_findings(source.name, promises, source_state, stored.arrivals, now)
    elif source.name in held.unknown:
        yield _from_finding(not_judged(source.name))
    yield from map(_from_finding, settings)
    yield from _few([_of_gap(source.name, gap) for gap in reversed(unexplained(source.gaps, settings))])
    blobs = {entry.archive.version: entry.archive.blob for entry in stored.entries}
    newest_first = source.marks[::-1]
    for kind in _OF_MARKS:
        yield from _few([_of_mark(source.name, mark, kind, blobs) for mark in newest_first if _kind(mark) is kind])
    yield from _of_members(source)
    manual = (entry.archive for entry in stored.entries if entry.archive.origin is Origin.MANUAL)
    uploads = (
        Finding(source=source.name, kind=Kind.MANUAL_UPLOAD, name=archive.blob, since=archive.stamp, blob=archive.blob)
        for archive in manual
    )
    yield from _few([_from_finding(finding) for finding in uploads])


def _of_server(source: str, promises: Promises, source_state: SourceState, now: datetime) -> Iterator[Action]:
    silence = find_silence(promises, source_state, now)
    if silence is not None and (silence.since or silence.error):
        yield _from_finding(silence_finding(source, silence))
    near = (
        Finding(
            source=source,
            kind=Kind.NEAR_DELETION,
            name=deadline.tracked_file.archive.file.path,
            since=deadline.tracked_file.first_seen,
            detail=_deadline(deadline.at, deadline.tracked_file.failures, now),
        )
        for deadline in find_deadlines(promises, source_state, now)
    )
    yield from _few([_from_finding(finding) for finding in near])


def _deadline(at: datetime, failures: int, now: datetime) -> str:
    left = (at - now).total_seconds()
    when = f"deleted in {text.span(left)}" if left > 0 else f"due to be deleted since {text.span(-left)}"
    return f"{when}; {terminal.count(failures, 'try', 'tries')} failed"


def _of_gap(source: str, gap: Gap) -> Action:
    about = f"about {terminal.count(gap.missing, 'archive')} missing"
    return _from_finding(gap_finding(source, gap.start, None if gap.open else gap.end, gap.outage, about))


def _kind(mark: ArchiveMark) -> Kind | None:
    return _LATE.get(mark.state) if mark.late else _ENDS.get(mark.state)


def _of_mark(source: str, mark: ArchiveMark, kind: Kind, blobs: dict[str, str]) -> Action:
    blob = blobs.get(mark.id.rpartition(".")[2], "")
    finding = Finding(source=source, kind=kind, name=mark.path, since=mark.stamp, detail=mark.reason, blob=blob)
    return _from_finding(finding, mark.id)


def _of_members(source: SourceStatus) -> Iterator[Action]:
    partly = [mark for mark in source.marks if mark.state is DisplayState.PARTLY]
    if partly:
        members = terminal.count(sum(mark.refused for mark in partly), "member")
        yield Action(
            severity=Severity.NOTICE,
            source=source.name,
            kind="refused members",
            name=f"{members} of {terminal.count(len(partly), 'archive')}",
            since=partly[-1].stamp,
            detail="all others can be read",
            advice=f"`imagefeed refused {source.name}` tells the reasons",
            archive=partly[-1].id,
        )


def _from_finding(finding: Finding, archive: str | None = None) -> Action:
    return Action(
        severity=Severity.MISSING if finding.missing else Severity.NOTICE,
        source=finding.source,
        kind=str(finding.kind),
        name=terminal.clean(finding.name),
        since=finding.since,
        detail=terminal.clean(finding.detail),
        advice=terminal.clean(finding.advice),
        archive=archive,
    )


def _few(actions: Sequence[Action]) -> Iterator[Action]:
    yield from islice(actions, MAX)
    if len(actions) > MAX:
        yield replace(actions[MAX], name=f"{len(actions) - MAX} more", since=None, detail="", archive=None)
