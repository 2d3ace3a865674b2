"""Reads the ledger: one entry for each archive, newest first."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from azure.data.tables import TableEntity

from imagefeed.azure_errors import azure_errors
from imagefeed.entities import find, moment, number, scan
from imagefeed.errors import ImageDamagedError, PermanentError, StoreUnavailableError
from imagefeed.layout import SMOKE, SOURCES, behind_stamp, decode_path
from imagefeed.model import Counts, Origin, RawArchive, Refusal, State, read_replaces
from imagefeed.stores import Stores, names_in

TERMINAL = (State.PROCESSED, State.REFUSED, State.EMPTY, State.FAILED)
"""States in which preprocessing has ended. A failed archive becomes processed if its last batch finishes later."""

FIRST_PROCESSED = "first_processed_at"
"""Property with the time of the first processing of an archive that was reset later."""

ARCHIVE_COLUMNS = [
    "RowKey",
    "pipeline",
    "stamp",
    "stamp_replaced",
    "version",
    "path",
    "size",
    "modified",
    "replaces",
    "origin",
    "blob",
    "complete",
    "sha256",
    "etag",
    "error",
    "error_at",
    *(f"{state}_at" for state in State),
    FIRST_PROCESSED,
    "reason",
    "batches",
    "members",
    "images",
    "refused",
    "refused_kinds",
    "skipped",
    "bytes_in",
    "bytes_out",
    "methods",
    "near",
]
"""All columns except the plans, which may be large."""

_BY_FINALITY = (
    *TERMINAL,
    State.PROCESSING,
    # The blob exists, which counts more than what polling recorded meanwhile.
    State.RAW,
    State.SAME,
    State.SUPERSEDED,
    State.EXPIRED,
    State.COPYING,
)
NEWEST = 32
"""Rows of one answer if only the newest archives are needed: a full page of 1,000 rows takes 0.1 s to read."""
_EVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An archive's state, and its results under one pipeline."""

    archive: RawArchive
    state: State
    times: Mapping[State, datetime]
    """The time at which it reached each of its states."""
    pipeline: str | None
    """None if no pipeline has begun to process it."""
    counts: Counts | None
    """None until preprocessing by the pipeline has ended."""
    reason: str | None
    """Why it was refused, empty or failed; if it is not copied, why the last copy failed."""
    modified: datetime | None = None
    """The modified time by the server's clock; None if the ledger has none."""
    first_processed: datetime | None = None
    """When it was processed for the first time, by any pipeline. Later times are those of repetitions."""
    near: Mapping[str, float] = field(default_factory=dict)
    """The limits that it nearly reached under the pipeline: the setting's name and the share of the limit used."""


def entries(
    clients: Stores,
    source: str,
    *,
    pipeline: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int | None = None,
) -> Iterator[Entry]:
    """Yield a source's archives with `start` <= stamp < `end`, newest first; none for the source of the smoke test.

    Each has the results of `pipeline`; with None, of the pipeline that last changed its state.
    """
    for rows in _by_archive(clients, source, start, end, page):
        yield entry_of(source, rows, pipeline)


def newest_pipeline(clients: Stores, source: str) -> str | None:
    """Return the pipeline that last processed the newest processed archive; None if no archive is processed."""
    for rows in _by_archive(clients, source, None, None, NEWEST):
        processed = [row for row in rows if row.get(time_of(State.PROCESSED)) is not None]
        if processed:
            return str(max(processed, key=lambda row: row[time_of(State.PROCESSED)])["pipeline"])
    return None


def sources(clients: Stores) -> Iterator[str]:
    """Yield the names of all sources that have an archive, without the smoke test's."""
    last = ""
    while True:
        with azure_errors("list the sources in the ledger"):
            rows = clients.archives.query_entities(
                "PartitionKey gt @last", parameters={"last": last}, results_per_page=1, select=["PartitionKey"]
            )
            row = next(rows, None)
        if row is None:
            return
        if row["PartitionKey"] <= last:
            raise StoreUnavailableError(
                f"list the sources in the ledger: the answer has {row['PartitionKey']}, which was not requested"
            )
        last = row["PartitionKey"]
        if last != SMOKE:
            yield last


