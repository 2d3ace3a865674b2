"""Batches of an archive: dividing it, finding batches that are due, and queuing them again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched

from imagefeed.model import Counts, RawArchive, State, by_kind
from preprocess.context import ReplayContext
from preprocess.model import Batch, BatchSizes, BatchState

_NOTED_AT_ONCE = 100
"""Rows of one transaction."""


def divide(
    archive: RawArchive, pipeline: str, members: Sequence[tuple[int, int]], sizes: BatchSizes
) -> tuple[Batch, ...]:
    """Divide an archive into batches of consecutive members, given each member's compressed and inflated bytes.

    Each batch is within `sizes` or has a single member. An archive without members gets one empty batch, so that it
    becomes terminal like any other.
    """
    ends = [*_ends(members, sizes), len(members)]
    return tuple(
        Batch(archive=archive, pipeline=pipeline, number=number, first=first, end=end, batches=len(ends))
        for number, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    )


def _ends(members: Iterable[tuple[int, int]], sizes: BatchSizes) -> Iterator[int]:
    """Yield the index at which each batch ends (exclusive), except the last one."""
    count = compressed = inflated = 0
    for index, (size, full) in enumerate(members):
        beyond = compressed + size > sizes.bytes or inflated + full > sizes.inflated_bytes
        if count and (count == sizes.members or beyond):
            yield index
            count = compressed = inflated = 0
        count += 1
        compressed += size
        inflated += full


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """Return the two halves of a batch of several members. The first keeps its number."""
    middle = (batch.first + batch.end) // 2
    return replace(batch, end=middle), replace(batch, number=batch.batches, first=middle)


def find_undone(states: Sequence[BatchState], number: int | None) -> BatchState | None:
    """Return a batch by its number; None if it is done, or the plan has no such batch."""
    return next((state for state in states if state.batch.number == number and state.done_at is None), None)


def end_of(states: Iterable[BatchState], sums: Counts) -> tuple[State, str | None]:
    """Return the terminal state of an archive whose batches are all done, and the reason if it has no image."""
    if sums.images:
        return State.PROCESSED, None
    if sums.refused:
        return State.REFUSED, _why_refused(states, sums)
    skipped = by_kind(sums.skipped)
    return State.EMPTY, f"all of its members are skipped: {skipped}" if sums.members else "the zip has no members"


def _why_refused(states: Iterable[BatchState], sums: Counts) -> str:
    """Return what was refused by kind, and the most common reason."""
    reasons = Counter[str]()
    for state in states:
        if state.counts is not None and state.notes.reason is not None:
            reasons[state.notes.reason] += state.counts.refused
    quoted = "".join(f": {reason}" for reason, _ in reasons.most_common(1))
    skipped = sum(sums.skipped.values())
    kinds = ", ".join(filter(None, (by_kind(sums.refused_kinds), f"{skipped} skipped" if skipped else "")))
    return f"none of its {sums.members} members gave an image ({kinds or f'{sums.refused} refused'}){quoted}"


def due(states: Sequence[BatchState], now: datetime) -> list[BatchState]:
    """Return batches that are not done, are not claimed, and were not queued recently."""
    return [
        state for state in states if state.done_at is None and state.next_drive <= now and not state.claim.stands(now)
    ]


def put(batches: Iterable[Batch], ctx: ReplayContext) -> None:
    """Put batches of one archive on the queue. If this call dies half way, the recovery finds the rest."""
    for group in batched(batches, _NOTED_AT_ONCE, strict=False):
        for batch in group:
            ctx.queue.put(batch.archive.blob, batch)
        # After the messages: a batch that is recorded but not queued is delayed; one that is queued twice does no harm.
        ctx.ledger.note_put(group, ctx.clock())


def ask_plan(archive: RawArchive, ctx: ReplayContext) -> None:
    """Queue a request to plan an archive."""
    ctx.queue.put(archive.blob, None)
    now = ctx.clock()
    ctx.ledger.open(archive, ctx.pipeline, now, now)


def ask_again(state: BatchState, ctx: ReplayContext, now: datetime, pause: timedelta, *, counted: bool = True) -> bool:
    """Queue a batch again, at most once per `pause`. Return False if another call just did so."""
    # Scheduled first, so that only one of two concurrent calls puts the message.
    if not ctx.ledger.schedule_redrive(state, now, now + pause, counted=counted):
        return False
    ctx.queue.put(state.batch.archive.blob, state.batch)
    return True


def finish(states: Sequence[BatchState], ctx: ReplayContext, now: datetime) -> bool:
    """Finish an archive whose batches are all done: the last call died between the batch's row and the archive's.

    Return False if there is nothing to finish.
    """
    if not states or any(state.done_at is None for state in states) or states[-1].counts is None:
        return False
    ctx.ledger.finish(states[-1].batch, states[-1].counts, now)
    return True
