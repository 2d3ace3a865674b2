"""Readers get every image of all processed archives, complete and unchanged, and nothing else."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from azure.data.tables import UpdateMode
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from imagefeed import open_reader
from imagefeed.errors import ImageDamagedError, PermanentError, StoreRefusedError
from imagefeed.model import ArchiveKey, Codec, Counts, ImageMetadata, RawArchive, Refusal
from imagefeed.stores import DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY
from imagefeed.tables import Reader, Result, StoredImage
from ingest.model import SourceState
from local.azurite import Azurite
from preprocess.model import Batch, Image
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.faults.http import Answer, HttpProxy, Request

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Producer:
    """Makes processed archives through the same ports as preprocessing does."""

    def __init__(self, clients: Clients, source: str) -> None:
        self.clients = clients
        self.source = source
        self.ledger = TableBatchLedger(clients)

    def archive(self, stamp: datetime, version: str = "0123abcd") -> RawArchive:
        blob = ArchiveKey(self.source, stamp, version).raw_blob("out/ä.zip")
        return RawArchive(
            source=self.source,
            stamp=stamp,
            version=version,
            blob=blob,
            size=9,
            path="out/ä.zip",
            etag="1",
            raw_at=stamp,
        )

    def process(
        self,
        stamp: datetime,
        images: int = 4,
        *,
        batches: int = 2,
        pipeline: str = "p1",
        at: datetime = NOON,
        codec: Codec = "npy",
        size: int = 6,
        finish: int | None = None,
    ) -> list[Batch]:
        """Process an archive whose images are spread over batches; only the first `finish` batches are ended."""
        archive = self.archive(stamp)
        self.ledger.record_raw(archive, at)
        each = images // batches
        planned = [
            Batch(archive=archive, pipeline=pipeline, number=number, first=number * each, end=(number + 1) * each)
            for number in range(batches)
        ]
        self.ledger.insert_plan(planned, at, at)
        for batch in planned[:finish]:
            self.run(batch, codec, size, at)
        return planned

    def run(self, batch: Batch, codec: Codec = "npy", size: int = 6, at: datetime = NOON) -> None:
        results = ShardsAndRows(self.clients, codec, max_rows_per_image=2)
        with results.write(batch) as writer:
            for member in range(batch.first, batch.end):
                writer.add([made(batch.archive, member, size)])
            writer.refuse(Refusal(member=batch.end - 1, name="x", reason="r", error="E"))
            size = writer.publish()
        count = batch.end - batch.first
        self.ledger.finish(batch, Counts(members=count, images=count, bytes_out=size), at)


def made(archive: RawArchive, member: int, size: int = 6) -> Image:
    seed = [member, archive.stamp.hour, archive.stamp.minute]
    metadata = ImageMetadata(
        source=archive.source,
        archive=archive.path,
        stamp=archive.stamp,
        member=member,
        frame=0,
        name=f"ü {member}.jpg",
        format="JPEG",
        captured_at=archive.stamp - timedelta(minutes=member),
    )
    return Image(
        metadata=metadata, pixels=np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    )


@pytest.fixture
def producer(clients: Clients, source: str) -> Producer:
    return Producer(clients, source)


def keys(images: list[StoredImage]) -> list[tuple[int, int]]:
    return [(image.metadata.stamp.hour, image.metadata.member) for image in images]


class TestReading:
    @pytest.fixture(params=["between", "shards", "image by image"])
    def read(self, request: pytest.FixtureRequest, clients: Clients, source: str) -> Callable[..., list[StoredImage]]:
        """Read all images of some hours around noon, by each way of reading."""
        reader = Reader(clients)

        def read(start: datetime = NOON - 2 * HOUR, end: datetime = NOON + 2 * HOUR) -> list[StoredImage]:
            match request.param:
                case "between":
                    return list(reader.between(source, start, end))
                case "shards":
                    found = list(reader.shards(source, start, end))
                    return sorted(found, key=lambda image: (image.metadata.stamp, image.metadata.member))
                case _:
                    return [reader.image(row) for row in reader.rows(source, start, end)]

        return read

    @pytest.mark.parametrize("codec", ["npy", "png"])
    @pytest.mark.parametrize("size", [6, 490, 700])
    def test_images_come_back_as_they_were_made(
        self, producer: Producer, read: Callable[..., list[StoredImage]], codec: Codec, size: int
    ) -> None:
        # In one row, in two, and in the shard alone.
        batches = producer.process(NOON, 2, codec=codec, size=size)
        found = read()
        for image, expected in zip(found, [made(batches[0].archive, member, size) for member in range(2)], strict=True):
            assert (image.metadata, image.pipeline, image.version) == (expected.metadata, "p1", "0123abcd")
            assert image.pixels.dtype == expected.pixels.dtype
            assert np.array_equal(image.pixels, expected.pixels)
            assert image.pixels.flags.writeable, "training may change an image in place"

    def test_archives_come_in_the_order_of_time_and_members(
        self, producer: Producer, read: Callable[..., list[StoredImage]]
    ) -> None:
        for hour in (1, -1, 0):
            producer.process(NOON + hour * HOUR, 4)
        assert keys(read()) == [(hour, member) for hour in (11, 12, 13) for member in range(4)]

    def test_the_start_belongs_to_the_range_and_the_end_does_not(
        self, producer: Producer, read: Callable[..., list[StoredImage]]
    ) -> None:
        for hour in (-1, 0, 1):
            producer.process(NOON + hour * HOUR, 1, batches=1)
        assert keys(read(NOON - HOUR, NOON + HOUR)) == [(11, 0), (12, 0)]

    def test_nothing_is_read_of_an_archive_that_is_not_processed(
        self, producer: Producer, read: Callable[..., list[StoredImage]]
    ) -> None:
        producer.process(NOON, 4)
        unfinished = producer.process(NOON + HOUR, 4, finish=1)
        assert {hour for hour, _ in keys(read())} == {12}
        producer.run(unfinished[1])
        assert {hour for hour, _ in keys(read())} == {12, 13}

    def test_other_sources_are_left_alone(
        self, clients: Clients, producer: Producer, read: Callable[..., list[StoredImage]]
    ) -> None:
        producer.process(NOON, 2)
        Producer(clients, f"{producer.source}-2").process(NOON, 2)
        assert len(read()) == 2

    def test_a_source_without_archives_has_no_images(
        self, read: Callable[..., list[StoredImage]], clients: Clients, source: str
    ) -> None:
        with pytest.raises(PermanentError, match=f"source {source}: there is no such source"):
            read()
        with BlobSourceStates(clients).hold(source) as held:
            held.save(SourceState(source=source))
        assert read() == []


def test_the_latest_archives_come_newest_first(clients: Clients, producer: Producer) -> None:
    for hour in (0, 1, 2):
        producer.process(NOON + hour * HOUR, 2)
    producer.process(NOON + 3 * HOUR, 2, finish=1)
    reader = Reader(clients)
    assert keys(list(reader.latest(producer.source))) == [(14, 0), (14, 1)]
    assert keys(list(reader.latest(producer.source, archives=2))) == [(14, 0), (14, 1), (13, 0), (13, 1)]


def test_a_reader_keeps_to_its_pipeline(clients: Clients, producer: Producer) -> None:
    producer.process(NOON, 1, batches=1, pipeline="old", at=NOON)
    producer.process(NOON + HOUR, 1, batches=1, pipeline="old", at=NOON + HOUR)
    producer.process(NOON, 1, batches=1, pipeline="new", at=NOON + 2 * HOUR)
    reader = Reader(clients, "new")
    assert [(image.pipeline, image.metadata.stamp) for image in reader.latest(producer.source)] == [("new", NOON)]


def test_without_a_pipeline_it_is_the_last_one_that_processed_the_newest_archive(
    clients: Clients, producer: Producer
) -> None:
    reader = Reader(clients)
    assert reader.pipeline(producer.source) is None
    producer.process(NOON, 1, batches=1, pipeline="old", at=NOON)
    producer.process(NOON + HOUR, 2, pipeline="next", at=NOON + HOUR, finish=1)
    assert reader.pipeline(producer.source) == "old"
    producer.process(NOON, 1, batches=1, pipeline="new", at=NOON + HOUR)
    assert reader.pipeline(producer.source) == "new"
    assert [image.pipeline for image in reader.latest(producer.source)] == ["new"]


@pytest.mark.parametrize("read", ["between", "rows", "shards"])
@pytest.mark.parametrize(
    ("start", "end", "error", "says"),
    [
        (NOON.replace(tzinfo=None), NOON, ValueError, "start .* has no time zone"),
        (NOON, NOON.replace(tzinfo=None), ValueError, "end .* has no time zone"),
        ("2026-03-01", NOON, TypeError, "start is '2026-03-01'"),
        (NOON, None, TypeError, "end is None"),
        (NOON + HOUR, NOON, ValueError, "before its start"),
    ],
)
def test_a_range_that_is_none_is_an_error(
    clients: Clients, source: str, read: str, start: object, end: object, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        list(getattr(Reader(clients), read)(source, start, end))


class Timestamp(datetime):
    """A datetime of another type, like pandas' own."""


