"""Archives that are announced before they are whole: somebody still writes them, and nobody says when he is done."""

import logging
from datetime import datetime, timedelta

from imagefeed.model import Origin, RawArchive
from preprocess.context import Context
from preprocess.plan import find_undone

log = logging.getLogger(f"ingestion.{__name__}")

_STABLE_AFTER = timedelta(minutes=5)
"""A zip put there by hand that cannot be read may grow or be replaced for so long after its last change."""
_SHORTEST = timedelta(seconds=5)
_LONGEST = timedelta(minutes=5)


def may_still_grow(archive: RawArchive, now: datetime) -> bool:
    """Tell whether an archive that cannot be read may become readable by itself.

    Copying publishes whole archives only. Other tools make an empty blob first, append to one, or commit several times.
    """
    if archive.origin is not Origin.MANUAL or archive.copy_error is not None or archive.raw_at is None:
        return False
    return now - archive.raw_at < _STABLE_AFTER


def ask_later(archive: RawArchive, ctx: Context, batch: int | None = None) -> None:
    """Ask again for an archive that is not whole, or for a batch of it. No try is spent: the wait has no fixed end.

    The pauses grow with the time that it has waited. Azure Storage ends a copy that makes no progress after two weeks.
    """
    states = () if batch is None else ctx.ledger.plan(archive, ctx.pipeline) or ()
    state = find_undone(states, batch)
    waited = timedelta() if archive.raw_at is None else ctx.clock() - archive.raw_at
    pause = min(max(waited / 4, _SHORTEST), _LONGEST)
    log.info("archive.incomplete blob=%s bytes=%d next=%.0fs", archive.blob, archive.size, pause.total_seconds())
    ctx.queue.put(archive.blob, None if state is None else state.batch, pause)
    # The message is hidden for so long: who looks for what is lost must not miss it before.
    if state is None:
        ctx.ledger.open(archive, ctx.pipeline, ctx.clock(), ctx.clock() + pause)
    else:
        ctx.ledger.note_put([state.batch], ctx.clock() + pause)
