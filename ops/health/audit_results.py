"""Compares shards, image rows and batch rows with the counts in the ledger. Reads no image."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import TableClient

from imagefeed.azure_errors import azure_errors
from imagefeed.layout import day_prefix, format_stamp
from imagefeed.ledger import Entry, read_counts
from imagefeed.model import Counts, State
from ops.health.archive_checks import of_archive
from ops.health.findings import Finding, Slug
from storage.blobs.raw import days, list_blobs, list_folders
from storage.blobs.shard_metadata import ShardMetadata, read_shard
from storage.clients import Clients
from storage.tables.tally import TALLY_COLUMNS, Tally

_BATCH_COLUMNS = [
    "PartitionKey",
    "RowKey",
    "done_at",
    "members",
    "images",
    "refused",
    "refused_kinds",
    "skipped",
    "bytes_in",
    "bytes_out",
    "methods",
]
_MOMENT = timedelta(minutes=5)
_AHEAD = timedelta(days=1)
"""Largest distance of a stamp ahead of the clock."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Stored results of a pipeline, by the partition of the archive."""

    shards: Mapping[str, Mapping[int, ShardMetadata]]
    rows: Mapping[str, Tally]
    batches: Mapping[str, Mapping[int, Counts]]


def audit_results(
    clients: Clients,
    source: str,
    since: datetime,
    until: datetime | None,
    now: datetime,
    pipeline: str | None,
    ledger: Sequence[Entry],
) -> Iterator[Finding]:
    """Yield missing results of processed archives, and shards of archives that are not in the ledger."""
    known = {entry.archive.key for entry in ledger}
    pipelines = {entry.pipeline for entry in ledger if entry.pipeline} | set(list_folders(clients.processed))
    for name in sorted(pipelines if pipeline is None else {pipeline}):
        processed = [entry for entry in ledger if entry.pipeline == name and entry.state is State.PROCESSED]
        stored = _load(clients, name, source, since, until or now + _AHEAD, rows=bool(processed))
        for entry in processed:
            yield from _check_archive(entry, stored)
        for shards in stored.shards.values():
            shard = next(iter(shards.values()))
            # The ledger was read before the shards, so younger shards may belong to archives added since.
            if shard.key not in known and shard.written_at + _MOMENT <= now:
                detail = "its shard exists; if its raw blob is missing too, undelete that first"
                yield of_archive(Slug.LEDGER_MISSING, shard.key, shard.name, detail)


def lost_results(
    clients: Clients, source: str, pipeline: str, processed: Sequence[Entry]
) -> Iterator[tuple[Entry, Sequence[Finding]]]:
    """Yield processed archives with missing results; reads everything between their first and last stamp."""
    stamps = [entry.archive.stamp for entry in processed]
    stored = _load(clients, pipeline, source, min(stamps), max(stamps), rows=True)
    for entry in processed:
        if findings := list(_check_archive(entry, stored)):
            yield entry, findings


def _load(clients: Clients, pipeline: str, source: str, since: datetime, until: datetime, *, rows: bool) -> _Stored:
    shards: dict[str, dict[int, ShardMetadata]] = defaultdict(dict)
    tallies: dict[str, Tally] = defaultdict(Tally)
    batches: dict[str, dict[int, Counts]] = defaultdict(dict)
    for shard in _shards(clients, pipeline, source, since, until):
        shards[shard.key.partition(pipeline)][shard.number] = shard
    if rows:
        bounds = (f"{pipeline}~{source}~{format_stamp(since)}", f"{pipeline}~{source}~{format_stamp(until)}~~")
        for row in _range(clients.images, *bounds, TALLY_COLUMNS):
            tallies[row["PartitionKey"]].add(row)
        for row in _range(clients.batches, *bounds, _BATCH_COLUMNS):
            counts = read_counts(row)
            if counts is not None:
                batches[row["PartitionKey"]][int(row["RowKey"])] = counts
    return _Stored(shards, tallies, batches)


def _check_archive(entry: Entry, stored: _Stored) -> Iterator[Finding]:
    archive, pipeline, counts = entry.archive, entry.pipeline or "", entry.counts or Counts()
    partition = archive.key.partition(pipeline)
    batches, shards = stored.batches.get(partition, {}), stored.shards.get(partition, {})
    rows = stored.rows.get(partition, Tally())

    if _comparable(sum(batches.values(), start=Counts())) != _comparable(counts):
        yield of_archive(Slug.BATCHES_MISSING, archive.key, partition, f"batches found: {len(batches)}")
    if not rows.fits(counts.images, counts.refused):
        detail = f"{rows.images} of {counts.images} images, {rows.refused} of {counts.refused} refusals"
        detail += f", further parts missing: {rows.missing}" if rows.missing else ""
        yield of_archive(Slug.ROWS_MISSING, archive.key, partition, detail)
    for number, batch in batches.items():
        name = archive.key.shard(pipeline, archive.path, number)
        if batch.images and number not in shards:
            yield of_archive(Slug.SHARD_MISSING, archive.key, name, f"images: {batch.images}")
        elif batch.images and shards[number].size != batch.bytes_out:
            detail = f"{shards[number].size} of {batch.bytes_out} bytes"
            yield of_archive(Slug.SHARD_DAMAGED, archive.key, name, detail)
    if not batches and sum(shard.images for shard in shards.values()) != counts.images:
        detail = f"shards found: {len(shards)}, with other than {counts.images} images"
        yield of_archive(Slug.SHARD_MISSING, archive.key, partition, detail)


def _shards(clients: Clients, pipeline: str, source: str, since: datetime, until: datetime) -> Iterator[ShardMetadata]:
    for day in days(since.astimezone(UTC).date(), until.astimezone(UTC).date()):
        for blob in list_blobs(clients.processed, f"{pipeline}/{day_prefix(source, day)}"):
            shard = read_shard(blob)
            if shard is not None and since <= shard.key.stamp <= until:
                yield shard


def _range(table: TableClient, first: str, end: str, select: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a range of partitions: one request per 1,000 rows instead of one per archive."""
    query = "PartitionKey ge @first and PartitionKey lt @end"
    rows = table.query_entities(query, parameters={"first": first, "end": end}, select=select)
    while True:
        with azure_errors(f"read from {first} on from the table {table.table_name}"):
            row = next(rows, None)
        if row is None:
            return
        yield row


def _comparable(counts: Counts) -> Counts:
    """Return the counts without the kinds of refused members: of many, the rarest are merged, in the order of sums."""
    return replace(counts, refused_kinds={})
