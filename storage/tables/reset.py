"""Reset of an archive under a pipeline: its ledger row without its outcome."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from imagefeed.entities import Properties
from imagefeed.ledger import FIRST_PROCESSED, TERMINAL, state_of, time_of
from imagefeed.model import State

_ENDS = {
    *(time_of(state) for state in TERMINAL),
    *("reason", "members", "images", "refused", "refused_kinds", "skipped", "bytes_in", "bytes_out", "methods", "near"),
    *("error", "error_at", "unplanned"),
}


def renewed(row: Mapping[str, Any] | None, *, at: datetime, next_drive: datetime) -> Properties | None:
    """Return the row without its outcome, with a new name for its plan and its previous state; None without a row.

    Rows of batches contain their plan's name, so that a late writer with the old name cannot change anything.
    """
    if row is None:
        return None
    kept = {name: value for name, value in row.items() if name not in _ENDS}
    if row.get("plan") is not None:
        # Keep the ranges: other ranges would leave shards that the new plan does not overwrite.
        kept |= {"plan": uuid4().hex, "next_drive": next_drive, time_of(State.PROCESSING): at}
    first = row.get(FIRST_PROCESSED) or row.get(time_of(State.PROCESSED))
    if first is not None:
        # The time that an archive took is reported only for its first processing.
        kept[FIRST_PROCESSED] = first
    return kept | {
        "replays": row.get("replays", 0) + 1,
        "replayed_at": at,
        "replayed_state": str(state_of(row)),
        "replayed_reason": row.get("reason") or row.get("error") or "",
    }
