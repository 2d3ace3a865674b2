"""Plans of batches: recorded by one write to the ledger, then written as rows of the batches table.

The row of an archive under a pipeline contains the whole plan. Therefore only one of two planners can record its plan,
and if rows are missing because the planner died, another process completes the same plan. Each row contains the plan's
name; rows of another plan are ignored and replaced.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, chain, pairwise
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import TableClient, TableEntity, TableTransactionError, UpdateMode

from config.errors import ArchiveRefusedError
from imagefeed.azure_errors import azure_errors
from imagefeed.entities import Properties, moment, scan
from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import batch_row
from preprocess.claim import Claim
from preprocess.model import Batch
from preprocess.ports import NO_CLAIMS
from storage.tables.claims import claim_properties

TRANSACTION_ROWS = 100
_PIECE = 64 * 1024
_MAX_PIECES = 10
_MAX_TRIES = 20
_LOST_RACE = {404, 409, 412}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The range of members of each batch, under a name that is unique to the plan."""

    name: str
    ranges: Sequence[tuple[int, int]]
    next_drive: datetime


def plan_properties(name: str, batches: Sequence[Batch], next_drive: datetime) -> Properties:
    """Return a plan as properties. Raises ArchiveRefusedError if it is too large for a row: millions of batches."""
    packed = _pack([(batch.first, batch.end) for batch in batches])
    pieces = [packed[start : start + _PIECE] for start in range(0, len(packed), _PIECE)]
    if len(pieces) > _MAX_PIECES:
        raise ArchiveRefusedError(f"plan of {len(batches)} batches: too many for one row; raise BATCH_MEMBERS")
    known = {"plan": name, "batches": len(batches), "next_drive": next_drive}
    return known | {f"plan{number}": piece for number, piece in enumerate(pieces)}


def read_plan(row: Mapping[str, Any] | None) -> Plan | None:
    """Return the plan; None if the archive's row under the pipeline has none."""
    if row is None or row.get("plan") is None:
        return None
    packed = b"".join(row[f"plan{number}"] for number in range(_MAX_PIECES) if f"plan{number}" in row)
    ranges = _unpack(packed)
    next_drive = moment(row["next_drive"])
    if next_drive is None or len(ranges) != row["batches"]:
        raise ValueError(f"the plan in the ledger's row {row.get('RowKey')} is damaged")
    return Plan(name=row["plan"], ranges=ranges, next_drive=next_drive)


def _pack(ranges: Sequence[tuple[int, int]]) -> bytes:
    # Differences repeat and compress well: a hundred thousand batches of one size take some hundred bytes.
    bounds = chain.from_iterable(ranges)
    return zlib.compress(json.dumps([end - start for start, end in pairwise(chain([0], bounds))]).encode())


def _unpack(packed: bytes) -> list[tuple[int, int]]:
    bounds = accumulate(json.loads(zlib.decompress(packed)))
    return list(zip(bounds, bounds, strict=True))


def insert_rows(table: TableClient, partition: str, plan: Plan, claimed: Mapping[int, Claim]) -> bool:
    """Insert the rows of a newly recorded plan, some of them claimed; return False if other rows already exist."""
    return _write(table, partition, _missing(partition, plan, {}, claimed))


def rows_of(table: TableClient, partition: str, plan: Plan, stands: Callable[[], bool]) -> list[TableEntity] | None:
    """Return a plan's rows in the order of their numbers, after writing those that are missing.

    Return None if `stands` reports that the plan was replaced or divided meanwhile: the rows of the newer plan must
    not be replaced. Raises StoreUnavailableError.
    """
    for _ in range(_MAX_TRIES):
        rows = {row["RowKey"]: row for row in scan(table, partition)}
        ours = [row for row in rows.values() if _is_of(row, plan)]
        if len(ours) >= len(plan.ranges):
            return sorted(ours, key=lambda row: int(row["number"]))
        if len(ours) < len(rows) and not stands():
            return None
        _write(table, partition, _missing(partition, plan, rows))
    raise StoreUnavailableError(f"write the plan of {partition}: too many writers at once")


def _is_of(row: TableEntity, plan: Plan) -> bool:
    number = int(row["number"])
    return bool(
        row.get("plan") == plan.name
        and number < len(plan.ranges)
        and (row["first"], row["end"]) == tuple(plan.ranges[number])
    )


def _missing(
    partition: str, plan: Plan, rows: Mapping[str, TableEntity], claimed: Mapping[int, Claim] = NO_CLAIMS
) -> Iterator[tuple[Any, ...]]:
    """Yield operations that insert missing rows, and replace those of another plan or division."""
    for number, (first, end) in enumerate(plan.ranges):
        key = batch_row(number)
        row = rows.get(key)
        entity = {
            "PartitionKey": partition,
            "RowKey": key,
            "plan": plan.name,
            "number": number,
            "first": first,
            "end": end,
            "attempts": 0,
            "next_drive": plan.next_drive,
            **(claim_properties(claimed[number]) if number in claimed else {}),
        }
        if row is None:
            yield "create", entity
        elif not _is_of(row, plan):
            etag = row.metadata["etag"]
            how = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}
            yield "update", entity, how


def _write(table: TableClient, partition: str, operations: Iterable[tuple[Any, ...]]) -> bool:
    """Send operations in transactions. Return False if another writer was first: read the rows again to continue."""
    todo = list(operations)
    with azure_errors(f"write the plan of {partition}"):
        for start in range(0, len(todo), TRANSACTION_ROWS):
            try:
                table.submit_transaction(todo[start : start + TRANSACTION_ROWS])
            except TableTransactionError as exc:
                if exc.status_code not in _LOST_RACE:
                    raise
                return False
    return True
