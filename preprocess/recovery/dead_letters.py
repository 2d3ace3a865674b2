"""Dead letters of queues and Event Grid: recorded in the ledger, redriven or failed, and only then removed."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagefeed.errors import StoreRefusedError, TransientError
from imagefeed.layout import SMOKE
from imagefeed.model import RawArchive
from preprocess.claim import MOST_DEQUEUES, VANISHED_WITHIN
from preprocess.context import Context
from preprocess.incomplete import ask_later
from preprocess.model import BatchState
from preprocess.plan import ask_plan, find_undone
from preprocess.ports import BatchRequest, DeadLetter
from preprocess.recovery.reconcile import fail, redrive_batch

log = logging.getLogger(f"ingestion.{__name__}")

type _Take = Callable[[DeadLetter], str | None]
"""Handles a dead letter. Returns None, or the reason to keep it if its requests cannot be met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersOutcome:
    """Numbers of dead letters by result."""

    taken: int = 0
    """Redriven, failed or sent back, and removed."""
    kept: int = 0
    """Stored with the reason, for a person to inspect, and removed."""
    left: int = 0
    """Left in place, because storage failed or refused."""

    def __add__(self, other: "DeadLettersOutcome") -> "DeadLettersOutcome":
        return DeadLettersOutcome(
            taken=self.taken + other.taken, kept=self.kept + other.kept, left=self.left + other.left
        )


def settle_dead_letters(
    dead_letters: Iterable[DeadLetter], ctx: Context, now: datetime, *, sources: Collection[str], window: timedelta
) -> DeadLettersOutcome:
    """Record in the ledger what was given up, and fail archives that have no tries left.

    `reconcile` redrives the rest when it is due, if it is within `sources` and `window`. Work outside of them is
    redriven here at once.
    """

    def is_looked_after(archive: RawArchive) -> bool:
        return archive.source in sources and archive.stamp >= now - window

    def settle(dead_letter: DeadLetter) -> str | None:
        kept = [_settle(request, dead_letter.why, ctx, now, is_looked_after) for request in dead_letter.requests]
        return "; ".join(filter(None, kept)) or None

    return _clear(dead_letters, settle)


def send_back(dead_letters: Iterable[DeadLetter]) -> DeadLettersOutcome:
    """Put dead letters back on their queues unchanged, on the request of a person who has removed the cause."""
    return _clear(dead_letters, lambda dead_letter: dead_letter.send_back())


def _clear(dead_letters: Iterable[DeadLetter], take: _Take) -> DeadLettersOutcome:
    total = DeadLettersOutcome()
    for dead_letter in dead_letters:
        try:
            total += _clear_one(dead_letter, take)
        except (TransientError, StoreRefusedError) as exc:
            # StoreRefusedError too: a dead letter that cannot be handled must not block the others forever.
            log.warning("dead_letter.deferred name=%r error=%s", dead_letter.name, exc)
            total += DeadLettersOutcome(left=1)
    if total != DeadLettersOutcome():
        log.info("dead_letters.done taken=%d kept=%d left=%d", total.taken, total.kept, total.left)
    return total


def _clear_one(dead_letter: DeadLetter, take: _Take) -> DeadLettersOutcome:
    reason = dead_letter.nonsense or take(dead_letter)
    if reason is None:
        log.warning("dead_letter.taken name=%r why=%r", dead_letter.name, dead_letter.why)
        dead_letter.remove()
        return DeadLettersOutcome(taken=1)
    log.error("dead_letter.kept name=%r why=%r reason=%r", dead_letter.name, dead_letter.why, reason)
    dead_letter.keep(reason)
    dead_letter.remove()
    return DeadLettersOutcome(kept=1)


def _settle(
    request: BatchRequest, why: str, ctx: Context, now: datetime, is_looked_after: Callable[[RawArchive], bool]
) -> str | None:
    archive = ctx.raw.find(request.blob)
    source = request.blob.partition("/")[0] if archive is None else archive.source
    if source == SMOKE:
        # The smoke test reports its own errors, and removes its own blobs.
        return None
    if archive is None:
        return f"the blob {request.blob} is gone"
    if archive.pending:
        ask_later(archive, ctx, request.batch)
        return None
    if archive.offline:
        return f"the blob {request.blob} is in the archive tier: set its access tier to hot or cool, then replay it"
    if request.pipeline not in (None, ctx.pipeline):
        return f"it is for the pipeline {request.pipeline}, which the app no longer uses"
    ctx.ledger.record_raw(archive, archive.raw_at or now)
    states = ctx.ledger.plan(archive, ctx.pipeline)
    if states is None:
        _unplanned(archive, why, ctx, now)
    elif (state := find_undone(states, request.batch)) is not None:
        _undone(state, why, ctx, now, is_looked_after(archive))
    return None


def _unplanned(archive: RawArchive, why: str, ctx: Context, now: datetime) -> None:
    """Request the plan again, within the same tries and time as redrives of batches; then fail the archive."""
    times = ctx.ledger.unplanned(archive, ctx.pipeline, why, now)
    if times < ctx.redrive_tries or (
        archive.raw_at is not None and now < archive.raw_at + ctx.pause(ctx.redrive_tries)
    ):
        ask_plan(archive, ctx)
        return
    reason = f"it could not be planned in {times} tries: {why}"
    log.error("archive.failed blob=%s reason=%r", archive.blob, reason)
    ctx.ledger.fail(archive, ctx.pipeline, reason, now)


def _undone(state: BatchState, why: str, ctx: Context, now: datetime, looked_after: bool) -> None:
    if state.claim.stands(now):
        # Another call works on it, by another message.
        return
    # A message is given up after several calls, even if none of them began the batch. Calls whose process vanished do
    # not count as failures of the batch.
    vanished = state.claim.vanished_since(now - VANISHED_WITHIN) and not state.failures
    noted = state if vanished else replace(state, error=state.error or why, failures=MOST_DEQUEUES)
    if noted.failures and state.attempts >= ctx.redrive_tries:
        fail(state.batch.archive, noted, ctx, now)
    elif not looked_after:
        # Before `given_up`, which changes the row, so that only one of two concurrent calls redrives it.
        redrive_batch(noted, ctx, now)
    if noted != state:
        ctx.ledger.given_up(state.batch, noted.error or why, now)
