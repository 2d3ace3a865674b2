"""Claims in rows of the batches table."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from imagefeed.entities import Properties, moment
from preprocess.claim import Claim, ClaimKind


def read_claim(row: Mapping[str, Any]) -> Claim:
    """Return the claim of a batch from its row."""
    kind, vanished = row.get("claim"), json.loads(row.get("vanished") or "[]")
    return Claim(
        owner=row.get("owner") or "",
        kind=ClaimKind(kind) if kind else None,
        until=moment(row.get("claimed_until")),
        vanished=tuple(datetime.fromtimestamp(time, UTC) for time in vanished),
    )


def claim_properties(claim: Claim) -> Properties:
    """Return a claim as properties; empty texts if there is none, since a merge cannot remove a property."""
    return {
        "owner": claim.owner,
        "claim": str(claim.kind or ""),
        "vanished": json.dumps([time.timestamp() for time in claim.vanished]),
    } | ({} if claim.until is None else {"claimed_until": claim.until})
