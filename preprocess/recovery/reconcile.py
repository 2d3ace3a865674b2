"""Finds what stopped half way, and drives it again: bounded work, from what lies in storage alone."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagefeed.errors import TransientError
from imagefeed.model import RawArchive
from preprocess.context import Context, ReplayContext
from preprocess.model import BatchState
from preprocess.plan import ask_again, ask_plan, due, finish

log = logging.getLogger(f"ingestion.{__name__}")

_MOST_ASKED = 100
"""Archives of a source that one call asks to be planned; a new pipeline finds some hundreds."""
_MOST_WAITING = 1_000
"""In the queue. Nobody notes that an archive was asked for: while a queue stands, each call would ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileOutcome:
    """What was driven again, or settled."""

    asked: int = 0
    """Archives without a plan, to be planned."""
    redriven: int = 0
    """Batches."""
    finished: int = 0
    """Archives whose batches were all done, but that nobody had settled."""
    failed: int = 0
    """Archives whose tries are spent."""

    def __add__(self, other: "ReconcileOutcome") -> "ReconcileOutcome":
        return ReconcileOutcome(
            asked=self.asked + other.asked,
            redriven=self.redriven + other.redriven,
            finished=self.finished + other.finished,
            failed=self.failed + other.failed,
        )


def reconcile(sources: Iterable[str], ctx: Context, now: datetime, window: timedelta) -> ReconcileOutcome:
    """Look at each source's archives of the last `window`. One that fails for now is looked at by the next call."""
    total = ReconcileOutcome()
    for source in sources:
        try:
            total += _reconcile_source(source, ctx, now, now - window)
        except TransientError as exc:
            log.warning("reconcile.deferred source=%s error=%s", source, exc)
    log.info(
        "reconcile.done asked=%d driven=%d finished=%d failed=%d",
        total.asked,
        total.redriven,
        total.finished,
        total.failed,
    )
    return total


def _reconcile_source(source: str, ctx: Context, now: datetime, since: datetime) -> ReconcileOutcome:
    total = ReconcileOutcome()
    unplanned: list[RawArchive] = []
    for archive in ctx.ledger.list_unfinished(source, ctx.pipeline, since):
        states = ctx.ledger.plan(archive, ctx.pipeline)
        if states is None:
            unplanned.append(archive)
        else:
            total += _drive(archive, states, ctx, now)
    unplanned += _unknown(source, ctx, since)
    return total + _ask([archive for archive in unplanned if _is_old(archive, ctx, now)], ctx)


def _unknown(source: str, ctx: Context, since: datetime) -> list[RawArchive]:
    """Raw archives without a row: a process died between the two, or an event was lost."""
    known = ctx.ledger.known(source, since)
    return [archive for archive in ctx.raw.recent(source, since) if archive.key not in known]


def _is_old(archive: RawArchive, ctx: Context, now: datetime) -> bool:
    """Tell whether an archive's own event should have come by now."""
    return archive.raw_at is None or archive.raw_at + ctx.redrive_after <= now


def _ask(archives: Sequence[RawArchive], ctx: Context) -> ReconcileOutcome:
    if archives and (waiting := ctx.queue.waiting()) >= _MOST_WAITING:
        # Behind all those they would be taken no sooner than if they are asked for when the queue is shorter.
        log.warning("reconcile.held source=%s unplanned=%d waiting=%d", archives[0].source, len(archives), waiting)
        return ReconcileOutcome()
    newest = sorted(archives, key=lambda archive: archive.stamp, reverse=True)[:_MOST_ASKED]
    asked = [archive for archive in newest if not _is_pending(archive, ctx)]
    for archive in asked:
        log.warning("archive.unplanned blob=%s", archive.blob)
        ask_plan(archive, ctx)
    return ReconcileOutcome(asked=len(asked))


def _is_pending(archive: RawArchive, ctx: Context) -> bool:
    """Tell whether a copy into an archive's blob is under way: then nobody's try counts, and each would fail."""
    current = ctx.raw.find(archive.blob)
    return current is not None and current.pending


def _drive(archive: RawArchive, states: Sequence[BatchState], ctx: Context, now: datetime) -> ReconcileOutcome:
    if finish(states, ctx, now):
        return ReconcileOutcome(finished=1)
    unfinished = due(states, now)
    if unfinished and _is_pending(archive, ctx):
        return ReconcileOutcome()
    # What only waits has not failed: the queue stands, or its message is lost.
    spent = [state for state in unfinished if state.failures and state.attempts >= ctx.redrive_tries]
    if spent:
        return fail(archive, spent[0], ctx, now)
    return ReconcileOutcome(redriven=sum(redrive_batch(state, ctx, now) for state in unfinished))


def fail(archive: RawArchive, state: BatchState, ctx: ReplayContext, now: datetime) -> ReconcileOutcome:
    """Settle an archive as failed because of a batch whose tries are spent; not while nobody could have read it."""
    current = ctx.raw.find(archive.blob)
    if current is not None and current.offline:
        log.warning("archive.offline blob=%s: set its access tier to hot or cool, then replay it", archive.blob)
        return ReconcileOutcome()
    reason = f"batch {state.batch.number} was driven {state.attempts} times more in vain: {state.error}"
    log.error("archive.failed blob=%s reason=%s", archive.blob, reason)
    ctx.ledger.fail(archive, ctx.pipeline, reason, now, state.batch)
    return ReconcileOutcome(failed=1)


def redrive_batch(state: BatchState, ctx: ReplayContext, now: datetime) -> bool:
    """Count the try, if it failed, and ask for a batch once more; False if somebody else just did."""
    tries, batch = state.attempts + (state.failures > 0), state.batch
    # It may have been closed by hand, or lost: what is asked for is open.
    ctx.ledger.open(batch.archive, ctx.pipeline, now)
    if not ask_again(state, ctx, now, ctx.pause(max(tries, 1))):
        return False
    log.warning("batch.driven blob=%s batch=%d attempt=%d", batch.archive.blob, batch.number, tries)
    return True
