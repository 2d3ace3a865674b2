"""What queues and Event Grid gave up: noted in the ledger, driven again or settled, and only then removed."""

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
"""Does what a dead letter asks for; the reason to keep it where that cannot be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersOutcome:
    """What became of dead letters."""

    taken: int = 0
    """Driven again, settled or sent back, and removed."""
    kept: int = 0
    """Put aside with the reason, for a person to look at."""
    left: int = 0
    """Storage failed or refused: they stay where they are."""

    def __add__(self, other: "DeadLettersOutcome") -> "DeadLettersOutcome":
        return DeadLettersOutcome(
            taken=self.taken + other.taken, kept=self.kept + other.kept, left=self.left + other.left
        )


def settle_dead_letters(
    dead_letters: Iterable[DeadLetter], ctx: Context, now: datetime, *, sources: Collection[str], window: timedelta
) -> DeadLettersOutcome:
    """Note what was given up in the ledger, and fail what has no tries left.

    The rest is driven again when it is due, by `reconcile`, which looks at `sources` and `window`; what lies outside
    of them is driven from here, at once.
    """

    def is_looked_after(archive: RawArchive) -> bool:
        return archive.source in sources and archive.stamp >= now - window

    def settle(dead_letter: DeadLetter) -> str | None:
        kept = [_settle(request, dead_letter.why, ctx, now, is_looked_after) for request in dead_letter.requests]
        return "; ".join(filter(None, kept)) or None

    return _clear(dead_letters, settle)


def send_back(dead_letters: Iterable[DeadLetter]) -> DeadLettersOutcome:
    """Send what was given up back to work as it is: somebody who has removed the cause asks for it."""
    return _clear(dead_letters, lambda dead_letter: dead_letter.send_back())


def _clear(dead_letters: Iterable[DeadLetter], take: _Take) -> DeadLettersOutcome:
    total = DeadLettersOutcome()
    for dead_letter in dead_letters:
        try:
            total += _clear_one(dead_letter, take)
        except (TransientError, StoreRefusedError) as exc:
            # Also what storage refuses: one that cannot be dealt with must not stand before all others for ever.
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
        # The smoke test has told whoever began it, and removes what it put there.
        return None
    if archive is None:
        return f"the blob {request.blob} is gone"
    if archive.pending:
        ask_later(archive, ctx, request.batch)
        return None
    if archive.offline:
        return f"the blob {request.blob} is in the archive tier: set its access tier to hot or cool, then replay it"
    if request.pipeline not in (None, ctx.pipeline):
        return f"it is for the pipeline {request.pipeline}, which is not the app's any more"
    ctx.ledger.record_raw(archive, archive.raw_at or now)
    states = ctx.ledger.plan(archive, ctx.pipeline)
    if states is None:
        _unplanned(archive, why, ctx, now)
    elif (state := find_undone(states, request.batch)) is not None:
        _undone(state, why, ctx, now, is_looked_after(archive))
    return None


def _unplanned(archive: RawArchive, why: str, ctx: Context, now: datetime) -> None:
    """Ask for the plan again, as long as batches would be driven too: by number, and by time."""
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
        # Somebody is at it, by another message.
        return
    # A message is given up after several calls, whether or not they came so far as to begin with the batch. But calls
    # whose process vanished are no failures of the batch.
    vanished = state.claim.vanished_since(now - VANISHED_WITHIN) and not state.failures
    noted = state if vanished else replace(state, error=state.error or why, failures=MOST_DEQUEUES)
    if noted.failures and state.attempts >= ctx.redrive_tries:
        fail(state.batch.archive, noted, ctx, now)
    elif not looked_after:
        # Before the note, which changes the row: of two calls at the same time only one drives it.
        redrive_batch(noted, ctx, now)
    if noted != state:
        ctx.ledger.given_up(state.batch, noted.error or why, now)
