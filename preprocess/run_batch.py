"""Preprocessing of one batch, from its members' bytes to its results."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial
from io import BytesIO
from time import monotonic

from config import telemetry
from config.errors import ArchiveRefusedError, OutOfTimeError
from imagefeed.errors import MemberRefusedError, PipelineError
from imagefeed.model import Counts, RawArchive, Refusal
from preprocess.claim import MOST_VANISHED, ClaimKind
from preprocess.claims import Claims
from preprocess.context import Context
from preprocess.hook_errors import HookFailedError
from preprocess.image.child_decoder import ChildDecoder, RefusedInChildError
from preprocess.image.decode import warnings_heard
from preprocess.image.formats import UnreadFormatError, is_skipped_unseen, kind_of, printable, skipped_as
from preprocess.image.maker import ImageMaker
from preprocess.image.pool import DecodePool, Decoder, PendingMember
from preprocess.member_log import few_lines, member_log
from preprocess.model import Batch, Image, Limits, Notes
from preprocess.notes import BATCH_TIME, NoteTaker
from preprocess.plan import put
from preprocess.ports import ResultWriter
from preprocess.watch import SlowMemberError, Turns, strays_live, watched
from preprocess.zip.directory import Member
from preprocess.zip.reader import Archive, MemberReader

log = logging.getLogger(f"ingestion.{__name__}")

_LIMITS = [f"LIMIT_{limit.name.upper()}" for limit in fields(Limits)]


class BatchTooLongError(Exception):
    """A batch of several members takes longer than one call may. None of it was published."""


def run_batch(batch: Batch, ctx: Context) -> Counts | None:
    """Preprocess a batch as soon as this process runs no other, and return its counts.

    None if another call has claimed it, it is done, it took too long and was divided, or its archive became terminal.
    Raises PipelineError: the error is recorded, and the batch is redriven until no tries are left.
    """
    with Claims(ctx) as claims:
        if not ctx.batch_lock.acquire(blocking=False):
            # A waiting call claims the batch, else its message would be taken for lost.
            if claims.take(batch, ClaimKind.WAITING) is None:
                _log_claimed(batch)
                return None
            if not ctx.batch_lock.acquire(timeout=ctx.batch_time.total_seconds()):
                raise OutOfTimeError(
                    f"preprocess batch {batch.number} of {batch.archive.blob}: "
                    "no time is left in this call; the queue delivers it again"
                )
        try:
            return run_locked(batch, ctx, claims, None)
        finally:
            ctx.batch_lock.release()


def run_locked(batch: Batch, ctx: Context, claims: Claims, opened: Archive | None) -> Counts | None:
    """Preprocess a batch while the caller holds `ctx.batch_lock`. `opened` avoids reading the directory again."""
    vanished = claims.take(batch, ClaimKind.RUNNING)
    if vanished is None:
        _log_claimed(batch)
        return None
    try:
        return _run(batch, ctx, claims, opened, vanished)
    except BaseException as exc:
        claims.release(batch, exc)
        raise
    finally:
        claims.done(batch)


def _run(batch: Batch, ctx: Context, claims: Claims, opened: Archive | None, vanished: int) -> Counts | None:
    archive = batch.archive
    # If claims expire at once, as in tests, a vanished owner does not mean a crash.
    isolate = vanished > 0 and ctx.claim_for > timedelta(0)
    if isolate and vanished >= MOST_VANISHED:
        _give_up(batch, ctx, vanished)
        return None
    try:
        with span_of("batch", archive):
            return _finished(batch, ctx, opened, partial(claims.keep, batch), isolate=isolate)
    except ArchiveRefusedError as exc:
        extra = {"source": archive.source, "state": "refused", "reason": str(exc)}
        log.warning("archive.refused blob=%s batch=%d reason=%s", archive.blob, batch.number, exc, extra=extra)
        ctx.ledger.refuse(archive, batch.pipeline, str(exc), ctx.clock(), batch)
    except _ClaimLostError:
        _log_claimed(batch)
    except BatchTooLongError:
        if claims.keep(batch):
            _divide(batch, ctx)
    return None


def _divide(batch: Batch, ctx: Context) -> None:
    # Opened again, because the halves are not queued yet: the recovery waits a minute from here before it does so.
    ctx.ledger.open(batch.archive, batch.pipeline, ctx.clock())
    halves = ctx.ledger.split(batch, ctx.clock() + ctx.redrive_after)
    log.warning("batch.divided blob=%s batch=%d into=%s", batch.archive.blob, batch.number, [h.number for h in halves])
    put(halves, ctx)


class _ClaimLostError(Exception):
    """Another call runs the batch by now. It publishes the batch, or the halves into which it divided it."""


def _log_claimed(batch: Batch) -> None:
    log.info("batch.claimed blob=%s batch=%d", batch.archive.blob, batch.number)


def _give_up(batch: Batch, ctx: Context, vanished: int) -> None:
    reason = (
        f"batch {batch.number}: the process that ran it ended {vanished} times in a day: "
        "the batch needs more memory than there is, or the host keeps being stopped"
    )
    log.error("archive.failed blob=%s reason=%s", batch.archive.blob, reason)
    ctx.ledger.fail(batch.archive, batch.pipeline, reason, ctx.clock(), batch)


def span_of(name: telemetry.Span, archive: RawArchive) -> AbstractContextManager[None]:
    """Return a span that times work on an archive, in the archive's own trace."""
    return telemetry.span(
        name, source=archive.source, archive=archive.version, blob=archive.blob, of=archive.traceparent
    )


