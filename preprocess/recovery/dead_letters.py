"""What queues and Event Grid gave up: noted in the ledger, driven again or settled, and only then removed."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagefeed.errors import StoreRefusedError, TransientError
from imagefeed.layout import SMOKE
from imagefeed.model import RawArchive
from preprocess.context import Preprocessing
from preprocess.incomplete import ask_later
from preprocess.model import BatchState
from preprocess.ports import BatchRequest, Leftover
from preprocess.recovery.reconcile import drive_batch, fail

log = logging.getLogger(f"ingestion.{__name__}")

type _Take = Callable[[Leftover], str | None]
"""Does what a leftover asks for; the reason to keep it where that cannot be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What became of leftovers."""

    taken: int = 0
    """Driven again, settled or sent back, and removed."""
    kept: int = 0
    """Put aside with the reason, for a person to look at."""
    left: int = 0
    """Storage failed or refused: they stay where they are."""

    def __add__(self, other: "Cleared") -> "Cleared":
        return Cleared(taken=self.taken + other.taken, kept=self.kept + other.kept, left=self.left + other.left)


def settle_leftovers(
    leftovers: Iterable[Leftover], p: Preprocessing, now: datetime, *, sources: Collection[str], window: timedelta
) -> Cleared:
    """Note what was given up in the ledger, and fail what has no tries left.

    The rest is driven again when it is due, by `reconcile`, which looks at `sources` and `window`; what lies outside
    of them is driven from here, at once.
    """

    def is_looked_after(archive: RawArchive) -> bool:
        return archive.source in sources and archive.stamp >= now - window

    def settle(leftover: Leftover) -> str | None:
        kept = [_settle(request, leftover.why, p, now, is_looked_after) for request in leftover.requests]
        return "; ".join(filter(None, kept)) or None

    return _clear(leftovers, settle)


def send_back(leftovers: Iterable[Leftover]) -> Cleared:
    """Send what was given up back to work as it is: somebody who has removed the cause asks for it."""
    return _clear(leftovers, lambda leftover: leftover.send_back())


def _clear(leftovers: Iterable[Leftover], take: _Take) -> Cleared:
    total = Cleared()
    for leftover in leftovers:
        try:
            total += _clear_one(leftover, take)
        except (TransientError, StoreRefusedError) as exc:
            # Also what storage refuses: one that cannot be dealt with must not stand before all others for ever.
            log.warning("leftover.deferred name=%r error=%s", leftover.name, exc)
            total += Cleared(left=1)
    if total != Cleared():
        log.info("leftovers.done taken=%d kept=%d left=%d", total.taken, total.kept, total.left)
    return total


def _clear_one(leftover: Leftover, take: _Take) -> Cleared:
    reason = leftover.nonsense or take(leftover)
    if reason is None:
        log.warning("leftover.taken name=%r why=%r", leftover.name, leftover.why)
        leftover.remove()
        return Cleared(taken=1)
    log.error("leftover.kept name=%r why=%r reason=%r", leftover.name, leftover.why, reason)
    leftover.keep(reason)
    leftover.remove()
    return Cleared(kept=1)


def _settle(
    request: BatchRequest, why: str, p: Preprocessing, now: datetime, is_looked_after: Callable[[RawArchive], bool]
) -> str | None:
    archive = p.raw.find(request.blob)
    source = request.blob.partition("/")[0] if archive is None else archive.source
    if source == SMOKE:
        # The smoke test has told whoever began it, and removes what it put there.
        return None
    if archive is None:
        return f"the blob {request.blob} is gone"
    if archive.pending:
        ask_later(archive, p, request.batch)
        return None
    if archive.offline:
        return f"the blob {request.blob} is in the archive tier: set its access tier to hot or cool, then replay it"
    if request.pipeline not in (None, p.pipeline):
        return f"it is for the pipeline {request.pipeline}, which is not the app's any more"
    p.ledger.arrived(archive, archive.raw_at or now)
    states = p.ledger.plan(archive, p.pipeline)
    if states is None:
        _unplanned(archive, why, p, now)
    for state in states or ():
        if state.batch.number == request.batch and state.done_at is None:
            _undone(state, why, p, now, is_looked_after(archive))
    return None


def _unplanned(archive: RawArchive, why: str, p: Preprocessing, now: datetime) -> None:
    """Ask for the plan again, as long as batches would be driven too: by number, and by time."""
    times = p.ledger.unplanned(archive, p.pipeline, why, now)
    if times < p.redrive_tries or (archive.raw_at is not None and now < archive.raw_at + p.pause(p.redrive_tries)):
        p.queue.put(archive.blob, None)
        return
    reason = f"it could not be planned in {times} tries: {why}"
    log.error("archive.failed blob=%s reason=%r", archive.blob, reason)
    p.ledger.fail(archive, p.pipeline, reason, now)


def _undone(state: BatchState, why: str, p: Preprocessing, now: datetime, looked_after: bool) -> None:
    # A message is given up after several calls, whether or not they came so far as to begin with the batch.
    noted = replace(state, error=state.error or why, tried=True)
    if state.attempts >= p.redrive_tries:
        fail(state.batch.archive, noted, p, now)
    elif not looked_after:
        # Before the note, which changes the row: of two calls at the same time only one drives it.
        drive_batch(noted, p, now)
    if noted != state:
        p.ledger.trouble(state.batch, noted.error or why, now)
