"""Taking back what became of an archive under a pipeline: one row as it is before anybody has ended it."""

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
    """Give the row without its end, the plan under a new name, and what it was before; None where there is no row.

    Rows of batches carry the name of their plan: under the old one, a writer that is late finds nothing to settle.
    """
    if row is None:
        return None
    kept = {name: value for name, value in row.items() if name not in _ENDS}
    if row.get("plan") is not None:
        # The ranges stay: others would leave shards behind that the new plan does not overwrite.
        kept |= {"plan": uuid4().hex, "next_drive": next_drive, time_of(State.PROCESSING): at}
    first = row.get(FIRST_PROCESSED) or row.get(time_of(State.PROCESSED))
    if first is not None:
        # How long an archive took is told of its first end alone.
        kept[FIRST_PROCESSED] = first
    return kept | {
        "replays": row.get("replays", 0) + 1,
        "replayed_at": at,
        "replayed_state": str(state_of(row)),
        "replayed_reason": row.get("reason") or row.get("error") or "",
    }
