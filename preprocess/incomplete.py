"""Archives that are announced before they are complete: they are still being written, and no event marks the end."""

import logging
from datetime import datetime, timedelta

from imagefeed.model import Origin, RawArchive
from preprocess.context import Context
from preprocess.plan import find_undone

log = logging.getLogger(f"ingestion.{__name__}")

_STABLE_AFTER = timedelta(minutes=5)
"""Time after its last change in which an unreadable zip that was uploaded manually may still grow or be replaced."""
_SHORTEST = timedelta(seconds=5)
_LONGEST = timedelta(minutes=5)


def may_still_grow(archive: RawArchive, now: datetime) -> bool:
    """Return whether an archive that cannot be read may become readable by itself.

    This app's copies are always complete. Other tools create an empty blob first, append to one, or commit repeatedly.
    """
    if archive.origin is not Origin.MANUAL or archive.copy_error is not None or archive.raw_at is None:
        return False
    return now - archive.raw_at < _STABLE_AFTER


def ask_later(archive: RawArchive, ctx: Context, batch: int | None = None) -> None:
    """Queue an incomplete archive, or a batch of it, again with a delay. This does not count as a try.

    The wait has no fixed end. The delay grows with the time already waited. Azure Storage ends a copy that makes no
    progress after two weeks.
    """
    states = () if batch is None else ctx.ledger.plan(archive, ctx.pipeline) or ()
    state = find_undone(states, batch)
    waited = timedelta() if archive.raw_at is None else ctx.clock() - archive.raw_at
    pause = min(max(waited / 4, _SHORTEST), _LONGEST)
    log.info("archive.incomplete blob=%s bytes=%d next=%.0fs", archive.blob, archive.size, pause.total_seconds())
    ctx.queue.put(archive.blob, None if state is None else state.batch, pause)
    # The message is hidden during the pause: `put_at` lies after it, so that the message is not taken for lost.
    if state is None:
        ctx.ledger.open(archive, ctx.pipeline, ctx.clock(), ctx.clock() + pause)
    else:
        ctx.ledger.note_put([state.batch], ctx.clock() + pause)