def test_times_may_be_of_any_zone_and_of_types_that_derive_from_datetime(clients: Clients, producer: Producer) -> None:
    producer.process(NOON, 2)
    tokyo = timezone(timedelta(hours=9))
    start = Timestamp.fromtimestamp(NOON.timestamp(), tokyo)
    assert len(list(Reader(clients).between(producer.source, start, start + HOUR))) == 2


def test_reprs_are_short_and_say_what_it_is(clients: Clients, producer: Producer) -> None:
    producer.process(NOON, 2, at=NOON + HOUR)
    reader = Reader(clients, "p1")
    image, row = next(reader.latest(producer.source)), next(reader.rows(producer.source, NOON, NOON + HOUR))
    what = f"{producer.source} 20260301T120000Z 0123abcd: member 0, frame 0, 'ü 0.jpg', uint8 6x6x3"
    assert (repr(image), repr(row)) == (f"<StoredImage {what}>", f"<StoredRow {what}>")
    assert re.fullmatch(r"<Reader of 127\.0\.0\.1:\d+/devstoreaccount1, pipeline p1>", repr(reader))
    assert row.result.processed_at == NOON + HOUR


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_the_shards_without_doubling_or_losing_one(
    clients: Clients, producer: Producer, workers: int
) -> None:
    for minute in range(3):
        producer.process(NOON + timedelta(minutes=minute), 8, batches=4)
    reader = Reader(clients)
    shares = [
        keys(list(reader.shards(producer.source, NOON, NOON + HOUR, worker=worker, workers=workers)))
        for worker in range(workers)
    ]
    assert sum(map(len, shares)) == 24
    assert sorted(key for share in shares for key in share) == sorted([(12, member) for member in range(8)] * 3)