def _finished(batch: Batch, ctx: Context, opened: Archive | None, keep: Callable[[], bool], *, isolate: bool) -> Counts:
    began = ctx.clock()
    encoding = ctx.member_encodings.get(batch.archive.source)
    archive = opened or Archive(ctx.raw.open(batch.archive), ctx.limits, encoding)
    if batch.end > len(archive.members):
        raise ArchiveRefusedError(f"it has {len(archive.members)} members, its plan was made for at least {batch.end}")
    counts, taker = _decoded(batch, ctx, archive, keep, isolate=isolate)
    ended = ctx.clock()
    ctx.ledger.finish(batch, counts, ended, _notes(batch, ctx, archive, taker, ended - began))
    # Counted only now, so that the images of a batch that is retried count once.
    telemetry.preprocessed(batch.archive.source, batch.pipeline, counts.images, taker.reasons)
    log.info(
        "batch.done blob=%s batch=%d images=%d refused=%d seconds=%.2f",
        batch.archive.blob,
        batch.number,
        counts.images,
        counts.refused,
        (ended - began).total_seconds(),
    )
    return counts


def _notes(batch: Batch, ctx: Context, archive: Archive, taker: NoteTaker, took: timedelta) -> Notes:
    taker.note("archive_members", len(archive.members))
    if batch.end - batch.first > 1:
        taker.merge({BATCH_TIME: took / ctx.batch_time})
    return taker.notes


def _decoded(
    batch: Batch, ctx: Context, archive: Archive, keep: Callable[[], bool], *, isolate: bool
) -> tuple[Counts, NoteTaker]:
    """Decode in threads, or in a child process if a process died at this batch, or a member hangs.

    LIMIT_SECONDS refuses members in the child only: members decoded beside others, or beside a hanging thread, are all
    slow.
    """
    deadline = monotonic() + ctx.batch_time.total_seconds()
    if not isolate and not strays_live():
        try:
            return watched(partial(_published, batch, ctx, archive, keep, deadline, False), ctx.limits.seconds)
        except SlowMemberError:
            slow = "batch.isolated blob=%s batch=%d: a member takes longer than LIMIT_SECONDS=%s"
            log.warning(slow, batch.archive.blob, batch.number, ctx.limits.seconds)
    return _published(batch, ctx, archive, keep, deadline, True, Turns(math.inf))


