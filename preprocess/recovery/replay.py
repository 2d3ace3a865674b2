"""Archives that are done again because somebody asks for it: what was refused or failed, and history."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from imagefeed.model import RawArchive
from preprocess.context import ReplayContext
from preprocess.plan import ask_again, ask_plan, due, finish, put


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


def replay(archive: RawArchive, ctx: ReplayContext) -> ReplayOutcome:
    """Take back what became of an archive, whatever that was, and ask for it anew."""
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
    """Ask for what is not done yet of an archive that is not settled, unless it was asked for just now."""
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
    """Give the next item only once fewer than `limit` messages wait on the queue; until then `wait` is called."""
    for item in items:
        while (count := waiting()) >= limit:
            wait(count)
        yield item


def _missing(archive: RawArchive, ctx: ReplayContext) -> ReplayOutcome | None:
    current = ctx.raw.find(archive.blob)
    if current is None or current.version != archive.version:
        return ReplayOutcome.GONE
    return ReplayOutcome.OFFLINE if current.offline else None
