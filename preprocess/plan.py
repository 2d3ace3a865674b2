"""An archive's batches: how it is divided, which are due, and how they are asked for again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import batched

from imagefeed.model import Counts, RawArchive
from preprocess.context import ReplayContext
from preprocess.model import Batch, BatchSizes, BatchState

_NOTED_AT_ONCE = 100
"""Rows of a transaction."""


def divide(
    archive: RawArchive, pipeline: str, members: Sequence[tuple[int, int]], sizes: BatchSizes
) -> tuple[Batch, ...]:
    """Make runs of members, given each one's compressed and inflated bytes, that keep to the sizes or are of one.

    An archive without members has one batch without members: it ends like any other, with no images.
    """
    ends = [*_ends(members, sizes), len(members)]
    return tuple(
        Batch(archive=archive, pipeline=pipeline, number=number, first=first, end=end, batches=len(ends))
        for number, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    )


def _ends(members: Iterable[tuple[int, int]], sizes: BatchSizes) -> Iterator[int]:
    """Tell where each batch but the last one ends."""
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
    """Divide a batch of several members into two: its number stays the first one's."""
    middle = (batch.first + batch.end) // 2
    return replace(batch, end=middle), replace(batch, number=batch.batches, first=middle)


def find_undone(states: Sequence[BatchState], number: int | None) -> BatchState | None:
    """Return a batch by its number; None if it is done, or the plan has none of that number."""
    return next((state for state in states if state.batch.number == number and state.done_at is None), None)


def refused_wholly(states: Iterable[BatchState], sums: Counts) -> str:
    """Say why an archive is refused whose every image member was: the commonest reason is quoted."""
    reasons = Counter[str]()
    for state in states:
        if state.counts is not None and state.notes.reason is not None:
            reasons[state.notes.reason] += state.counts.refused
    quoted = "".join(f": {reason}" for reason, _ in reasons.most_common(1))
    return f"every one of its {sums.refused} image members was refused{quoted}"


def due(states: Sequence[BatchState], now: datetime) -> list[BatchState]:
    """Return batches that are not done, that nobody is at, and that were not asked for recently."""
    return [
        state for state in states if state.done_at is None and state.next_drive <= now and not state.claim.stands(now)
    ]


def put(batches: Iterable[Batch], ctx: ReplayContext) -> None:
    """Put batches of one archive on the queue. Should this call die half way, those that nobody asked for are found."""
    for group in batched(batches, _NOTED_AT_ONCE, strict=False):
        for batch in group:
            ctx.queue.put(batch.archive.blob, batch)
        # Behind the messages: what is noted and not put would be missed for longer than what is put twice.
        ctx.ledger.note_put(group, ctx.clock())


def ask_plan(archive: RawArchive, ctx: ReplayContext) -> None:
    """Ask for an archive to be planned."""
    ctx.queue.put(archive.blob, None)
    now = ctx.clock()
    ctx.ledger.open(archive, ctx.pipeline, now, now)


def ask_again(state: BatchState, ctx: ReplayContext, now: datetime, pause: timedelta, *, counted: bool = True) -> bool:
    """Ask for a batch once more, and not again for `pause`; False if somebody else just did."""
    # Scheduled first: of two calls at the same time only one goes on to the queue.
    if not ctx.ledger.schedule_redrive(state, now, now + pause, counted=counted):
        return False
    ctx.queue.put(state.batch.archive.blob, state.batch)
    return True


def finish(states: Sequence[BatchState], ctx: ReplayContext, now: datetime) -> bool:
    """Repeat the end of the last batch if all are done: its call died between its own row and the archive's."""
    if not states or any(state.done_at is None for state in states) or states[-1].counts is None:
        return False
    ctx.ledger.finish(states[-1].batch, states[-1].counts, now)
    return True
