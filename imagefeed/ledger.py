"""The ledger as readers and people see it: one entry for each archive, newest first."""

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
"""Ends of preprocessing. A batch that finishes after all turns a failed archive into a processed one."""

FIRST_PROCESSED = "first_processed_at"
"""When an archive that was taken back had been processed for the first time."""

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
"""All but the plans, which may be large."""

_BY_FINALITY = (
    *TERMINAL,
    State.PROCESSING,
    # That the blob exists outweighs whatever polling concluded meanwhile.
    State.RAW,
    State.SAME,
    State.SUPERSEDED,
    State.EXPIRED,
    State.COPYING,
)
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
    """Why it is refused, empty or failed, or, where it is not copied, why copying failed the last time."""
    modified: datetime | None = None
    """By the server's clock; None where the ledger does not know."""
    first_processed: datetime | None = None
    """When it was processed for the first time, by whichever pipeline: what came later was redone."""
    near: Mapping[str, float] = field(default_factory=dict)
    """Shares of the limits that it nearly reached under the pipeline, by the limits' settings."""


def entries(
    clients: Stores,
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


def newest_pipeline(clients: Stores, source: str) -> str | None:
    """Name the pipeline that was the last to process the newest archive that any has processed; None if none has."""
    for rows in _by_archive(clients, source, None, None, NEWEST):
        processed = [row for row in rows if row.get(time_of(State.PROCESSED)) is not None]
        if processed:
            return str(max(processed, key=lambda row: row[time_of(State.PROCESSED)])["pipeline"])
    return None


def sources(clients: Stores) -> Iterator[str]:
    """Give the names of all sources that have an archive; the smoke test is none."""
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
            raise StoreUnavailableError(f"list the sources in the ledger: not {row['PartitionKey']} was asked for")
        last = row["PartitionKey"]
        if last != SMOKE:
            yield last


def refusals(clients: Stores, entry: Entry) -> Iterator[Refusal]:
    """Give the members of an archive that its pipeline refused, in their order."""
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
    """Put the ledger's rows together that are of one archive: its own, then one for each pipeline."""
    # `{stamp}~{version}`, then `{stamp}~{version}~{pipeline}` for each pipeline.
    for _, group in groupby(rows, key=lambda row: row["RowKey"].split("~")[:2]):
        yield list(group)


def entry_of(source: str, rows: list[TableEntity], pipeline: str | None) -> Entry:
    """Make an entry of an archive's rows, as `pipeline` left it; with None, as the one that came last to it did."""
    own = {name: value for row in rows if row.get("pipeline") is None for name, value in _set(row)}
    results = [dict(_set(row)) for row in rows if row.get("pipeline") is not None]
    candidates = [result for result in results if pipeline in (None, result["pipeline"])]
    result = max(candidates, key=_last_time, default={})
    # A pipeline's row repeats the archive's facts, so it can stand alone.
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
    """Return when the first of an archive's pipelines had processed it, given their rows; None if none has."""
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
    """Derive the state from the times that a row has, so that a writer who is late cannot turn it back."""
    return next((state for state in _BY_FINALITY if row.get(time_of(state)) is not None), State.SEEN)


def time_of(step: str) -> str:
    """Name the property that holds the time of a step."""
    return f"{step}_at"


def raw_archive(source: str, row: Mapping[str, Any]) -> RawArchive:
    """Read a raw archive from its row; its ETag is empty where only copying has written so far."""
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
        raise ValueError(f"the ledger's row {row.get('RowKey')} has no stamp")
    return stamp


def read_counts(row: Mapping[str, Any]) -> Counts | None:
    """Read counts; None where none were written."""
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
    """Read which limits were nearly reached: their shares, by the limits' settings."""
    return dict(json.loads(row.get("near") or "{}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A shard of a processed archive, as the ledger knows it."""

    archive: RawArchive
    pipeline: str
    batch: int
    images: int

    @property
    def name(self) -> str:
        """Its blob in the processed container."""
        archive = self.archive
        return archive.key.shard(self.pipeline, archive.path, self.batch)


def shard_entries(clients: Stores, archive: RawArchive, pipeline: str) -> Sequence[ShardEntry]:
    """Return the shards of an archive that `pipeline` has processed, in the order of their batches.

    Empty if it was taken back meanwhile. Raises ImageDamagedError where the ledger has lost what became of a batch:
    images must not be passed over in silence.
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
            f"read batch {lost[0]} of {archive.blob}: the ledger has lost what became of it; "
            "make it again with `imagefeed rebuild`"
        )
    return [
        ShardEntry(archive=archive, pipeline=pipeline, batch=number, images=done.images)
        for number, done in sorted(counts.items())
        if done is not None and done.images
    ]


def polled_sources(clients: Stores) -> set[str]:
    """Return every source that was polled at any time; the smoke test is none."""
    return set(names_in(clients.state, SOURCES)) - {SMOKE}


def known_sources(clients: Stores) -> set[str]:
    """Return every source that was polled or has archives in the ledger; the smoke test is none."""
    return {*sources(clients), *polled_sources(clients)}


def require_source(clients: Stores, source: str, doing: str) -> None:
    """Raise PermanentError for a source that never was: misspelt, it would look as if it had nothing."""
    known = known_sources(clients)
    if source not in known:
        others = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        raise PermanentError(f"{doing} {source}: there is no such source; {others}")
