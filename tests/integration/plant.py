"""Makes archives and their results as copying and preprocessing do: blobs, shards, rows, ledger and source state."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import TableClient

from imagefeed.ledger import Entry, entries
from imagefeed.model import Counts, RawArchive, Refusal
from imagefeed.tables import Reader
from ingest.model import Archive, CopyMetadata, RemoteFile, SourceState, Step, TrackedFile, version_of
from preprocess.model import Batch
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.rebuild import RebuildOutcome, rebuild
from storage.results import ShardsAndRows
from storage.tables.archives import TableCopyLedger
from storage.tables.batches import TableBatchLedger
from tests.fixtures.blocks import stage_whole
from tests.integration.test_reader import made

NOW = datetime.now(UTC).replace(microsecond=0, second=0)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Plant:
    """A source and its stored data."""

    def __init__(self, clients: Clients, source: str) -> None:
        self.clients = clients
        self.source = source
        self.copied = TableCopyLedger(clients)
        self.ledger = TableBatchLedger(clients)
        self.raw = RawBlobs(clients, lambda _source, _name: None)
        self.tracked_files: list[TrackedFile] = []

    def see(self, stamp: datetime, **known: Any) -> TrackedFile:
        """List a file as stable, and record it in the ledger."""
        file = RemoteFile(path=f"out/ä {stamp:%d%H%M}.zip", size=1000, modified=stamp)
        archive = Archive(source=self.source, file=file, version=version_of(file), stamp=stamp)
        tracked_file = TrackedFile(listed=file, archive=archive, first_seen=stamp + MINUTE, **known)
        self.copied.record(archive, Step.SEEN, tracked_file.first_seen)
        self.tracked_files.append(tracked_file)
        self.save()
        return tracked_file

    def save(self, **changes: Any) -> None:
        source_state = SourceState(
            source=self.source, listed_at=datetime.now(UTC), tracked_files=tuple(self.tracked_files)
        )
        with BlobSourceStates(self.clients).hold(self.source) as held:
            held.save(replace(source_state, **changes))

    def copy(self, stamp: datetime, *, announced: bool = True) -> RawArchive:
        """Copy a file; its ledger row is written as copying and, once that has come, the event do."""
        content = stamp.isoformat().encode().ljust(1000)
        metadata = CopyMetadata(sha256=hashlib.sha256(content).hexdigest(), complete=True)
        archive = self.see(stamp, done=True, sha256=metadata.sha256).archive
        self.copied.record(archive, Step.COPYING, stamp + MINUTE)
        upload = BlobArchives(self.clients).upload(archive)
        upload.commit(stage_whole(upload, content), metadata)
        self.copied.record(archive, Step.RAW, stamp + 2 * MINUTE, metadata)
        (raw,) = [raw for raw in self.raw.recent(self.source, stamp) if raw.key == archive.key]
        if announced:
            self.ledger.record_raw(raw, stamp + 2 * MINUTE)
        return raw

    def plan(self, archive: RawArchive, *, images: int = 4, batches: int = 2, pipeline: str = "p1") -> list[Batch]:
        each = images // batches
        planned = [
            Batch(
                archive=archive,
                pipeline=pipeline,
                number=number,
                first=number * each,
                end=(number + 1) * each,
                batches=batches,
            )
            for number in range(batches)
        ]
        self.ledger.insert_plan(planned, NOW, NOW)
        return planned

    def run(self, batch: Batch, *, finish: bool = True, imageless: bool = False, size: int = 6) -> None:
        """Write a batch's results: its last member is refused; `imageless`: all of them are."""
        members = range(batch.first, batch.end)
        refused = list(members) if imageless else [members[-1]]
        with ShardsAndRows(self.clients, "npy", max_rows_per_image=2).write(batch) as writer:
            for member in members:
                if member in refused:
                    writer.refuse(Refusal(member=member, name="x", reason="r", error="E"))
                else:
                    writer.add([made(batch.archive, member, size)])
            counts = Counts(
                members=len(members),
                images=len(members) - len(refused),
                refused=len(refused),
                skipped={"folder": 1},
                bytes_in=70,
            )
            written = writer.publish(counts)
        if finish:
            self.ledger.finish(batch, replace(counts, bytes_out=written), NOW)

    def process(self, stamp: datetime, *, size: int = 6, **plan: Any) -> RawArchive:
        archive = self.copy(stamp)
        for batch in self.plan(archive, **plan):
            self.run(batch, size=size)
        return archive

    def rebuild(self) -> RebuildOutcome:
        return rebuild(self.clients, self.source, lambda _source, _name: None)

    def entries(self) -> list[Entry]:
        return list(entries(self.clients, self.source))

    def lose(self, table: TableClient, *, above: str = "", below: str = "~") -> None:
        """Remove the source's rows whose keys lie in between."""
        for row in self.rows(table):
            if above <= row["RowKey"] < below:
                table.delete_entity(row["PartitionKey"], row["RowKey"])

    def rows(self, table: TableClient) -> list[Mapping[str, Any]]:
        first = [self.source] if table.table_name == "archives" else [f"{p}~{self.source}~" for p in ("p1", "p2")]
        asked = "PartitionKey ge @first and PartitionKey lt @end"
        found = (table.query_entities(asked, parameters={"first": key, "end": f"{key}~"}) for key in first)
        return [row for rows in found for row in rows]

    def everything(self) -> list[object]:
        return [dict(row) for table in (self.clients.archives, self.clients.batches) for row in self.rows(table)]

    def read(self) -> list[tuple[object, ...]]:
        """Return all images that readers get, by rows and by shards."""
        reader, start, end = Reader(self.clients, "p1"), NOW - 99 * HOUR, NOW + HOUR
        images = [*reader.between(self.source, start, end), *reader.shards(self.source, start, end)]
        return sorted((str(image.metadata), image.pixels.tobytes()) for image in images)
