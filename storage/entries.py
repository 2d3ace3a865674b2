"""The ledger as readers and people see it: one entry for each archive, newest first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from azure.data.tables import TableEntity

from preprocess.model import Counts, RawArchive, Refusal
from storage.azure_errors import azure_errors
from storage.batch_rows import read_counts
from storage.clients import Clients
from storage.entities import moment, scan
from storage.keys import behind_stamp, images_partition
from storage.ledger import ARCHIVE_COLUMNS, State, raw_archive, state_of, time_of
from telemetry import SMOKE

NEWEST = 32
"""Rows at once for who wants the newest archives alone: of the service's own pages, 1,000, reading takes 0.1 s."""
_EVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An archive: how far it is, and what one pipeline made of it."""

    archive: RawArchive
    state: State
    times: Mapping[State, datetime]
    """When it came to each state that it has seen."""
    pipeline: str | None
    """None: no pipeline has begun with it."""
    counts: Counts | None
    """Set with its end under the pipeline."""
    reason: str | None
    """Why it was refused or failed, or, where it is not copied, why copying failed the last time."""
    modified: datetime | None = None
    """By the server's clock; None where the ledger does not know."""


def entries(
    clients: Clients,
    source: str,
    *,
    pipeline: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int | None = None,
) -> Iterator[Entry]:
    """Give a source's archives with a stamp from `start` on and before `end`, newest first; of the smoke test none.

    Each as `pipeline` left it; with None, as the pipeline that came last to it did.
    """
    for rows in _by_archive(clients, source, start, end, page):
        yield entry_of(source, rows, pipeline)


def newest_pipeline(clients: Clients, source: str) -> str | None:
    """Name the pipeline that was the last to process the newest archive that any has processed; None if none has."""
    for rows in _by_archive(clients, source, None, None, NEWEST):
        processed = [row for row in rows if row.get(time_of(State.PROCESSED)) is not None]
        if processed:
            return str(max(processed, key=lambda row: row[time_of(State.PROCESSED)])["pipeline"])
    return None


def sources(clients: Clients) -> Iterator[str]:
    """Give the names of all sources that have an archive; the smoke test is none."""
    last = ""
    while True:
        with azure_errors("list the sources in the ledger"):
            behind = clients.archives.query_entities(
                "PartitionKey gt @last", parameters={"last": last}, results_per_page=1, select=["PartitionKey"]
            )
            found = next(behind, None)
        if found is None:
            return
        last = found["PartitionKey"]
        if last != SMOKE:
            yield last


def refusals(clients: Clients, entry: Entry) -> Iterator[Refusal]:
    """Give the members of an archive that its pipeline refused, in their order."""
    archive = entry.archive
    if entry.pipeline is None or (entry.counts is not None and not entry.counts.refused):
        return
    partition = images_partition(entry.pipeline, archive.source, archive.stamp, archive.version)
    for row in scan(clients.images, partition, select=["RowKey", "member", "name", "reason", "error"]):
        if row.get("reason") is not None:
            yield Refusal(member=row["member"], name=row["name"], reason=row["reason"], error=row["error"])


def _by_archive(
    clients: Clients, source: str, start: datetime | None, end: datetime | None, page: int | None
) -> Iterator[list[TableEntity]]:
    if source == SMOKE:
        return iter(())
    first, last = "" if end is None else behind_stamp(end), behind_stamp(start or _EVER)
    rows = scan(clients.archives, source, first=first, end=last, select=ARCHIVE_COLUMNS, page=page)
    return group_by_archive(rows)


def group_by_archive(rows: Iterable[TableEntity]) -> Iterator[list[TableEntity]]:
    """Put the ledger's rows together that are of one archive: its own, then one for each pipeline."""
    # `{stamp}~{version}`, then `{stamp}~{version}~{pipeline}` for each pipeline.
    for _, group in groupby(rows, key=lambda row: row["RowKey"].split("~")[:2]):
        yield list(group)


def entry_of(source: str, rows: list[TableEntity], pipeline: str | None) -> Entry:
    """Make an entry of an archive's rows, as `pipeline` left it; with None, as the one that came last to it did."""
    own = {name: value for row in rows if row.get("pipeline") is None for name, value in _set(row)}
    results = [dict(_set(row)) for row in rows if row.get("pipeline") is not None]
    chosen = [result for result in results if pipeline in (None, result["pipeline"])]
    result = max(chosen, key=_last_time, default={})
    # A pipeline's row repeats the archive's facts, so it can stand alone.
    row = (own or {name: value for name, value in results[0].items() if name in _FACTS}) | result
    state = state_of(row)
    return Entry(
        archive=raw_archive(source, row),
        state=state,
        times=_times(row),
        pipeline=result.get("pipeline"),
        counts=read_counts(result),
        reason=_reason(state, row),
        modified=moment(row.get("modified")),
    )


def _reason(state: State, row: Mapping[str, Any]) -> str | None:
    if state in (State.REFUSED, State.FAILED):
        return row.get("reason")
    return row.get("error") if state in (State.SEEN, State.COPYING, State.EXPIRED) else None


_FACTS = {"RowKey", "stamp", "version", "path", "size", "origin", "blob", "sound", "sha256", "etag"}


def _set(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in row.items() if value is not None)


def _times(row: Mapping[str, Any]) -> dict[State, datetime]:
    times = ((state, moment(row.get(time_of(state)))) for state in State)
    return {state: time for state, time in times if time is not None}


def _last_time(row: Mapping[str, Any]) -> datetime:
    return max(_times(row).values(), default=_EVER)