def test_a_share_stays_the_same_while_archives_are_added(clients: Clients, producer: Producer) -> None:
    def share() -> set[tuple[datetime, int]]:
        images = Reader(clients).shards(producer.source, NOON, NOON + HOUR, worker=1, workers=2)
        return {(image.metadata.stamp, image.metadata.member) for image in images}

    producer.process(NOON + timedelta(minutes=2), 8, batches=8)
    before = share()
    producer.process(NOON + timedelta(minutes=1), 8, batches=8)
    assert before <= share()


def test_workers_that_do_not_exist_are_an_error(clients: Clients, source: str) -> None:
    with pytest.raises(ValueError, match="count from 0"):
        next(Reader(clients).shards(source, NOON, NOON + HOUR, worker=2, workers=2))


def test_who_stops_early_leaves_no_thread_behind(clients: Clients, producer: Producer) -> None:
    producer.process(NOON, 8, batches=8)
    images = Reader(clients).shards(producer.source, NOON, NOON + HOUR)
    next(images)
    images.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


class TestDamage:
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, producer: Producer) -> None:
        self.clients = clients
        self.reader = Reader(clients)
        self.producer = producer

    def arrange(self, size: int) -> None:
        (batch,) = self.producer.process(NOON, 1, batches=1, size=size)
        archive = batch.archive
        self.partition = archive.key.partition("p1")
        self.shard = archive.key.shard("p1", archive.path, 0)

    def overwrite(self, content: bytes) -> None:
        self.clients.processed.upload_blob(self.shard, content, overwrite=True)

    def content(self) -> bytes:
        return self.clients.processed.download_blob(self.shard).readall()

    def test_a_part_that_is_missing_is_noticed(self) -> None:
        self.arrange(600)
        self.clients.images.delete_entity(self.partition, "000000~0000~01")
        with pytest.raises(ImageDamagedError, match="parts"):
            list(self.reader.latest(self.producer.source))

    def test_a_row_that_was_changed_is_noticed(self) -> None:
        self.arrange(6)
        row = {"PartitionKey": self.partition, "RowKey": "000000~0000~00", "data0": b"junk"}
        self.clients.images.update_entity(row, UpdateMode.MERGE)
        with pytest.raises(ImageDamagedError, match="checksum"):
            list(self.reader.latest(self.producer.source))

    def test_an_image_that_vanished_is_noticed(self) -> None:
        self.arrange(6)
        (row,) = self.reader.rows(self.producer.source, NOON, NOON + HOUR)
        self.clients.images.delete_entity(self.partition, "000000~0000~00")
        with pytest.raises(ImageDamagedError, match="gone"):
            self.reader.image(row)

    def test_a_shard_that_was_changed_is_noticed_by_either_way_to_it(self) -> None:
        self.arrange(700)
        content = bytearray(self.content())
        content[700_000] ^= 1
        self.overwrite(bytes(content))
        with pytest.raises(ImageDamagedError, match="checksum"):
            list(self.reader.latest(self.producer.source))
        with pytest.raises(ImageDamagedError, match="checksum"):
            list(self.reader.shards(self.producer.source, NOON, NOON + HOUR))

    @pytest.mark.parametrize("keep", [0, 100, 700, -1024])
    def test_a_shard_that_ends_early_is_noticed(self, keep: int) -> None:
        self.arrange(6)
        self.overwrite(self.content()[:keep])
        with pytest.raises(ImageDamagedError):
            list(self.reader.shards(self.producer.source, NOON, NOON + HOUR))

    def test_a_shard_with_fewer_images_than_the_ledger_knows_is_noticed(self) -> None:
        self.arrange(6)
        self.overwrite(bytes(1024))
        with pytest.raises(ImageDamagedError, match="0 images"):
            list(self.reader.shards(self.producer.source, NOON, NOON + HOUR))

    def test_a_shard_that_is_gone_is_an_error(self) -> None:
        self.arrange(6)
        self.clients.processed.delete_blob(self.shard)
        with pytest.raises(StoreRefusedError, match=r"0000\.tar"):
            list(self.reader.shards(self.producer.source, NOON, NOON + HOUR))


