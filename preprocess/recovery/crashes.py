"""Recovery of work held by crashed processes, within two minutes, by frequent checks of bounded size."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from threading import Event, Thread

from imagefeed.errors import PipelineError, TransientError
from preprocess.claim import MOST_DEQUEUES
from preprocess.context import ReplayContext
from preprocess.model import BatchState, OpenArchive
from preprocess.plan import ask_again, due, finish
from preprocess.recovery.reconcile import fail, redrive_batch

log = logging.getLogger(f"ingestion.{__name__}")

_MOST_LOOKED_AT = 32
"""Open archives of a source that one check reads: half are those opened first, the others are random."""
_MOST_ASKED = 5
"""Requests for an archive's plan without a pause. Further ones have growing pauses."""
_MOST_REDRIVEN = 256
"""Batches of an archive that one check queues. Bounded because the poll waits for the check."""
_EVENT_DELAY = 3
"""An archive's event has a third of `claim_for` to arrive: Event Grid's second try comes after ten seconds."""
_CLOCKS = timedelta(seconds=5)
"""Allowed difference between this machine's clock and the queue's."""

type OldestVisible = Callable[[], datetime | None]


def redrive_crashed(source: str, ctx: ReplayContext, now: datetime) -> int:
    """Queue the abandoned work of a source's open archives again. Return the number of messages.

    Sends one request if nothing is wrong. Requests a plan for an archive that has none after a third of
    `ctx.claim_for`. A claim that is not renewed expires after `ctx.claim_for`. A message is lost, or was received by a
    process that died, if its batch was not claimed for twice as long and it no longer waits on the queue. Raises
    StoreUnavailableError, StoreRefusedError.
    """
    late = now - ctx.claim_for / _EVENT_DELAY
    opened = [each for each in ctx.ledger.list_open(source, ctx.pipeline) if each.opened_at <= late]
    oldest_visible = cache(ctx.queue.oldest_visible)
    return sum(_look_at(each, ctx, now, oldest_visible) for each in _some(opened))


@contextmanager
def every(interval: timedelta, look: Callable[[], object]) -> Iterator[None]:
    """Call `look`, and repeat it each `interval` in a thread while the block runs. Its errors are logged."""
    ended = Event()

    def guarded() -> None:
        try:
            look()
        except PipelineError as exc:
            log.warning("crashes.deferred error=%s", exc)
        except Exception:
            # The next check may succeed, so this thread must not end.
            log.exception("crashes.failed")

    def repeat() -> None:
        while not ended.wait(interval.total_seconds()):
            guarded()

    guarded()
    thread = Thread(target=repeat, name="crashes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _some(opened: Sequence[OpenArchive]) -> Sequence[OpenArchive]:
    oldest = sorted(opened, key=lambda each: each.opened_at)
    if len(oldest) <= _MOST_LOOKED_AT:
        return oldest
    half = _MOST_LOOKED_AT // 2
    # At random, so that no archive is skipped in every check.
    return [*oldest[:half], *random.sample(oldest[half:], half)]


def _look_at(opened: OpenArchive, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> int:
    """Check one archive, and return the number of messages put.

    Other errors are logged, so that they do not hold up other archives. Raises TransientError, which concerns all.
    """
    try:
        return _redriven(opened, ctx, now, oldest_visible)
    except TransientError:
        raise
    except Exception:
        # A damaged row or an unreadable blob needs a person, and must not stop the check of other archives.
        log.exception("crashes.unread blob=%s", opened.archive.blob)
        return 0


def _redriven(opened: OpenArchive, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> int:
    archive = opened.archive
    states = ctx.ledger.plan(archive, ctx.pipeline)
    if states is None:
        return _ask_plan(opened, ctx, now, oldest_visible)
    if opened.opened_at + ctx.claim_for > now:
        # Batches are normally claimed or queued within this time.
        return 0
    if not states or finish(states, ctx, now):
        # The archive is terminal. The call that wrote this died before it removed this row, or is about to remove it.
        _close(opened, ctx)
        return 0
    stuck = [state for state in states if state.done_at is None and _is_stuck(state, ctx, now, oldest_visible)]
    # A batch that failed is redelivered by the queue. One that the host gave up leaves a dead letter at most.
    given_up = [state for state in due(states, now) if state.failures >= MOST_DEQUEUES]
    if not stuck and not given_up:
        return 0
    if ctx.ledger.is_terminal(archive, ctx.pipeline):
        _close(opened, ctx)
        return 0
    if not _can_be_read(opened, ctx):
        return 0
    if spent := [state for state in given_up if state.attempts >= ctx.redrive_tries]:
        fail(archive, spent[0], ctx, now)
        return 0
    redriven = sum(redrive_batch(state, ctx, ctx.clock()) for state in given_up[:_MOST_REDRIVEN])
    return redriven + sum(_redrive(state, ctx) for state in stuck[:_MOST_REDRIVEN])


def _is_stuck(state: BatchState, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> bool:
    """Return whether an undone batch, of a plan older than `claim_for`, is not worked on and has no message left."""
    if state.claim.kind is not None:
        return not state.claim.stands(now)
    return state.failures < MOST_DEQUEUES and (state.put_at is None or _is_lost(state.put_at, ctx, now, oldest_visible))


def _is_lost(put_at: datetime, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> bool:
    """Return whether a message was hidden for too long, or is gone, because all visible messages are younger."""
    if put_at + 2 * ctx.claim_for > now:
        return False
    oldest = oldest_visible()
    return oldest is None or oldest > put_at + _CLOCKS


def _redrive(state: BatchState, ctx: ReplayContext) -> bool:
    # Not the time of the check's start: the messages before this one took a while.
    now = ctx.clock()
    if not ask_again(state, ctx, now, max(ctx.redrive_after, state.next_drive - now), counted=False):
        return False
    batch, held = state.batch, state.claim.kind or ("put" if state.put_at else "planned")
    log.warning("batch.stuck blob=%s batch=%d held=%s: driven again", batch.archive.blob, batch.number, held)
    return True


def _ask_plan(opened: OpenArchive, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> int:
    if opened.put_at is not None and not _is_lost(opened.put_at, ctx, now, oldest_visible):
        return 0
    if not _can_be_read(opened, ctx):
        return 0
    often = opened.asked - _MOST_ASKED
    if opened.put_at is not None and often >= 0 and opened.put_at + ctx.pause(often) > now:
        return 0
    if not ctx.ledger.ask_plan(opened, ctx.pipeline, ctx.clock()):
        return 0
    log.warning("archive.unplanned blob=%s opened=%s", opened.archive.blob, opened.opened_at.isoformat())
    ctx.queue.put(opened.archive.blob, None)
    return 1


def _can_be_read(opened: OpenArchive, ctx: ReplayContext) -> bool:
    """Return whether the archive can be read now. Close it if it is offline, gone or replaced."""
    archive = ctx.raw.find(opened.archive.blob)
    # Another version under the same name is another archive with its own row.
    if archive is None or archive.offline or archive.version != opened.archive.version:
        _close(opened, ctx)
        return False
    return not archive.pending


def _close(opened: OpenArchive, ctx: ReplayContext) -> None:
    ctx.ledger.close(opened.archive, ctx.pipeline, opened.etag)
