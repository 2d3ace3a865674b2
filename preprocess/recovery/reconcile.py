"""Finds archives that stopped half way, and redrives them. Its work is bounded and depends on storage only."""

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
"""Archives of a source whose plan one call requests. A new pipeline finds some hundreds without one."""
_MOST_WAITING = 1_000
"""Messages on the queue above which no plans are requested: if the queue stands still, each call would repeat them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileOutcome:
    """Numbers of archives and batches that were redriven, finished or failed."""

    asked: int = 0
    """Archives without a plan whose plan was requested."""
    redriven: int = 0
    """Batches that were queued again."""
    finished: int = 0
    """Archives whose batches were all done, but that were not terminal."""
    failed: int = 0
    """Archives that have no tries left."""

    def __add__(self, other: "ReconcileOutcome") -> "ReconcileOutcome":
        return ReconcileOutcome(
            asked=self.asked + other.asked,
            redriven=self.redriven + other.redriven,
            finished=self.finished + other.finished,
            failed=self.failed + other.failed,
        )


def reconcile(sources: Iterable[str], ctx: Context, now: datetime, window: timedelta) -> ReconcileOutcome:
    """Redrive each source's unfinished archives of the last `window`. Skip sources with transient errors."""
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
    """Return raw archives without a row: a process died before it wrote the row, or an event was lost."""
    known = ctx.ledger.known(source, since)
    return [archive for archive in ctx.raw.recent(source, since) if archive.key not in known]


def _is_old(archive: RawArchive, ctx: Context, now: datetime) -> bool:
    """Return whether an archive's own event should have arrived by now."""
    return archive.raw_at is None or archive.raw_at + ctx.redrive_after <= now


def _ask(archives: Sequence[RawArchive], ctx: Context) -> ReconcileOutcome:
    if archives and (waiting := ctx.queue.waiting()) >= _MOST_WAITING:
        # Queued now, they would not be processed sooner than if they are queued once the queue is shorter.
        log.warning("reconcile.held source=%s unplanned=%d waiting=%d", archives[0].source, len(archives), waiting)
        return ReconcileOutcome()
    newest = sorted(archives, key=lambda archive: archive.stamp, reverse=True)[:_MOST_ASKED]
    asked = [archive for archive in newest if not _is_pending(archive, ctx)]
    for archive in asked:
        log.warning("archive.unplanned blob=%s", archive.blob)
        ask_plan(archive, ctx)
    return ReconcileOutcome(asked=len(asked))


def _is_pending(archive: RawArchive, ctx: Context) -> bool:
    """Return whether a copy into an archive's blob is under way. Every try would fail until it ends."""
    current = ctx.raw.find(archive.blob)
    return current is not None and current.pending


def _drive(archive: RawArchive, states: Sequence[BatchState], ctx: Context, now: datetime) -> ReconcileOutcome:
    if finish(states, ctx, now):
        return ReconcileOutcome(finished=1)
    unfinished = due(states, now)
    if unfinished and _is_pending(archive, ctx):
        return ReconcileOutcome()
    # A batch that only waited has not failed: the queue stands still, or its message is lost.
    spent = [state for state in unfinished if state.failures and state.attempts >= ctx.redrive_tries]
    if spent:
        return fail(archive, spent[0], ctx, now)
    return ReconcileOutcome(redriven=sum(redrive_batch(state, ctx, now) for state in unfinished))


def fail(archive: RawArchive, state: BatchState, ctx: ReplayContext, now: datetime) -> ReconcileOutcome:
    """Record an archive as failed because a batch has no tries left, unless its blob is in the archive tier."""
    current = ctx.raw.find(archive.blob)
    if current is not None and current.offline:
        log.warning("archive.offline blob=%s: set its access tier to hot or cool, then replay it", archive.blob)
        return ReconcileOutcome()
    reason = f"batch {state.batch.number} failed {state.attempts} more times: {state.error}"
    log.error("archive.failed blob=%s reason=%s", archive.blob, reason)
    ctx.ledger.fail(archive, ctx.pipeline, reason, now, state.batch)
    return ReconcileOutcome(failed=1)


def redrive_batch(state: BatchState, ctx: ReplayContext, now: datetime) -> bool:
    """Queue a batch again, and count the try if it failed. Return False if another call just did so."""
    tries, batch = state.attempts + (state.failures > 0), state.batch
    # Its open row may have been closed or lost, and queued work must have one.
    ctx.ledger.open(batch.archive, ctx.pipeline, now)
    if not ask_again(state, ctx, now, ctx.pause(max(tries, 1))):
        return False
    log.warning("batch.driven blob=%s batch=%d attempt=%d", batch.archive.blob, batch.number, tries)
    return True
