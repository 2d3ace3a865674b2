"""Telemetry and storage: a trace in each blob and message, each archive's outcome counted once, given-up messages."""

import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from config import telemetry
from imagefeed.ledger import entries
from imagefeed.model import Counts, RawArchive, State
from ingest.model import Archive, CopyMetadata, RemoteFile, Step, version_of
from preprocess.model import Batch
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import BlobArchives
from storage.clients import Clients
from storage.queues.messages import BatchMessages, PollMessages, parse_batch_message, parse_poll_message
from storage.tables.archives import TableCopyLedger
from storage.tables.batches import TableBatchLedger
from tests.fixtures.recorded import Recorded

NOW = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
METADATA = CopyMetadata(sha256="ab" * 32, complete=True)


def archive_of(source: str, path: str = "a.zip") -> Archive:
    file = RemoteFile(path=path, size=0, modified=NOW)
    return Archive(source=source, file=file, version=version_of(file), stamp=NOW)


def copied(clients: Clients, archive: Archive, metadata: CopyMetadata | None = METADATA) -> RawArchive:
    """Copy an archive of no bytes, and find it like preprocessing."""
    upload = BlobArchives(clients).upload(archive)
    upload.commit([], metadata)
    if metadata is None:
        upload.amend(METADATA)
    found = RawBlobs(clients, lambda _source, _name: None).find(archive.key.raw_blob(archive.file.path))
    assert found is not None
    return found


def batch_of(archive: RawArchive, number: int = 0) -> Batch:
    return Batch(archive=archive, pipeline="p1", number=number, first=number, end=number + 1)


class TestTraces:
    def test_a_raw_blob_tells_the_trace_of_its_copy(self, clients: Clients, source: str, recorded: Recorded) -> None:
        with telemetry.span("copy"):
            traceparent, first, resumed = (
                telemetry.traceparent(),
                copied(clients, archive_of(source)),
                copied(clients, archive_of(source, "b.zip"), metadata=None),
            )
        assert (first.traceparent, resumed.traceparent) == (traceparent, traceparent)
        assert first.modified == NOW
        assert len(recorded.spans("copy")) == 1

    def test_the_longest_name_leaves_room_for_it(self, clients: Clients, source: str, recorded: Recorded) -> None:
        with telemetry.span("copy"):
            found = copied(clients, archive_of(source, f"{'ä' * 3_000}.zip"))
        assert found.traceparent is not None

    def test_without_a_recorded_copy_there_is_none(self, clients: Clients, source: str) -> None:
        archive = archive_of(source)
        assert copied(clients, archive).traceparent is None
        (found,) = clients.raw.list_blobs(source, include=["metadata"])
        assert telemetry.TRACEPARENT not in found.metadata

    def test_a_message_tells_the_trace_of_who_asked(self, clients: Clients, source: str, recorded: Recorded) -> None:
        archive = copied(clients, archive_of(source))
        clients.batch_queue.clear_messages()
        with telemetry.span("plan"):
            traceparent = telemetry.traceparent()
            BatchMessages(clients).put(archive.blob, batch_of(archive))
            BatchMessages(clients).put(archive.blob, None)
        BatchMessages(clients).put(archive.blob, None)
        bodies = [b64decode(message.content) for message in clients.batch_queue.receive_messages()]
        clients.batch_queue.clear_messages()
        assert [parse_batch_message(body).traceparent for body in bodies] == [traceparent, traceparent, None]
        assert json.loads(bodies[2]) == {"blob": archive.blob}

    def test_a_request_to_poll_tells_the_trace_of_its_tick(self, clients: Clients, recorded: Recorded) -> None:
        with telemetry.call(""), telemetry.span("tick"):
            traceparent = telemetry.traceparent()
            PollMessages(clients).put("radar")
        (message,) = clients.poll_queue.receive_messages()
        clients.poll_queue.clear_messages()
        assert parse_poll_message(b64decode(message.content)).traceparent == traceparent
        assert traceparent is not None

    def test_a_message_with_nonsense_for_a_trace_is_a_message(self) -> None:
        assert parse_batch_message(b'{"blob": "x/a.zip", "traceparent": 7}').traceparent is None


class TestEnds:
    def test_an_end_of_copying_counts_once_however_often_it_is_recorded(
        self, clients: Clients, source: str, recorded: Recorded
    ) -> None:
        ledger = TableCopyLedger(clients)
        for step in (Step.SEEN, Step.EXPIRED, Step.EXPIRED):
            ledger.record(archive_of(source), step, NOW)
        ledger.record(archive_of(source, "b.zip"), Step.SAME, NOW)
        assert recorded.values() == {
            "archives.terminal": [
                ({"source": source, "state": "expired"}, 1),
                ({"source": source, "state": "same"}, 1),
            ]
        }

    def test_of_two_that_finish_the_last_batch_one_counts_with_the_lag_since_it_was_modified(
        self, clients: Clients, source: str, recorded: Recorded
    ) -> None:
        ledger, archive = TableBatchLedger(clients), copied(clients, archive_of(source))
        batches = [batch_of(archive, number) for number in range(2)]
        ledger.insert_plan(batches, NOW, NOW)
        for number in (0, 1, 1):
            ledger.finish(batches[number], Counts(members=1, images=1), NOW + timedelta(seconds=9))
        assert recorded.values() == {
            "archives.terminal": [({"source": source, "state": "processed"}, 1)],
            "archive.lag.processed": [({"source": source}, 9)],
        }

    def test_lag_is_told_once_for_an_archive_however_often_and_by_whom_it_is_redone(
        self, clients: Clients, source: str, recorded: Recorded
    ) -> None:
        ledger, archive = TableBatchLedger(clients), copied(clients, archive_of(source))
        for hours, pipeline in enumerate(("p1", "p1", "p2")):
            at = NOW + timedelta(seconds=9, hours=hours)
            batch = replace(batch_of(archive), pipeline=pipeline)
            if not ledger.reset(archive, pipeline, at, at):
                ledger.insert_plan([batch], at, at)
            ledger.finish(batch, Counts(members=1, images=1), at)
        assert recorded.values()["archive.lag.processed"] == [({"source": source}, 9)]
        (entry,) = entries(clients, source)
        assert entry.first_processed == NOW + timedelta(seconds=9)
        assert entry.times[State.PROCESSED] == NOW + timedelta(seconds=9, hours=2)

    def test_refused_and_failed_archives_count_once_and_have_no_lag(
        self, clients: Clients, source: str, recorded: Recorded
    ) -> None:
        ledger = TableBatchLedger(clients)
        refused, failed = (copied(clients, archive_of(source, path)) for path in ("a.zip", "b.zip"))
        for _ in range(2):
            ledger.refuse(refused, "p1", "no zip", NOW)
            ledger.fail(failed, "p1", "tries spent", NOW)
        assert recorded.values() == {
            "archives.terminal": [
                ({"source": source, "state": "refused"}, 1),
                ({"source": source, "state": "failed"}, 1),
            ]
        }
