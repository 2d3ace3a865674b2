"""The contract of writing images: a member is written completely or not at all, and a second run changes nothing."""

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from imagefeed.codec import encode
from imagefeed.model import ArchiveKey, Codec, ImageMetadata, Pixels, RawArchive, Refusal
from imagefeed.rows import ROW_BYTES
from preprocess.model import Batch, Image
from preprocess.ports import Results
from storage.clients import Clients
from storage.results import ShardsAndRows
from tests.fakes.preprocessing import MemoryResults

NOW = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
REFUSAL = Refusal(member=4, name="broken.jpg", reason="it ends early", error="OSError")


def archive_of(source: str) -> RawArchive:
    blob = ArchiveKey(source, NOW, "0123abcd").raw_blob("out/a.zip")
    return RawArchive(source=source, stamp=NOW, version="0123abcd", blob=blob, size=9, path="out/a.zip", etag="1")


def image(member: int, frame: int = 0, *, size: int = 12, dtype: str = "uint8") -> Image:
    pixels = np.random.default_rng([member, frame]).integers(0, 200, (size, size, 3)).astype(dtype)
    metadata = ImageMetadata(
        source="radar",
        archive="out/a.zip",
        stamp=NOW,
        member=member,
        frame=frame,
        name=f"ü/{member} no utf-8 \udcff.jpg",
        format="JPEG",
        captured_at=NOW,
    )
    return Image(metadata=metadata, pixels=pixels)


class ResultsContract(ABC):
    results: Results
    batch: Batch

    @abstractmethod
    def images(self) -> list[tuple[int, int, Pixels]]:
        """Read member, frame and pixels of all images of the batch's archive, without the results."""

    @abstractmethod
    def refused(self) -> list[tuple[int, str, str]]:
        """Read member, reason and error of all refusals likewise."""

    def publish(self, images: Sequence[Image], refusals: Sequence[Refusal] = (), batch: Batch | None = None) -> int:
        with self.results.write(batch or self.batch) as writer:
            for each in images:
                assert writer.add([each]) == 1
            for refusal in refusals:
                writer.refuse(refusal)
            return writer.publish()

    def holds(self, *expected: Image) -> bool:
        images = self.images()
        keys = [(each.metadata.member, each.metadata.frame) for each in expected]
        return [key[:2] for key in images] == keys and all(
            each.pixels.dtype == pixels.dtype and np.array_equal(each.pixels, pixels)
            for each, (_, _, pixels) in zip(expected, images, strict=True)
        )

    def test_what_was_published_is_there(self) -> None:
        images = [image(0), image(1), image(3)]
        assert self.publish(images, [REFUSAL]) > sum(each.pixels.nbytes for each in images) - 1
        assert self.holds(*images)
        assert self.refused() == [(4, "it ends early", "OSError")]

    def test_nothing_is_visible_before_publish(self) -> None:
        with self.results.write(self.batch) as writer:
            writer.add([image(0)])
            writer.refuse(REFUSAL)
            assert (self.images(), self.refused()) == ([], [])

    def test_leaving_without_publish_leaves_nothing_behind(self) -> None:
        with self.results.write(self.batch) as writer:
            writer.add([image(0)])
            writer.refuse(REFUSAL)
        assert (self.images(), self.refused()) == ([], [])

    def test_a_member_that_fails_half_way_leaves_none_of_its_frames(self) -> None:
        def half() -> Iterator[Image]:
            yield image(1, 0)
            yield image(1, 1)
            raise ZeroDivisionError

        with self.results.write(self.batch) as writer:
            writer.add([image(0)])
            with pytest.raises(ZeroDivisionError):
                writer.add(half())
            assert writer.add([image(2, 0), image(2, 1)]) == 2
            writer.publish()
        assert self.holds(image(0), image(2, 0), image(2, 1))

    def test_an_image_that_changes_after_it_was_added_stays_as_it_was(self) -> None:
        changing = image(0)
        with self.results.write(self.batch) as writer:
            writer.add([changing])
            changing.pixels[...] = 0
            writer.publish()
        assert self.holds(image(0))

    def test_a_batch_without_images_leaves_its_refusals(self) -> None:
        assert self.publish([], [REFUSAL]) == 0
        assert self.images() == []
        assert len(self.refused()) == 1

    def test_a_second_run_changes_nothing(self) -> None:
        images = [image(0), image(1)]
        first = self.publish(images, [REFUSAL])
        assert self.publish(images, [REFUSAL]) == first
        assert self.holds(*images)

    def test_rows_that_an_older_run_left_are_removed(self) -> None:
        self.publish([image(0), image(1, 0), image(1, 1), image(2)], [REFUSAL])
        self.publish([image(1, 0)], [replace(REFUSAL, member=2)])
        assert self.holds(image(1, 0))
        assert [member for member, _, _ in self.refused()] == [2]

    def test_other_batches_keep_their_rows(self) -> None:
        other = replace(self.batch, number=1, first=10, end=20)
        self.publish([image(0), image(9)])
        self.publish([image(10)], [replace(REFUSAL, member=19)], batch=other)
        self.publish([image(9)])
        assert self.holds(image(9), image(10))
        assert [member for member, _, _ in self.refused()] == [19]


