"""One batch, from its members' bytes to its results."""

import logging
from dataclasses import dataclass, replace

from errors import ArchiveRefusedError, MemberRefusedError, PipelineError
from preprocess.archive import Archive, MemberReader
from preprocess.claim import Claim
from preprocess.directory import Member
from preprocess.images import ImageMaker
from preprocess.kinds import printable, skip_kind
from preprocess.model import Batch, Counts, Refusal, ResultWriter
from preprocess.preprocessing import Preprocessing

log = logging.getLogger(f"ingestion.{__name__}")


def run_batch(batch: Batch, p: Preprocessing) -> Counts | None:
    """Preprocess a batch, once this process's slot is free.

    None: another is at it, it is done, or its archive was settled as refused. Raises PipelineError: the batch stays
    undone, with the error noted, and `reconcile` drives it again until its tries are spent.
    """
    with p.slot:
        return run_in_slot(batch, p, None)


def run_in_slot(batch: Batch, p: Preprocessing, opened: Archive | None) -> Counts | None:
    """Preprocess a batch in the slot that the caller holds; `opened` saves reading the directory again."""
    claim = Claim(batch, p)
    try:
        if not claim.take():
            log.info("batch.claimed blob=%s batch=%d", batch.archive.blob, batch.number)
            return None
        with claim:
            return _finished(batch, p, opened, claim)
    except ArchiveRefusedError as exc:
        log.warning("archive.refused blob=%s batch=%d reason=%s", batch.archive.blob, batch.number, exc)
        p.ledger.refuse(batch.archive, batch.pipeline, str(exc), p.clock(), batch)
    return None


def _finished(batch: Batch, p: Preprocessing, opened: Archive | None, claim: Claim) -> Counts:
    began = p.clock()
    counts = _run(batch, p, opened or Archive(p.raw.open(batch.archive), p.limits), claim)
    p.ledger.finish(batch, counts, p.clock())
    log.info(
        "batch.done blob=%s batch=%d images=%d refused=%d seconds=%.2f",
        batch.archive.blob,
        batch.number,
        counts.images,
        counts.refused,
        (p.clock() - began).total_seconds(),
    )
    return counts


def _run(batch: Batch, p: Preprocessing, archive: Archive, claim: Claim) -> Counts:
    if batch.end > len(archive.members):
        raise ArchiveRefusedError(f"it has {len(archive.members)} members, its plan was made for {batch.end} and more")
    maker = ImageMaker(batch.archive, p.recipe, p.hook, p.limits)
    counts = Counts()
    with p.results.write(batch) as writer, archive.batch(batch.first, batch.end) as reader:
        for member in archive.stored_order(batch.first, batch.end):
            claim.renew()
            # What the directory claims may be absurd; no member has more bytes than its archive.
            taken = Counts(members=1, bytes_in=min(member.compressed, batch.archive.size))
            counts += taken + _guarded(member, _Bench(maker, reader, writer, claim))
        claim.over()
        return replace(counts, bytes_out=writer.publish(counts))


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is needed for each member of a batch."""

    maker: ImageMaker
    reader: MemberReader
    writer: ResultWriter
    claim: Claim


def _guarded(member: Member, bench: _Bench) -> Counts:
    """Preprocess one member; whatever is wrong with it costs no other member anything."""
    try:
        return _preprocessed(member, bench)
    except MemberRefusedError as exc:
        log.warning("member.refused member=%d name=%s reason=%s", member.number, printable(member.name), exc)
        return _refused(member, str(exc), exc.__cause__ or exc, bench.writer)
    except PipelineError:
        raise
    except Exception as exc:
        # Not foreseen: a hook that fails, an image that makes a library stumble, too little memory.
        log.exception("member.refused member=%d name=%s", member.number, printable(member.name))
        return _refused(member, str(exc) or type(exc).__name__, exc, bench.writer)


def _preprocessed(member: Member, bench: _Bench) -> Counts:
    kind = skip_kind(member.name)
    if kind is None:
        bench.claim.begin(member)
        content = bench.maker.content(bench.reader, member)
        if content is None:
            kind = "not an image"
        elif images := bench.writer.add(bench.maker.images(content, member)):
            return Counts(images=images)
        else:
            kind = "left out by the hook"
    return Counts(skipped={kind: 1})


def _refused(member: Member, reason: str, error: BaseException, writer: ResultWriter) -> Counts:
    writer.refuse(Refusal(member=member.number, name=member.name, reason=reason, error=type(error).__name__))
    return Counts(refused=1)
