"""Rebuilds a lost or damaged ledger from the raw container and the results.

It may run at any time, repeatedly, and while the app runs: it keeps times that are set and plans that exist.

An archive becomes `processed` again only if that can be proven: its shards record how many batches the plan had and
the members of each, every batch has its shard, of the recorded size, and exactly the rows that it counted. Any other
archive stays `raw` and is preprocessed again: by `reconcile` within its window, else by `replay`. Because names are
deterministic, that costs time but does no harm; recording an incomplete archive as processed would.
A batch without images has no shard, so nothing can be proven for its archive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter

from azure.data.tables import TableEntity
from azure.storage.blob import BlobProperties

from imagefeed.entities import Properties, find, scan
from imagefeed.layout import SMOKE
from imagefeed.ledger import ARCHIVE_COLUMNS, polled_sources, raw_archive, read_counts, state_of, time_of
from imagefeed.model import Counts, Origin, RawArchive, State
from ingest.model import SourceState, Step
from preprocess.model import Batch, BatchState
from storage.blobs.raw import MANUAL, RawBlobs, StampOf, list_blobs, list_folders
from storage.blobs.shard_metadata import ShardMetadata, read_shard
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.archives import TableCopyLedger, raw_properties
from storage.tables.batches import TableBatchLedger
from storage.tables.entities import set_once
from storage.tables.plans import read_plan
from storage.tables.tally import TALLY_COLUMNS, tally


@dataclass(slots=True)
class RebuildOutcome:
    """Counts of what was found and rebuilt."""

    archives: int = 0
    """Raw blobs that were checked."""
    restored: int = 0
    """Archives whose ledger row was missing or incomplete."""
    results: int = 0
    """Archives that are recorded as processed again, or whose batches were restored."""
    unprocessed: int = 0
    """Archives that no pipeline is proven to have started."""
    oldest: datetime | None = None
    """Stamp of the oldest unprocessed archive."""
    unread: int = 0
    """Manual blobs that were skipped because the settings that define their stamps are not available."""


def rebuild(clients: Clients, source: str | None, stamp_of: StampOf | None) -> RebuildOutcome:
    """Rebuild the ledger of a source, or of all sources if it is None, and return counts.

    `stamp_of` is None if the settings, which define how names are parsed for stamps, are not available.
    """
    return _Rebuild(clients, stamp_of).run(source)


class _Rebuild:
    def __init__(self, clients: Clients, stamp_of: StampOf | None) -> None:
        self._clients = clients
        self._stamp_of = stamp_of
        self._raw = RawBlobs(clients, stamp_of or (lambda _source, _name: None))
        self._ledger = TableBatchLedger(clients)
        self._done = RebuildOutcome()
        self._manual: dict[str, dict[str, RawArchive]] = {}

    def run(self, source: str | None) -> RebuildOutcome:
        pipelines = list_folders(self._clients.processed)
        source_states = BlobSourceStates(self._clients)
        for name in polled_sources(self._clients) if source is None else [source]:
            self._restore_listed(source_states.look(name) or SourceState(source=name))
        # Blobs outside all sources' folders belong to the source MANUAL: finding them takes a listing of the container.
        for blob in self._raw.list_zips("" if source in (None, MANUAL) else f"{source}/"):
            archive = self._raw.describe(blob)
            if source in (None, archive.source) and archive.source != SMOKE:
                self._done.archives += 1
                self._restore(archive, blob, pipelines)
        return self._done

    def _restore_listed(self, source_state: SourceState) -> None:
        """Record the files of the last listing in the ledger, with the times they were first seen."""
        copied = TableCopyLedger(self._clients)
        for tracked_file in source_state.tracked_files:
            copied.record(tracked_file.archive, Step.SEEN, tracked_file.first_seen)
            if tracked_file.is_same:
                copied.record(tracked_file.archive, Step.SAME, tracked_file.first_seen)

    def _restore(self, archive: RawArchive, blob: BlobProperties, pipelines: Sequence[str]) -> None:
        if archive.origin is Origin.MANUAL:
            known = self._known_manual(archive.source).get(archive.blob)
            if known is None and self._stamp_of is None:
                self._done.unread += 1
                return
            archive = known or archive
        row = archive.key.ledger_row()
        self._done.restored += set_once(self._clients.archives, archive.source, row, _properties(archive, blob))
        results = [self._restore_results(archive, pipeline) for pipeline in pipelines]
        if not any(results) and not self._is_begun(archive):
            self._done.unprocessed += 1
            self._done.oldest = min(self._done.oldest or archive.stamp, archive.stamp)

    def _known_manual(self, source: str) -> dict[str, RawArchive]:
        """Return the ledger's manual archives by blob name: earlier settings may have set their stamps."""
        if source not in self._manual:
            rows = scan(self._clients.archives, source, select=ARCHIVE_COLUMNS)
            manual = (row for row in rows if row.get("origin") == Origin.MANUAL and row.get("pipeline") is None)
            self._manual[source] = {row["blob"]: raw_archive(source, row) for row in manual}
        return self._manual[source]

    def _is_begun(self, archive: RawArchive) -> bool:
        row = archive.key.ledger_row()
        rows = scan(self._clients.archives, archive.source, first=f"{row}~", end=f"{row}~~", select=["RowKey"], page=1)
        return next(rows, None) is not None

    def _restore_results(self, archive: RawArchive, pipeline: str) -> bool:
        """Restore a pipeline's results of an archive; return False if it is not proven that the pipeline started."""
        row = find(self._clients.archives, archive.source, archive.key.ledger_row(pipeline))
        if row is None:
            return self._settle_again(archive, pipeline)
        if state_of(row) is State.PROCESSED and read_plan(row) is not None:
            self._finish_again(archive, pipeline, row)
        # Any other row is under way or terminal; `reconcile` continues from it.
        return True

    def _settle_again(self, archive: RawArchive, pipeline: str) -> bool:
        shards = self._shards(archive, pipeline)
        batches = self._proven(archive, shards)
        if not _are_all(batches):
            return False
        planned_at = min(shard.written_at for shard in shards)
        self._ledger.insert_plan(batches, planned_at, planned_at)
        states = self._ledger.plan(archive, pipeline) or ()
        if [state.batch for state in states] == batches:
            # Otherwise another process has just planned the archive with other batches: keep that plan.
            self._finish(states, shards)
            self._done.results += 1
        return True

    def _finish_again(self, archive: RawArchive, pipeline: str, row: TableEntity) -> None:
        """Finish batches whose rows were lost; the archive's row shows that all of them were done."""
        rows = scan(self._clients.batches, archive.key.partition(pipeline), select=["done_at"])
        if sum(batch.get("done_at") is not None for batch in rows) >= row["batches"]:
            return
        shards = self._shards(archive, pipeline)
        proven = {batch.number for batch in self._proven(archive, shards)}
        states = self._ledger.plan(archive, pipeline) or ()
        self._finish([state for state in states if state.batch.number in proven], shards)
        self._finish_imageless(archive, pipeline, read_counts(row))
        self._done.results += 1

    def _finish(self, states: Sequence[BatchState], shards: Sequence[ShardMetadata]) -> None:
        """Finish batches that are not done, with the counts from their shards' metadata."""
        shard_of = {shard.number: shard for shard in shards}
        ended_at = max((shard.written_at for shard in shards), default=datetime.now(UTC))
        for state in states:
            shard = shard_of[state.batch.number]
            if state.done_at is None and shard.counts is not None:
                self._ledger.finish(state.batch, shard.counts, ended_at)

    def _finish_imageless(self, archive: RawArchive, pipeline: str, sums: Counts | None) -> None:
        """Finish batches without a shard if the others account for every image; the first gets the remaining counts."""
        states = self._ledger.plan(archive, pipeline) or ()
        known = sum((state.counts for state in states if state.counts is not None), start=Counts())
        if sums is None or known.images != sums.images:
            return
        rest = _left_over(sums, known)
        for state in states:
            if state.done_at is None:
                self._ledger.finish(state.batch, rest, archive.raw_at or state.next_drive)
                rest = Counts()

    def _shards(self, archive: RawArchive, pipeline: str) -> list[ShardMetadata]:
        folder = archive.key.shard(pipeline, archive.path, 0).rpartition("/")[0]
        shards = (read_shard(blob) for blob in list_blobs(self._clients.processed, f"{folder}/"))
        return sorted((shard for shard in shards if shard is not None), key=attrgetter("number"))

    def _proven(self, archive: RawArchive, shards: Sequence[ShardMetadata]) -> list[Batch]:
        """Return the batches whose shard and rows are complete: a worker may have died after it wrote the shard."""
        proven = []
        for shard in shards:
            batch, counts = shard.batch(archive), shard.counts
            if batch is None or counts is None or shard.size != counts.bytes_out or shard.images != counts.images:
                continue
            bounds = (f"{batch.first:06}", f"{batch.end:06}")
            partition = archive.key.partition(shard.pipeline)
            rows = scan(self._clients.images, partition, first=bounds[0], end=bounds[1], select=TALLY_COLUMNS)
            if tally(rows).fits(counts.images, counts.refused):
                proven.append(batch)
        return proven