class TestMemoryResults(ResultsContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.memory = MemoryResults()
        self.results = self.memory
        self.batch = Batch(archive=archive_of("radar"), pipeline="p1", number=0, first=0, end=10)

    def images(self) -> list[tuple[int, int, Pixels]]:
        images = self.memory.of(self.batch.archive, "p1")
        return [(each.metadata.member, each.metadata.frame, each.pixels) for each in images]

    def refused(self) -> list[tuple[int, str, str]]:
        refusals = self.memory.refusals(self.batch.archive, "p1")
        return [(each.member, each.reason, each.error) for each in refusals.values()]


class TestShardsAndRows(ResultsContract):
    codec: Codec = "npy"

    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.results = ShardsAndRows(clients, self.codec, max_rows_per_image=2)
        self.batch = Batch(archive=archive_of(source), pipeline="p1", number=0, first=0, end=10)
        self.clients = clients

    def rows(self) -> list[dict[str, object]]:
        archive = self.batch.archive
        partition = archive.key.partition("p1")
        return list(self.clients.images.query_entities("PartitionKey eq @p", parameters={"p": partition}))

    def shard(self, number: int = 0) -> bytes:
        archive = self.batch.archive
        name = archive.key.shard("p1", archive.path, number)
        return self.clients.processed.download_blob(name).readall()

    def images(self) -> list[tuple[int, int, Pixels]]:
        payloads: dict[tuple[int, int], bytes] = {}
        for row in self.rows():
            if "part" in row:
                key = int(str(row["member"])), int(str(row["frame"]))
                pieces = [row.get(f"data{number}") for number in range(11)]
                payloads[key] = payloads.get(key, b"") + b"".join(p for p in pieces if isinstance(p, bytes))
        return [(*key, np.load(io.BytesIO(payload))) for key, payload in sorted(payloads.items())]

    def refused(self) -> list[tuple[int, str, str]]:
        rows = (row for row in self.rows() if "reason" in row)
        return [(int(str(row["member"])), str(row["reason"]), str(row["error"])) for row in rows]

    def test_a_shard_is_a_tar_of_pairs_as_webdataset_reads_it(self) -> None:
        images = [image(0), image(1, 0), image(1, 1)]
        size = self.publish(images)
        content = self.shard()
        assert len(content) == size
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as shard:
            assert shard.getnames() == [
                f"{self.batch.archive.key.partition('p1')}/{stem}.{suffix}"
                for stem in ("000000-0000", "000001-0000", "000001-0001")
                for suffix in ("npy", "json")
            ]
            for each, name in zip(images, shard.getnames()[::2], strict=True):
                file = shard.extractfile(name)
                assert file is not None
                assert np.array_equal(np.load(io.BytesIO(file.read())), each.pixels)
            metadata = shard.extractfile(f"{self.batch.archive.key.partition('p1')}/000001-0001.json")
            assert metadata is not None
            record = json.loads(metadata.read())
        assert (record["member"], record["frame"], record["name"]) == (1, 1, "ü/1 no utf-8 \udcff.jpg")
        assert (record["source"], record["stamp"], record["version"]) == ("radar", "20260301T102030Z", "0123abcd")
        assert (record["shape"], record["dtype"], record["codec"]) == ([12, 12, 3], "uint8", "npy")

    def test_a_row_tells_where_its_payload_lies_in_the_shard(self) -> None:
        self.publish([image(0), image(1)])
        content = self.shard()
        for row, each in zip(self.rows(), (image(0), image(1)), strict=True):
            offset, length = (getattr(row[name], "value", 0) for name in ("offset", "length"))
            assert content[offset : offset + length] == encode(each.pixels, "npy")
            assert str(row["shard"]).endswith("/20260301T102030Z.0123abcd.a/0000.tar")

    def test_a_second_run_writes_the_same_bytes_under_the_same_names(self) -> None:
        images = [image(0), image(1, size=600)]
        self.publish(images, [REFUSAL])
        shard, rows = self.shard(), self.rows()
        self.publish(images, [REFUSAL])
        assert self.shard() == shard
        assert self.rows() == rows

    def test_a_member_that_fails_half_way_leaves_no_trace_in_the_shard(self) -> None:
        def half() -> Iterator[Image]:
            yield image(1, size=100)
            raise ZeroDivisionError

        with self.results.write(self.batch) as writer:
            with pytest.raises(ZeroDivisionError):
                writer.add(half())
            writer.add([image(2)])
            writer.publish()
        shard = self.shard()
        self.publish([image(2)])
        assert self.shard() == shard

    def test_two_workers_on_one_batch_leave_the_same_as_one(self) -> None:
        self.publish([image(5), image(6)], [replace(REFUSAL, member=7)])
        images = [image(member) for member in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: self.publish(images, [REFUSAL]), range(4)))
        assert self.holds(*images)
        assert len(self.refused()) == 1

    def test_an_image_past_the_limit_of_rows_is_in_the_shard_alone(self) -> None:
        fits, too_large = image(0, size=650), image(1, size=700)
        self.publish([fits, too_large])
        assert [str(row["RowKey"]) for row in self.rows()] == ["000000~0000~00", "000000~0000~01", "000001~0000~00"]
        assert [row["parts"] for row in self.rows()] == [2, 2, 0]
        with tarfile.open(fileobj=io.BytesIO(self.shard()), mode="r:") as shard:
            file = shard.extractfile(f"{self.batch.archive.key.partition('p1')}/000001-0000.npy")
            assert file is not None
            assert np.array_equal(np.load(io.BytesIO(file.read())), too_large.pixels)

    @pytest.mark.parametrize("length", [64 * 1024, ROW_BYTES, 2 * ROW_BYTES])
    @pytest.mark.parametrize("more", [-1, 0, 1])
    def test_the_service_accepts_rows_at_every_edge(self, length: int, more: int) -> None:
        header = len(encode(np.zeros(100_000, np.uint8), "npy")) - 100_000
        pixels = np.arange(length - header + more, dtype=np.uint64).astype(np.uint8).reshape(1, -1)
        # The largest metadata: the longest name, of letters that are sent as six.
        metadata = replace(image(0).metadata, name="ü" * 2_000)
        edge = Image(metadata=metadata, pixels=pixels)
        assert len(encode(pixels, "npy")) == length + more
        self.publish([edge])
        if length + more <= 2 * ROW_BYTES:
            assert self.holds(edge)

    def test_the_service_accepts_transactions_filled_to_the_edge(self) -> None:
        images = [image(member, size=side) for member, side in enumerate([480, 480, 480, 480, 480, 120, 3, 3, 480])]
        self.publish(images)
        assert self.holds(*images)

    def test_more_rows_than_one_transaction_holds_are_written_and_removed(self) -> None:
        frames = [image(0, frame, size=2) for frame in range(230)]
        with self.results.write(self.batch) as writer:
            writer.add(frames)
            writer.publish()
        assert self.holds(*frames)
        self.publish([image(0)])
        assert self.holds(image(0))

    def test_a_batch_that_has_no_images_any_more_removes_its_shard(self) -> None:
        self.publish([image(0)])
        self.publish([])
        assert not list(self.clients.processed.list_blob_names(name_starts_with=f"p1/{self.batch.archive.source}/"))

    def test_the_libraries_that_made_a_shard_are_recorded(self) -> None:
        self.publish([image(0)])
        (name,) = self.clients.processed.list_blob_names(name_starts_with=f"p1/{self.batch.archive.source}/")
        metadata = self.clients.processed.get_blob_client(name).get_blob_properties().metadata
        assert metadata["numpy_version"] == np.__version__
        assert metadata["images"] == "1"
        assert "pillow_version" in metadata