def test_versions_of_one_time_are_archives_of_their_own(clients: Clients, producer: Producer) -> None:
    for version in ("aaaaaaaa", "bbbbbbbb"):
        archive = replace(producer.archive(NOON), version=version)
        batch = Batch(archive=archive, pipeline="p1", number=0, first=0, end=1)
        producer.ledger.record_raw(archive, NOON)
        producer.ledger.insert_plan([batch], NOON, NOON)
        producer.run(batch)
    found = Reader(clients).between(producer.source, NOON, NOON + HOUR)
    assert sorted(image.version for image in found) == ["aaaaaaaa", "bbbbbbbb"]


class TestReadOnly:
    """Readers have roles to read, and a query has no side effects."""

    @pytest.fixture
    def reader(self, azurite: Azurite) -> Iterator[Reader]:
        """A reader whose requests to write are all refused, by the service itself and on the way there."""

        def refuse_writes(request: Request) -> Answer | None:
            return None if request.method in {"GET", "HEAD"} else Answer(403, "AuthorizationPermissionMismatch")

        signature = generate_account_sas(
            DEVELOPMENT_ACCOUNT,
            DEVELOPMENT_KEY,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=True, list=True),
            datetime.now(UTC) + HOUR,
            services="bt",
        )
        with ExitStack() as opened:
            ports = {"Blob": azurite.ports.blob, "Table": azurite.ports.table}
            self.proxies = [
                opened.enter_context(HttpProxy(port, of_tables=name == "Table")) for name, port in ports.items()
            ]
            endpoints = []
            for name, proxy in zip(ports, self.proxies, strict=True):
                proxy.choose = refuse_writes
                endpoints.append(f"{name}Endpoint=http://127.0.0.1:{proxy.port}/{DEVELOPMENT_ACCOUNT}")
            connection = ";".join((*endpoints, f"SharedAccessSignature={signature}"))
            yield opened.enter_context(open_reader(connection))

    def test_no_read_writes(self, reader: Reader, producer: Producer) -> None:
        first, _ = producer.process(NOON, 4)
        producer.process(NOON + HOUR, 2, size=700)
        producer.process(NOON + 2 * HOUR, 4, finish=1)
        source, time = producer.source, (NOON, NOON + 3 * HOUR)
        result = Result(pipeline="p1", archive=first.archive)
        reads: dict[str, Callable[[], int]] = {
            "pipeline": lambda: reader.pipeline(source) == "p1",
            "sources": lambda: source in reader.sources(),
            "latest": lambda: len(list(reader.latest(source, archives=3))),
            "between": lambda: len(list(reader.between(source, *time))),
            "rows": lambda: len(list(reader.rows(source, *time))),
            "image": lambda: len([reader.image(row) for row in reader.rows(source, *time)]),
            "shards": lambda: len(list(reader.shards(source, *time))),
            "of_rows": lambda: len(list(reader.of_rows(result))),
            "of_shards": lambda: len(list(reader.of_shards(result))),
        }
        assert reads.keys() == {name for name in vars(Reader) if not name.startswith("_")} - {"close"}
        images = {name: read() for name, read in reads.items()}
        assert images == {**dict.fromkeys(reads, 6), "pipeline": True, "sources": True, "of_rows": 4, "of_shards": 4}
        self.assert_nothing_was_written()

    def test_a_read_that_fails_writes_nothing_either(
        self, reader: Reader, producer: Producer, clients: Clients
    ) -> None:
        _, lost = producer.process(NOON, 4)
        archive = lost.archive
        clients.batches.delete_entity(archive.key.partition("p1"), "0001")
        with pytest.raises(ImageDamagedError, match="its row in the ledger is lost"):
            list(reader.shards(producer.source, NOON, NOON + HOUR))
        with pytest.raises(PermanentError, match="no such source"):
            list(reader.latest("never"))
        self.assert_nothing_was_written()

    def assert_nothing_was_written(self) -> None:
        methods = {request.method for proxy in self.proxies for request in proxy.requests}
        assert "GET" in methods
        assert methods <= {"GET", "HEAD"}
