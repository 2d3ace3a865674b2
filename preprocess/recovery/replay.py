"""Archives that are done again because somebody asks for it: what was refused or failed, and history."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from imagefeed.model import RawArchive
from preprocess.ports import BatchLedger, BatchQueue, RawArchives


class ReplayOutcome(StrEnum):
    """What became of a request."""

    QUEUED = "queued"
    UNDER_WAY = "under way"
    """Somebody drives it right now."""
    FINISHED = "finished"
    """All its batches were done, but nobody had settled it."""
    GONE = "gone"
    """Its blob is not there any more, or is another archive now."""
    OFFLINE = "offline"
    """Its blob is in the archive tier, or on its way back from there."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Replaying:
    """Ports and values, bundled once at start."""

    raw: RawArchives
    ledger: BatchLedger
    queue: BatchQueue
    pipeline: str
    redrive_after: timedelta
    clock: Callable[[], datetime] = _now


def replay(archive: RawArchive, r: Replaying) -> ReplayOutcome:
    """Take back what became of an archive, whatever that was, and ask for it anew."""
    missing = _missing(archive, r)
    if missing is not None:
        return missing
    now = r.clock()
    states = r.ledger.reset(archive, r.pipeline, now, now + r.redrive_after)
    if not states:
        r.queue.put(archive.blob, None)
    for state in states or ():
        r.queue.put(archive.blob, state.batch)
    return ReplayOutcome.QUEUED


def redrive(archive: RawArchive, r: Replaying) -> ReplayOutcome:
    """Ask for what is not done yet of an archive that is not settled, unless it was asked for just now."""
    missing = _missing(archive, r)
    if missing is not None:
        return missing
    states, now = r.ledger.plan(archive, r.pipeline), r.clock()
    if states is None:
        r.queue.put(archive.blob, None)
        return ReplayOutcome.QUEUED
    undone = [state for state in states if state.done_at is None]
    if states and not undone and states[-1].counts is not None:
        r.ledger.finish(states[-1].batch, states[-1].counts, now)
        return ReplayOutcome.FINISHED
    due = [state for state in undone if state.next_drive <= now]
    # Postponed first: of two that ask at the same time only one goes on to the queue.
    redriven = [state for state in due if r.ledger.schedule_redrive(state, now + r.redrive_after)]
    for state in redriven:
        r.queue.put(archive.blob, state.batch)
    return ReplayOutcome.QUEUED if redriven else ReplayOutcome.UNDER_WAY


def behind_live_work[T](
    items: Iterable[T], waiting: Callable[[], int], most: int, wait: Callable[[int], None]
) -> Iterator[T]:
    """Give the next item only once fewer than `most` messages wait on the queue; until then `wait` is called."""
    for item in items:
        while (count := waiting()) >= most:
            wait(count)
        yield item


def _missing(archive: RawArchive, r: Replaying) -> ReplayOutcome | None:
    found = r.raw.find(archive.blob)
    if found is None or found.version != archive.version:
        return ReplayOutcome.GONE
    return ReplayOutcome.OFFLINE if found.offline else None
