"""The use cases of preprocessing: take an archive that became raw, and what a queue message asks for."""

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
"""Seconds that a newcomer waits for `batch_lock`; a third of what Event Grid allows for all of the call."""
_FEW = 16
"""Batches. With more, to begin here would save next to nothing, and to queue the others takes a while."""


class HandlerOutcome(StrEnum):
    """What became of an archive or a message."""

    GONE = "gone"
    """The blob is not there (any more), or is no archive of ours."""
    KNOWN = "known"
    """Planned or settled before."""
    TERMINAL = "terminal"
    """As refused, with the reason."""
    QUEUED = "queued"
    DONE = "done"
    """A batch ran in this call, or is another's already."""
    DEFERRED = "deferred"
    """Something failed that may work later: it is on the queue."""
    DROPPED = "dropped"
    """A message of another pipeline: nobody wants its results any more."""
    OFFLINE = "offline"
    """Its bytes are in the archive tier: nothing is settled, and nothing asked for until a person brings it back."""
    PENDING = "pending"
    """Its bytes are not all there yet: nothing is settled, and it is looked at again a little later."""


@dataclass(frozen=True, slots=True)
class _Plan:
    archive: Archive
    batches: Sequence[Batch]
    inline: Sequence[Batch]
    """The first ones, which run in the Event Grid call: they were inserted with its claims."""


def handle_archive_created(blob: str, ctx: Context) -> HandlerOutcome:
    """Plan an archive that became raw. What is small of it runs here if no other batch does, all else is queued.

    Raises TransientError only if not even the queue can be reached, and PermanentError if a person has to help.
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
                # First: another process may begin with them while this one waits and works.
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
    """Plan an archive unless that was done before; one that cannot be read, and will not grow, is settled as refused.

    Other permanent errors (a missing role) are the system's, not the archive's: they pass through, the archive stays
    as it is, and `reconcile` asks for it again once they are mended.
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
    """Tell when an archive became raw: just now, if its event came at once. The service tells whole seconds only."""
    if archive.raw_at is None or now - archive.raw_at < _AT_ONCE:
        return now
    return archive.raw_at


def _new_plan(archive: RawArchive, ctx: Context, claims: Claims | None) -> _Plan | HandlerOutcome:
    if not archive.complete:
        raise ArchiveRefusedError("its end is no zip directory that fits: the server never completed it")
    if archive.copy_error is not None:
        raise ArchiveRefusedError(
            f"the copy into its blob ended without its bytes, {archive.copy_error}; copy it again"
        )
    opened = Archive(ctx.raw.open(archive), ctx.limits)
    sizes = [(member.compressed, member.size) for member in opened.members]
    batches = divide(archive, ctx.pipeline, sizes, ctx.sizes_for(archive.source))
    now = ctx.clock()
    # Not before it was read: what still grows is another archive each time, and only the last one is to be known.
    ctx.ledger.record_raw(archive, _became_raw(archive, now))
    inline = () if claims is None else _inline(batches, opened, ctx)
    # Who finds the plan must see that somebody is at these; the others wait on the queue.
    claimed = {} if claims is None else dict.fromkeys((batch.number for batch in inline), claims.waiting(now))
    name = ctx.ledger.insert_plan(batches, now, now + ctx.redrive_after, claimed)
    if name is None:
        return HandlerOutcome.KNOWN
    # By its name, who works by a plan that was taken back settles nothing.
    batches = tuple(replace(batch, plan=name) for batch in batches)
    inline = batches[: len(inline)]
    if claims is not None:
        claims.hold(inline)
    log.info("archive.planned blob=%s members=%d batches=%d", archive.blob, len(opened.members), len(batches))
    return _Plan(opened, batches, inline)


def _inline(batches: Sequence[Batch], archive: Archive, ctx: Context) -> Sequence[Batch]:
    """Choose what need not wait until the queue is looked at: as many of the first batches as are small together."""
    if len(batches) > _FEW:
        return ()
    ends = list(accumulate((member.compressed for member in archive.members), initial=0))
    return [batch for batch in batches if ends[batch.end] <= ctx.sizes_for(batch.archive.source).inline_bytes]


def _acquire(archive: RawArchive, ctx: Context) -> bool:
    """Acquire `batch_lock` if it is free. A newcomer waits a while: on the queue it would stand behind a whole backlog.

    Only one waits in a process, so that calls that wait cannot take all of its threads.
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
    """Queue batches that this call will not run."""
    if batches:
        # Let go and not yet put, they must not look forgotten.
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
