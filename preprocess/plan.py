"""An archive's batches: how it is divided, which are due, and how they are asked for again."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import batched

from imagefeed.model import RawArchive
from preprocess.context import ReplayContext
from preprocess.model import Batch, BatchSizes, BatchState

_NOTED_AT_ONCE = 100
"""Rows of a transaction."""


def divide(archive: RawArchive, pipeline: str, compressed: Sequence[int], sizes: BatchSizes) -> tuple[Batch, ...]:
    """Make runs of members, given each one's compressed bytes, that keep to the sizes or have a single member.

    An archive without members has one batch without members: it ends like any other, with no images.
    """
    ends = [*_ends(compressed, sizes), len(compressed)]
    return tuple(
        Batch(archive=archive, pipeline=pipeline, number=number, first=first, end=end, batches=len(ends))
        for number, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    )


def _ends(compressed: Iterable[int], sizes: BatchSizes) -> Iterator[int]:
    """Tell where each batch but the last one ends."""
    members = taken = 0
    for index, size in enumerate(compressed):
        if members and (members == sizes.members or taken + size > sizes.bytes):
            yield index
            members = taken = 0
        members += 1
        taken += size


def find_undone(states: Sequence[BatchState], number: int | None) -> BatchState | None:
    """Return a batch by its number; None if it is done, or the plan has none of that number."""
    return next((state for state in states if state.batch.number == number and state.done_at is None), None)


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