def refusals(clients: Stores, entry: Entry) -> Iterator[Refusal]:
    """Yield the members of an archive that its pipeline refused, in member order."""
    archive = entry.archive
    if entry.pipeline is None or (entry.counts is not None and not entry.counts.refused):
        return
    partition = archive.key.partition(entry.pipeline)
    for row in scan(clients.images, partition, select=["RowKey", "member", "name", "reason", "error"]):
        if row.get("reason") is not None:
            yield Refusal(member=row["member"], name=row["name"], reason=row["reason"], error=row["error"])


def _by_archive(
    clients: Stores, source: str, start: datetime | None, end: datetime | None, page: int | None
) -> Iterator[list[TableEntity]]:
    if source == SMOKE:
        return iter(())
    first, last = "" if end is None else behind_stamp(end), behind_stamp(start or _EVER)
    rows = scan(clients.archives, source, first=first, end=last, select=ARCHIVE_COLUMNS, page=page)
    return group_by_archive(rows)


def group_by_archive(rows: Iterable[TableEntity]) -> Iterator[list[TableEntity]]:
    """Yield the rows of each archive as a list: its own row, then one for each pipeline."""
    # `{stamp}~{version}`, then `{stamp}~{version}~{pipeline}` for each pipeline.
    for _, group in groupby(rows, key=lambda row: row["RowKey"].split("~")[:2]):
        yield list(group)


def entry_of(source: str, rows: list[TableEntity], pipeline: str | None) -> Entry:
    """Return the entry of an archive's rows, with the results of `pipeline`; None: of the one that last changed it."""
    own = {name: value for row in rows if row.get("pipeline") is None for name, value in _set(row)}
    results = [dict(_set(row)) for row in rows if row.get("pipeline") is not None]
    candidates = [result for result in results if pipeline in (None, result["pipeline"])]
    result = max(candidates, key=_last_time, default={})
    # A pipeline's row repeats the archive's metadata, so it suffices if the archive's own row is absent.
    row = (own or {name: value for name, value in results[0].items() if name in _METADATA}) | result
    state = state_of(row)
    return Entry(
        archive=raw_archive(source, row),
        state=state,
        times=_times(row),
        pipeline=result.get("pipeline"),
        counts=read_counts(result),
        reason=_reason(state, row),
        modified=moment(row.get("modified")),
        first_processed=first_processed(results),
        near=read_near(result),
    )


