"""Conversion and checks of rows of the batches table, and of the counts in them and in the ledger."""

import json
from collections.abc import Mapping

from azure.data.tables import TableEntity

from imagefeed.entities import Properties, moment, text, whole
from imagefeed.errors import StoreRefusedError
from imagefeed.ledger import read_counts, read_near
from imagefeed.model import Counts, RawArchive
from preprocess.model import Batch, BatchState, Notes
from storage.tables.claims import read_claim


def count_properties(counts: Counts) -> Properties:
    """Return counts as table properties."""
    return {
        "members": counts.members,
        "images": counts.images,
        "refused": counts.refused,
        "refused_kinds": json.dumps(dict(sorted(counts.refused_kinds.items()))),
        "skipped": json.dumps(dict(sorted(counts.skipped.items()))),
        "bytes_in": whole(counts.bytes_in),
        "bytes_out": whole(counts.bytes_out),
        "methods": json.dumps(dict(sorted(counts.methods.items()))),
    }


def note_properties(notes: Notes) -> Properties:
    """Return notes as table properties."""
    reason = {} if notes.reason is None else {"reason": text(notes.reason)}
    return {**reason, **near_properties(notes.near)}


def near_properties(near: Mapping[str, float]) -> Properties:
    """Return the limits that were nearly reached as table properties; empty if none was."""
    return {"near": json.dumps(dict(near))} if near else {}


def batch_state(archive: RawArchive, pipeline: str, row: TableEntity, batches: int) -> BatchState:
    """Return the state of a batch from its row; `batches` is the number of batches in its plan."""
    next_drive = moment(row["next_drive"])
    if next_drive is None:
        raise ValueError(f"the row of batch {row['RowKey']} of {archive.blob} has no next_drive")
    return BatchState(
        batch=Batch(
            archive=archive,
            pipeline=pipeline,
            number=int(row["number"]),
            first=int(row["first"]),
            end=int(row["end"]),
            plan=row["plan"],
            batches=batches,
        ),
        done_at=moment(row.get("done_at")),
        attempts=int(row["attempts"]),
        next_drive=next_drive,
        counts=read_counts(row),
        etag=str(row.metadata["etag"]),
        error=row.get("error"),
        failures=int(row.get("failures", 0)),
        put_at=moment(row.get("put_at")),
        claim=read_claim(row),
        notes=Notes(reason=row.get("reason"), near=read_near(row)),
    )


def present(row: TableEntity | None, batch: Batch) -> TableEntity:
    """Return the row if it is the planned row of `batch`. Raises StoreRefusedError if absent or of another plan."""
    if row is None:
        raise StoreRefusedError(f"batch {batch.number} of {batch.archive.blob} was never planned: plan the archive")
    other_plan = batch.plan and row.get("plan") != batch.plan
    if other_plan or (row["first"], row["end"]) != (batch.first, batch.end):
        raise StoreRefusedError(f"batch {batch.number} of {batch.archive.blob} belongs to a plan that was replaced")
    return row