def _are_all(batches: Sequence[Batch]) -> bool:
    """Return whether batches are a whole plan: all of its numbers, with ranges that together cover every member.

    A plan grows when a batch is divided; the shards of both halves record the number of batches after that.
    """
    ranges = sorted((batch.first, batch.end) for batch in batches)
    return (
        bool(batches)
        and [batch.number for batch in batches] == list(range(max(batch.batches for batch in batches)))
        and [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    )


def _left_over(sums: Counts, known: Counts) -> Counts:
    return replace(
        sums,
        members=sums.members - known.members,
        images=0,
        refused=sums.refused - known.refused,
        refused_kinds=_without(sums.refused_kinds, known.refused_kinds),
        skipped=_without(sums.skipped, known.skipped),
        bytes_in=sums.bytes_in - known.bytes_in,
        bytes_out=sums.bytes_out - known.bytes_out,
    )


def _without(sums: Mapping[str, int], known: Mapping[str, int]) -> Mapping[str, int]:
    rest = {kind: count - known.get(kind, 0) for kind, count in sums.items()}
    return {kind: count for kind, count in rest.items() if count}


def _properties(archive: RawArchive, blob: BlobProperties) -> Properties:
    # Without the ETag, which preprocessing records: readers without one get it from the blob.
    known = {name: value for name, value in raw_properties(archive).items() if name != "etag"}
    if archive.origin is Origin.COPIED:
        known["stamp_replaced"] = (blob.metadata or {}).get("stamp_replaced") == "true"
    return {**known, time_of(State.RAW): archive.raw_at}