def first_processed(results: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Return the time of the first processing in the pipelines' rows of an archive; None if there was none."""
    ends = (moment(row.get(FIRST_PROCESSED)) or moment(row.get(time_of(State.PROCESSED))) for row in results)
    return min((end for end in ends if end is not None), default=None)


def _reason(state: State, row: Mapping[str, Any]) -> str | None:
    if state in (State.REFUSED, State.EMPTY, State.FAILED):
        return row.get("reason")
    return row.get("error") if state in (State.SEEN, State.COPYING, State.EXPIRED) else None


_METADATA = {
    "RowKey", "stamp", "version", "path", "size", "modified", "replaces", "origin", "blob", "complete", "sha256",
    "etag",
}  # fmt: skip


def _set(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in row.items() if value is not None)


def _times(row: Mapping[str, Any]) -> dict[State, datetime]:
    times = ((state, moment(row.get(time_of(state)))) for state in State)
    return {state: time for state, time in times if time is not None}


def _last_time(row: Mapping[str, Any]) -> datetime:
    return max(_times(row).values(), default=_EVER)


def state_of(row: Mapping[str, Any]) -> State:
    """Return the state that follows from a row's times. It is derived, so a late writer cannot set it back."""
    return next((state for state in _BY_FINALITY if row.get(time_of(state)) is not None), State.SEEN)


def time_of(step: str) -> str:
    """Return the name of the property that holds the time of a step."""
    return f"{step}_at"


def raw_archive(source: str, row: Mapping[str, Any]) -> RawArchive:
    """Return the raw archive of a row; its ETag is empty if only the copy has written to the row so far."""
    return RawArchive(
        source=source,
        stamp=_stamp(row),
        version=row["version"],
        blob=row["blob"],
        size=number(row["size"]),
        path=decode_path(row["path"]),
        origin=Origin(row.get("origin", Origin.COPIED)),
        complete=row.get("complete") is not False,
        sha256=row.get("sha256"),
        etag=row.get("etag") or "",
        modified=moment(row.get("modified")),
        replaces=read_replaces(row.get("replaces")),
        raw_at=moment(row.get(time_of(State.RAW))),
    )


def _stamp(row: Mapping[str, Any]) -> datetime:
    stamp = moment(row["stamp"])
    if stamp is None:
        raise ValueError(f"the ledger's row {row.get('RowKey')} has no valid stamp")
    return stamp


def read_counts(row: Mapping[str, Any]) -> Counts | None:
    """Return the counts of a row; None if it has none."""
    if row.get("members") is None:
        return None
    return Counts(
        members=row["members"],
        images=row["images"],
        refused=row["refused"],
        refused_kinds=json.loads(row.get("refused_kinds") or "{}"),
        skipped=json.loads(row["skipped"]),
        bytes_in=number(row["bytes_in"]),
        bytes_out=number(row["bytes_out"]),
        methods=json.loads(row.get("methods") or "{}"),
    )


def read_near(row: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the limits that were nearly reached: the setting's name and the share of the limit used."""
    return dict(json.loads(row.get("near") or "{}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A shard of a processed archive, as recorded in the ledger."""

    archive: RawArchive
    pipeline: str
    batch: int
    images: int

    @property
    def name(self) -> str:
        """The name of its blob in the processed container."""
        archive = self.archive
        return archive.key.shard(self.pipeline, archive.path, self.batch)


def shard_entries(clients: Stores, archive: RawArchive, pipeline: str) -> Sequence[ShardEntry]:
    """Return the shards of an archive that `pipeline` has processed, in batch order.

    Empty if the archive was reset meanwhile. Raises ImageDamagedError if the ledger has lost the row of a batch,
    because its images must not be skipped silently.
    """
    key = archive.key.ledger_row(pipeline)
    row = find(clients.archives, archive.source, key)
    if row is None or row.get("plan") is None:
        return ()
    partition = archive.key.partition(pipeline)
    batches = [batch for batch in scan(clients.batches, partition) if batch.get("plan") == row["plan"]]
    counts = {int(batch["number"]): read_counts(batch) for batch in batches}
    lost = [number for number in range(row["batches"]) if counts.get(number) is None]
    if lost:
        now = find(clients.archives, archive.source, key)
        if now is None or now.get("plan") != row["plan"] or state_of(now) is not State.PROCESSED:
            return ()
        raise ImageDamagedError(
            f"read batch {lost[0]} of {archive.blob}: its row in the ledger is lost; "
            "make it again with `imagefeed rebuild`"
        )
    return [
        ShardEntry(archive=archive, pipeline=pipeline, batch=number, images=done.images)
        for number, done in sorted(counts.items())
        if done is not None and done.images
    ]


def polled_sources(clients: Stores) -> set[str]:
    """Return the names of all sources that were ever polled, without the smoke test's."""
    return set(names_in(clients.state, SOURCES)) - {SMOKE}


def known_sources(clients: Stores) -> set[str]:
    """Return the names of all sources that were polled or have archives, without the smoke test's."""
    return {*sources(clients), *polled_sources(clients)}


def require_source(clients: Stores, source: str, doing: str) -> None:
    """Raise PermanentError for an unknown source, because a misspelt name would look like a source without archives."""
    known = known_sources(clients)
    if source not in known:
        others = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        raise PermanentError(f"{doing} {source}: there is no such source; {others}")
