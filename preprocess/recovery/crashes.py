"""What dead processes held, found within two minutes and driven again: a bounded look, often."""

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
"""Open archives of a source that one look reads. Half of them are those opened first, the others are drawn by lot."""
_MOST_ASKED = 5
"""How often the plan of an archive is asked for anew at once; after that the pauses grow."""
_MOST_REDRIVEN = 256
"""Batches of an archive that one look asks for: the poll waits for it."""
_EVENT_DELAY = 3
"""A third of `claim_for` is an archive given for its event: Event Grid's second try comes after ten seconds."""
_CLOCKS = timedelta(seconds=5)
"""So far may our clock and the queue's disagree."""

type OldestVisible = Callable[[], datetime | None]


def redrive_crashed(source: str, ctx: ReplayContext, now: datetime) -> int:
    """Ask again for what nobody is at of a source's open archives, and return how many requests that were.

    When nothing is wrong, this is one request. An archive that has no plan after a third of `ctx.claim_for` is asked
    for. A claim that is not renewed runs out after `ctx.claim_for`; a message that nobody has claimed for twice as
    long, and that no longer waits, was taken by a process that died, or is lost. Raises StoreUnavailableError,
    StoreRefusedError.
    """
    late = now - ctx.claim_for / _EVENT_DELAY
    opened = [each for each in ctx.ledger.list_open(source, ctx.pipeline) if each.opened_at <= late]
    oldest_visible = cache(ctx.queue.oldest_visible)
    return sum(_look_at(each, ctx, now, oldest_visible) for each in _some(opened))


@contextmanager
def every(interval: timedelta, look: Callable[[], object]) -> Iterator[None]:
    """Call `look`, and again each `interval` in a thread for as long as the block lasts. Its errors are logged."""
    ended = Event()

    def guarded() -> None:
        try:
            look()
        except PipelineError as exc:
            log.warning("crashes.deferred error=%s", exc)
        except Exception:
            # The next look comes soon; this thread must not end without a word.
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
    # By chance, so that none is passed over for ever, however often there is a look.
    return [*oldest[:half], *random.sample(oldest[half:], half)]


def _look_at(opened: OpenArchive, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> int:
    """Look at one archive; what is wrong with it holds up no other. Raises TransientError: then all of them wait."""
    try:
        return _redriven(opened, ctx, now, oldest_visible)
    except TransientError:
        raise
    except Exception:
        # A row that is damaged, a blob that must not be read: for a person, and never for the other archives.
        log.exception("crashes.unread blob=%s", opened.archive.blob)
        return 0


def _redriven(opened: OpenArchive, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> int:
    archive = opened.archive
    states = ctx.ledger.plan(archive, ctx.pipeline)
    if states is None:
        return _ask_plan(opened, ctx, now, oldest_visible)
    if opened.opened_at + ctx.claim_for > now:
        # Batches are claimed or put on the queue within this time.
        return 0
    if not states or finish(states, ctx, now):
        # Its end was written, and whoever did that died before this row was removed; or is about to.
        _close(opened, ctx)
        return 0
    stuck = [state for state in states if state.done_at is None and _is_stuck(state, ctx, now, oldest_visible)]
    # What fails in order comes back from the queue; of what the host gave up, only dead letters would tell, if any.
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
    """Return whether nobody is at an undone batch of a plan that is older than `claim_for`, and nobody will be."""
    if state.claim.kind is not None:
        return not state.claim.stands(now)
    return state.failures < MOST_DEQUEUES and (state.put_at is None or _is_lost(state.put_at, ctx, now, oldest_visible))


def _is_lost(put_at: datetime, ctx: ReplayContext, now: datetime, oldest_visible: OldestVisible) -> bool:
    """Return whether a message is hidden for too long, or gone: those that wait are younger."""
    if put_at + 2 * ctx.claim_for > now:
        return False
    oldest = oldest_visible()
    return oldest is None or oldest > put_at + _CLOCKS


def _redrive(state: BatchState, ctx: ReplayContext) -> bool:
    # The time of this very message: others of this look take their time, too.
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
    """Return whether there is anything to preprocess now; what a person has to bring back is open no more."""
    archive = ctx.raw.find(opened.archive.blob)
    # Another version under the same name is another archive, with a row of its own.
    if archive is None or archive.offline or archive.version != opened.archive.version:
        _close(opened, ctx)
        return False
    return not archive.pending


def _close(opened: OpenArchive, ctx: ReplayContext) -> None:
    ctx.ledger.close(opened.archive, ctx.pipeline, opened.etag)
