"""Preprocessing archives again on request: refused, failed or old ones."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from imagefeed.model import RawArchive
from preprocess.context import ReplayContext
from preprocess.plan import ask_again, ask_plan, due, finish, put


class ReplayOutcome(StrEnum):
    """Result of a request."""

    QUEUED = "queued"
    UNDER_WAY = "under way"
    """Its batches are claimed, or were queued just now."""
    FINISHED = "finished"
    """All its batches were done, but it was not terminal; now it is."""
    GONE = "gone"
    """Its blob no longer exists, or is another archive now."""
    OFFLINE = "offline"
    """Its blob is in the archive tier, or is being rehydrated."""


def replay(archive: RawArchive, ctx: ReplayContext) -> ReplayOutcome:
    """Reset an archive, whatever its state is, and queue it again."""
    missing = _missing(archive, ctx)
    if missing is not None:
        return missing
    now = ctx.clock()
    states = ctx.ledger.reset(archive, ctx.pipeline, now, now + ctx.redrive_after)
    if not states:
        ask_plan(archive, ctx)
    put([state.batch for state in states or ()], ctx)
    return ReplayOutcome.QUEUED


def redrive(archive: RawArchive, ctx: ReplayContext) -> ReplayOutcome:
    """Queue the undone batches of an archive that is not terminal, unless they were queued just now."""
    missing = _missing(archive, ctx)
    if missing is not None:
        return missing
    states, now = ctx.ledger.plan(archive, ctx.pipeline), ctx.clock()
    if states is None:
        ask_plan(archive, ctx)
        return ReplayOutcome.QUEUED
    if finish(states, ctx, now):
        return ReplayOutcome.FINISHED
    redriven = [state for state in due(states, now) if ask_again(state, ctx, now, ctx.redrive_after)]
    return ReplayOutcome.QUEUED if redriven else ReplayOutcome.UNDER_WAY


def behind_live_work[T](
    items: Iterable[T], waiting: Callable[[], int], limit: int, wait: Callable[[int], None]
) -> Iterator[T]:
    """Yield each item once fewer than `limit` messages wait on the queue. Until then, call `wait` with their number."""
    for item in items:
        while (count := waiting()) >= limit:
            wait(count)
        yield item


def _missing(archive: RawArchive, ctx: ReplayContext) -> ReplayOutcome | None:
    current = ctx.raw.find(archive.blob)
    if current is None or current.version != archive.version:
        return ReplayOutcome.GONE
    return ReplayOutcome.OFFLINE if current.offline else None
