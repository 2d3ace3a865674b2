"""Use cases of preprocessing: handle a new raw archive, and handle a batch message."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from time import monotonic

from config.errors import ArchiveIncompleteError, ArchiveRefusedError
from imagefeed.errors import TransientError
from imagefeed.model import RawArchive
from preprocess.claims import Claims
from preprocess.context import Context
from preprocess.incomplete import ask_later, may_still_grow
from preprocess.model import Batch
from preprocess.plan import divide, put
from preprocess.ports import BatchRequest
from preprocess.run_batch import run_batch, run_locked, span_of
from preprocess.zip.reader import Archive

log = logging.getLogger(f"ingestion.{__name__}")

_AT_ONCE = timedelta(seconds=5)
_NEW = timedelta(minutes=10)
_PATIENCE = 10.0
"""Seconds that a new archive waits for `batch_lock`: a third of the time that Event Grid allows for the whole call."""
_FEW = 16
"""Batches. If there are more, none runs inline: it would save almost no time, and queuing the rest takes a while."""


class HandlerOutcome(StrEnum):
    """Result of handling an archive or a message."""

    GONE = "gone"
    """The blob does not exist (any more), or is not an archive of this app."""
    KNOWN = "known"
    """The archive was planned or became terminal before."""
    TERMINAL = "terminal"
    """The archive was refused, with the reason."""
    QUEUED = "queued"
    DONE = "done"
    """A batch ran in this call, or another call claimed or finished it."""
    DEFERRED = "deferred"
    """A transient error occurred; the work is on the queue."""
    DROPPED = "dropped"
    """The message is of another pipeline, whose results are no longer made."""
    OFFLINE = "offline"
    """The blob is in the archive tier. Nothing is recorded or queued until a person rehydrates it."""
    PENDING = "pending"
    """The blob is not complete yet. Nothing is recorded, and the archive is checked again later."""


@dataclass(frozen=True, slots=True)
class _Plan:
    archive: Archive
    batches: Sequence[Batch]
    inline: Sequence[Batch]
    """The first batches, which run in the Event Grid call. They were inserted with its claims."""


def handle_archive_created(blob: str, ctx: Context) -> HandlerOutcome:
    """Plan a new raw archive. Run its small first batches here unless the process is busy, and queue the others.

    Raises TransientError only if the queue, too, cannot be reached, and PermanentError if a person has to act.
    """
    with Claims(ctx) as claims:
        try:
            archive = ctx.raw.find(blob)
            if archive is None:
                return HandlerOutcome.GONE
            if archive.pending:
                return _later(archive, ctx)
            if archive.offline:
                return _offline(archive, ctx)
            with span_of("plan", archive):
                plan = _plan(archive, ctx, claims)
                if not isinstance(plan, _Plan):
                    return plan
                # Queued first, so that other processes can start on them while this one waits and works.
                put(plan.batches[len(plan.inline) :], ctx)
                if not plan.inline or not _acquire(archive, ctx):
                    return _queue(plan.inline, ctx, claims)
        except TransientError as exc:
            log.warning("archive.deferred blob=%s error=%s", blob, exc)
            ctx.queue.put(blob, None)
            return HandlerOutcome.DEFERRED
        try:
            return _run_inline(plan, ctx, claims)
        finally:
            ctx.batch_lock.release()


def handle_batch_message(message: BatchRequest, ctx: Context) -> HandlerOutcome:
    """Run the batch that a message names, or plan the archive if it names none. Raises PipelineError."""
    if message.pipeline not in (None, ctx.pipeline):
        log.info("batch.dropped blob=%s pipeline=%s wanted=%s", message.blob, message.pipeline, ctx.pipeline)
        return HandlerOutcome.DROPPED
    archive = ctx.raw.find(message.blob)
    if archive is None:
        log.warning("archive.gone blob=%s", message.blob)
        return HandlerOutcome.GONE
    if archive.pending:
        return _later(archive, ctx, message.batch)
    if archive.offline:
        return _offline(archive, ctx)
    if archive.traceparent is None:
        archive = replace(archive, traceparent=message.traceparent)
    if message.batch is not None:
        for state in ctx.ledger.plan(archive, ctx.pipeline) or ():
            if state.batch.number == message.batch:
                if state.done_at is None:
                    run_batch(state.batch, ctx)
                return HandlerOutcome.DONE
    with span_of("plan", archive):
        plan = _plan(archive, ctx, None)
        if not isinstance(plan, _Plan):
            return plan
        put(plan.batches, ctx)
        return HandlerOutcome.QUEUED


def _offline(archive: RawArchive, ctx: Context) -> HandlerOutcome:
    log.warning("archive.offline blob=%s: set its access tier to hot or cool, then replay it", archive.blob)
    ctx.ledger.close(archive, ctx.pipeline)
    return HandlerOutcome.OFFLINE


def _later(archive: RawArchive, ctx: Context, batch: int | None = None) -> HandlerOutcome:
    ask_later(archive, ctx, batch)
    return HandlerOutcome.PENDING


def _plan(archive: RawArchive, ctx: Context, claims: Claims | None) -> _Plan | HandlerOutcome:
    """Plan an archive unless it has a plan. Refuse it if it cannot be read and will not grow.

    Other permanent errors (a missing role) are not caused by the archive. They are raised, the archive's state does not
    change, and `reconcile` queues it again once they are fixed.
    """
    if ctx.ledger.plan(archive, ctx.pipeline) is not None:
        return HandlerOutcome.KNOWN
    ctx.ledger.open(archive, ctx.pipeline, ctx.clock())
    try:
        return _new_plan(archive, ctx, claims)
    except ArchiveRefusedError as exc:
        if isinstance(exc, ArchiveIncompleteError) and may_still_grow(archive, ctx.clock()):
            return _later(archive, ctx)
        ctx.ledger.record_raw(archive, _became_raw(archive, ctx.clock()))
        extra = {"source": archive.source, "state": "refused", "reason": str(exc)}
        log.warning("archive.refused blob=%s reason=%s", archive.blob, exc, extra=extra)
        ctx.ledger.refuse(archive, ctx.pipeline, str(exc), ctx.clock())
    return HandlerOutcome.TERMINAL


def _became_raw(archive: RawArchive, now: datetime) -> datetime:
    """Return when an archive became raw: `now` if its event came at once, because blobs have whole seconds only."""
    if archive.raw_at is None or now - archive.raw_at < _AT_ONCE:
        return now
    return archive.raw_at


def _new_plan(archive: RawArchive, ctx: Context, claims: Claims | None) -> _Plan | HandlerOutcome:
    if archive.copy_error is not None:
        raise ArchiveRefusedError(
            f"its blob is empty because the copy into it failed, {archive.copy_error}; copy it again"
        )
    opened = Archive(ctx.raw.open(archive), ctx.limits, ctx.member_encodings.get(archive.source))
    sizes = [(member.compressed, member.size) for member in opened.members]
    batches = divide(archive, ctx.pipeline, sizes, ctx.sizes_for(archive.source))
    now = ctx.clock()
    # Recorded after it was read: each state of a growing blob is another archive, and only the last gets a row.
    ctx.ledger.record_raw(archive, _became_raw(archive, now))
    inline = () if claims is None else _inline(batches, opened, ctx)
    # Claimed from the start, so that no other call that reads the plan runs them. The others wait on the queue.
    claimed = {} if claims is None else dict.fromkeys((batch.number for batch in inline), claims.waiting(now))
    name = ctx.ledger.insert_plan(batches, now, now + ctx.redrive_after, claimed)
    if name is None:
        return HandlerOutcome.KNOWN
    # The ledger checks the name, so that calls which still work on a plan that was reset record nothing.
    batches = tuple(replace(batch, plan=name) for batch in batches)
    inline = batches[: len(inline)]
    if claims is not None:
        claims.hold(inline)
    log.info("archive.planned blob=%s members=%d batches=%d", archive.blob, len(opened.members), len(batches))
    return _Plan(opened, batches, inline)


def _inline(batches: Sequence[Batch], archive: Archive, ctx: Context) -> Sequence[Batch]:
    """Return the first batches that run without the queue: as many as have at most `inline_bytes` together."""
    if len(batches) > _FEW:
        return ()
    ends = list(accumulate((member.compressed for member in archive.members), initial=0))
    return [batch for batch in batches if ends[batch.end] <= ctx.sizes_for(batch.archive.source).inline_bytes]


def _acquire(archive: RawArchive, ctx: Context) -> bool:
    """Acquire `batch_lock`, and return whether it was acquired.

    A new archive waits for it, because on the queue it could be behind a long backlog. Only one call of a process
    waits, so that waiting calls cannot take all of its threads.
    """
    if ctx.batch_lock.acquire(blocking=False):
        return True
    if ctx.clock() - archive.stamp > _NEW or not ctx.waiter_lock.acquire(blocking=False):
        return False
    try:
        return ctx.batch_lock.acquire(timeout=_PATIENCE)
    finally:
        ctx.waiter_lock.release()


def _queue(batches: Sequence[Batch], ctx: Context, claims: Claims) -> HandlerOutcome:
    """Release and queue batches that this call will not run."""
    if batches:
        # Opened again, so that batches that are released but not yet queued are not taken for lost.
        ctx.ledger.open(batches[0].archive, ctx.pipeline, ctx.clock())
    for batch in batches:
        claims.release(batch)
    put(batches, ctx)
    return HandlerOutcome.QUEUED


def _run_inline(plan: _Plan, ctx: Context, claims: Claims) -> HandlerOutcome:
    until = monotonic() + ctx.batch_time.total_seconds()
    for number, batch in enumerate(plan.inline):
        if monotonic() > until:
            return _queue(plan.inline[number:], ctx, claims)
        try:
            run_locked(batch, ctx, claims, plan.archive)
        except TransientError as exc:
            log.warning("batch.deferred blob=%s batch=%d error=%s", batch.archive.blob, batch.number, exc)
            _queue(plan.inline[number:], ctx, claims)
            return HandlerOutcome.DEFERRED
    return HandlerOutcome.DONE
