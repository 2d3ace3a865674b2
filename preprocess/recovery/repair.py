"""Finds results that were lost after they were made, and remakes them: the same bytes under the same names."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagefeed.errors import TransientError
from preprocess.context import Context
from preprocess.model import Loss
from preprocess.ports import ResultAudit
from preprocess.recovery.replay import ReplayOutcome, replay

log = logging.getLogger(f"ingestion.{__name__}")

_MOST_REPAIRS = 3
"""Repairs of one archive. If results are lost each time (a rule deletes them), more repairs do not help."""
_MOST_LINES = 10
"""Lost results of an archive that are logged individually."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOutcome:
    """Numbers of archives that have lost results."""

    asked: int = 0
    """Reset and queued again."""
    beyond: int = 0
    """Repaired too often, or without a readable raw blob: logged each time, and not changed."""

    def __add__(self, other: "RepairOutcome") -> "RepairOutcome":
        return RepairOutcome(asked=self.asked + other.asked, beyond=self.beyond + other.beyond)


def repair(
    sources: Iterable[str], results: ResultAudit, ctx: Context, now: datetime, window: timedelta
) -> RepairOutcome:
    """Check some of each source's results of the last `window`, and repair losses. Skip sources that fail for now."""
    total = RepairOutcome()
    for source in sources:
        try:
            for loss in results.lost(source, ctx.pipeline, now - window):
                total += _repaired(loss, ctx, now)
        except TransientError as exc:
            log.warning("repair.deferred source=%s error=%s", source, exc)
    if total != RepairOutcome():
        log.info("repair.done asked=%d beyond=%d", total.asked, total.beyond)
    return total


def _repaired(loss: Loss, ctx: Context, now: datetime) -> RepairOutcome:
    blob = loss.archive.blob
    for item in loss.missing[:_MOST_LINES]:
        log.warning("results.lost blob=%s what=%r", blob, item)
    if len(loss.missing) > _MOST_LINES:
        log.warning("results.more blob=%s count=%d", blob, len(loss.missing) - _MOST_LINES)
    reason = _beyond(loss, ctx, now)
    if reason is None:
        return RepairOutcome(asked=1)
    log.error("results.beyond_repair blob=%s reason=%r", blob, reason)
    return RepairOutcome(beyond=1)


def _beyond(loss: Loss, ctx: Context, now: datetime) -> str | None:
    """Queue an archive again. Return None, or the reason why it cannot be repaired."""
    current = ctx.raw.find(loss.archive.blob)
    if current is not None and not current.offline and ctx.ledger.repaired(current, ctx.pipeline, now) > _MOST_REPAIRS:
        return f"it was repaired {_MOST_REPAIRS} times: find out what deletes its results, then replay it"
    asked = replay(loss.archive, replace(ctx, clock=lambda: now))
    return None if asked is ReplayOutcome.QUEUED else f"its raw blob is {_WHY.get(asked, asked)}"


_WHY = {
    ReplayOutcome.OFFLINE: "in the archive tier: set its tier to hot or cool",
    ReplayOutcome.GONE: "gone: undelete it",
}