def _published(
    batch: Batch,
    ctx: Context,
    archive: Archive,
    keep: Callable[[], bool],
    deadline: float,
    isolate: bool,
    turns: Turns,
) -> tuple[Counts, NoteTaker]:
    """Decode and publish the batch. Return its counts and notes."""
    maker = ImageMaker(batch.archive, ctx.recipe, ctx.hook, ctx.limits)
    counts, taker = Counts(), NoteTaker(ctx.limits)
    members = archive.batch(batch.first, batch.end)
    heard = nullcontext() if isolate else warnings_heard()
    with few_lines(batch), heard, ctx.results.write(batch) as writer, members as reader:
        read = partial(_read, maker, reader)
        decoder: Decoder = (
            ChildDecoder(read, batch.archive, ctx.recipe, ctx.limits)
            if isolate
            else DecodePool(read, maker.decode, ctx.limits, ctx.decode_workers)
        )
        # The child has its own hook.
        context = _BatchContext(iter if isolate else maker.finish, writer, taker)
        with closing(decoder.each(archive.stored_order(batch.first, batch.end))) as pending_members:
            for member, pending in pending_members:
                turns.begin()
                began = monotonic()
                _check_time(batch, deadline)
                # The size in the directory may be absurd; no member has more bytes than its archive.
                taken = Counts(members=1, bytes_in=min(member.compressed, batch.archive.size))
                counts += taken + _guarded(member, pending, context)
                taker.note("seconds", monotonic() - began)
        turns.end()
        if not keep():
            raise _ClaimLostError
        taker.merge(writer.near)
        return replace(counts, bytes_out=writer.publish(counts)), taker


def _check_time(batch: Batch, deadline: float) -> None:
    """Raise BatchTooLongError if the batch's time is over. LIMIT_SECONDS bounds a batch of a single member."""
    if batch.end - batch.first > 1 and monotonic() >= deadline:
        raise BatchTooLongError


def _read(maker: ImageMaker, reader: MemberReader, member: Member) -> BytesIO | None:
    return None if is_skipped_unseen(member.name, member.size) else maker.content(reader, member)


@dataclass(frozen=True, slots=True)
class _BatchContext:
    """Objects shared by the members of a batch."""

    finish: Callable[[Iterable[Image]], Iterable[Image]]
    """Counts a member's images and passes them through the hook."""
    writer: ResultWriter
    taker: NoteTaker


def _guarded(member: Member, pending: PendingMember, context: _BatchContext) -> Counts:
    """Preprocess one member. Any error of it refuses this member only."""
    try:
        return _preprocessed(member, pending, context)
    except MemberRefusedError as exc:
        line, trace = "member.refused member=%d name=%s reason=%s", isinstance(exc, HookFailedError)
        member_log.warning(line, member.number, printable(member.name), exc, exc_info=trace)
        error = exc.kind if isinstance(exc, RefusedInChildError) else type(exc.__cause__ or exc).__name__
        kind = exc.kind if isinstance(exc, UnreadFormatError) else kind_of(member.name)
        return _refused(member, str(exc), error, kind, context)
    except PipelineError:
        raise
    except Exception as exc:
        # Unexpected: a library that fails on an image, or too little memory.
        member_log.exception("member.refused member=%d name=%s", member.number, printable(member.name))
        return _refused(member, str(exc) or type(exc).__name__, type(exc).__name__, kind_of(member.name), context)


def _preprocessed(member: Member, pending: PendingMember, context: _BatchContext) -> Counts:
    images = pending()
    if images is None:
        return Counts(skipped={skipped_as(member.name, member.size): 1})
    methods: dict[str, int] = {}
    finished = context.finish(context.taker.passing(member, images))
    if written := context.writer.add(_noting_methods(finished, methods)):
        return Counts(images=written, methods=methods)
    return Counts(skipped={"by the hook": 1})


def _noting_methods(images: Iterable[Image], methods: dict[str, int]) -> Iterator[Image]:
    for image in images:
        methods[image.metadata.format] = image.metadata.method
        yield image


def _refused(member: Member, reason: str, error: str, kind: str, context: _BatchContext) -> Counts:
    context.writer.refuse(Refusal(member=member.number, name=member.name, reason=reason, error=error))
    context.taker.refuse(next((limit for limit in _LIMITS if f"{limit}=" in reason), error), reason)
    return Counts(refused=1, refused_kinds={kind: 1})
