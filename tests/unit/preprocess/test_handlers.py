"""Archives become images: delivered at least once, written exactly once, and no member affects another."""

import inspect
import io
import logging
import lzma
import random
import stat
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from backports import zstd
from PIL import Image

from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from imagefeed.model import Counts, ImageMetadata, Origin, Pixels, RawArchive
from preprocess.claim import ClaimKind
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.image.formats import METHODS
from preprocess.model import Batch, BatchSizes, BatchState, Hook, Limits, Notes, Recipe
from preprocess.ports import NO_NOTES, RangeReader
from preprocess.recovery.reconcile import ReconcileOutcome, reconcile
from preprocess.run_batch import run_batch
from tests.fakes.preprocessing import (
    STAMP,
    MemoryBatchLedger,
    MemoryBatchQueue,
    MemoryRawArchives,
    MemoryReader,
    MemoryResults,
    Request,
)
from tests.unit.preprocess.pictures import PRIMARY, encoded, mpo, noise, smooth
from tests.unit.preprocess.zips import UnmarkedLzma, by_hand, patched, zipped

WINDOW = timedelta(hours=72)
ONE_EACH = BatchSizes(members=1, inline_bytes=0)
"""Several batches that all go to the queue."""


@dataclass
class World:
    """The surroundings of the use cases, in memory, with a clock that stands still."""

    raw: MemoryRawArchives = field(default_factory=MemoryRawArchives)
    results: MemoryResults = field(default_factory=MemoryResults)
    ledger: MemoryBatchLedger = field(default_factory=MemoryBatchLedger)
    queue: MemoryBatchQueue = field(default_factory=MemoryBatchQueue)
    now: datetime = STAMP + timedelta(minutes=1)

    def process(self, **changes: Any) -> Context:
        """A process of its own, with its own lock."""
        defaults: dict[str, Any] = {
            "raw": self.raw,
            "results": self.results,
            "ledger": self.ledger,
            "queue": self.queue,
            "recipe": Recipe(width=8, height=6),
            "hook": None,
            "pipeline": "p-test",
            "limits": Limits(),
            "sizes": BatchSizes(),
            "clock": lambda: self.now,
            "decode_workers": 3,
        }
        return Context(**defaults | changes)

    def work(self, ctx: Context) -> list[HandlerOutcome]:
        """Take messages until the queue is empty."""
        taken = []
        while self.queue.messages:
            taken.append(handle_batch_message(self.queue.messages.pop(0), ctx))
        return taken

    def die_over(self, archive: RawArchive) -> None:
        """Run each batch of an archive, and die."""
        for state in self.ledger.plan(archive, "p-test") or ():
            self.ledger.claim(state.batch, "a process that died", ClaimKind.RUNNING, self.now, self.now)

    def fail_over(self, archive: RawArchive) -> None:
        """Fail with each batch of an archive until its message is given up."""
        for state in self.ledger.plan(archive, "p-test") or ():
            self.ledger.given_up(state.batch, "the disk is full", self.now)

    def sums(self, archive: RawArchive) -> Counts:
        sums = self.ledger.pipelines[archive.key, "p-test"].sums
        assert sums is not None
        return sums

    def reason(self, archive: RawArchive) -> str:
        reason = self.ledger.pipelines[archive.key, "p-test"].reason
        assert reason is not None
        return reason

    def left_behind(self) -> object:
        return {key: published.comparable() for key, published in self.results.published.items()}


@pytest.fixture
def world() -> World:
    return World()


def jpeg(seed: int = 0) -> bytes:
    return encoded(np.roll(smooth(40, 60), seed * 7, axis=1), "JPEG")


def pictures(count: int) -> bytes:
    return zipped(*((f"{n}.jpg", jpeg(n)) for n in range(count)))


# From an archive to its images


def test_one_small_batch_runs_where_it_was_found(world: World) -> None:
    archive = world.raw.add(pictures(3))
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.DONE
    assert world.queue.messages == []
    assert world.ledger.end(archive) == "processed"
    images = world.results.of(archive)
    assert [image.metadata.name for image in images] == ["0.jpg", "1.jpg", "2.jpg"]
    assert {(image.pixels.shape, image.pixels.dtype.name) for image in images} == {((6, 8, 3), "uint8")}
    assert images[1].metadata == ImageMetadata(
        source="radar",
        archive="120000.zip",
        stamp=STAMP,
        member=1,
        frame=0,
        name="1.jpg",
        format="JPEG",
        captured_at=None,
        method=METHODS["JPEG"],
    )


@pytest.mark.parametrize(("delay", "moment"), [(timedelta(seconds=2), "now"), (timedelta(minutes=2), "then")])
def test_the_time_an_archive_became_raw_is_not_rounded_down_before_it_was_copied(
    world: World, delay: timedelta, moment: str
) -> None:
    archive = world.raw.add(pictures(1))
    assert archive.raw_at is not None
    world.now = archive.raw_at + delay
    handle_archive_created(archive.blob, world.process())
    (row,) = world.ledger.archives.values()
    assert row.raw_at == {"now": world.now, "then": archive.raw_at}[moment]


def test_several_small_batches_run_where_they_were_found(world: World) -> None:
    archive = world.raw.add(pictures(5))
    assert handle_archive_created(archive.blob, world.process(sizes=BatchSizes(members=2))) is HandlerOutcome.DONE
    assert world.queue.messages == []
    assert world.ledger.end(archive) == "processed"
    assert len(world.results.of(archive)) == 5


def test_what_is_too_large_together_is_queued_before_the_rest_runs(world: World) -> None:
    queued: list[list[Request]] = []

    def hook(pixels: Pixels, _: ImageMetadata) -> Pixels:
        queued.append(list(world.queue.messages))
        return pixels

    archive = world.raw.add(pictures(5))
    ctx = world.process(sizes=BatchSizes(members=2, inline_bytes=3 * len(jpeg())), hook=hook)
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DONE
    others = [Request(blob=archive.blob, pipeline="p-test", batch=n) for n in (1, 2)]
    assert queued == [others] * 2
    assert world.queue.messages == others
    assert world.ledger.end(archive) is None
    assert world.work(ctx) == [HandlerOutcome.DONE] * 2
    assert world.ledger.end(archive) == "processed"
    assert len(world.results.of(archive)) == 5


@pytest.mark.parametrize(("batches", "queued"), [(16, 0), (17, 17)])
def test_of_many_batches_none_runs_where_it_was_found(world: World, batches: int, queued: int) -> None:
    archive = world.raw.add(zipped(*((f"{number}.txt", b"no image") for number in range(batches))))
    handle_archive_created(archive.blob, world.process(sizes=BatchSizes(members=1)))
    assert len(world.queue.messages) == queued


@pytest.mark.parametrize(
    "sizes",
    [BatchSizes(), ONE_EACH, BatchSizes(members=10**6, bytes=10**12, inline_bytes=10**12), BatchSizes(members=2)],
)
def test_each_member_of_the_smoke_test_goes_over_the_queue(world: World, sizes: BatchSizes) -> None:
    archive, ctx = world.raw.add(pictures(3), source="smoke"), world.process(sizes=sizes)
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.QUEUED
    assert [message.batch for message in world.queue.messages] == [0, 1, 2]
    assert not world.results.of(archive)
    world.work(ctx)
    assert len(world.results.of(archive)) == 3


def test_a_batch_that_is_not_small_goes_to_the_queue(world: World) -> None:
    archive = world.raw.add(pictures(2))
    assert (
        handle_archive_created(archive.blob, world.process(sizes=BatchSizes(inline_bytes=1000)))
        is HandlerOutcome.QUEUED
    )


def test_a_batch_goes_to_the_queue_while_another_batch_runs(world: World) -> None:
    archive = world.raw.add(pictures(2))
    world.now = STAMP + timedelta(hours=1)
    ctx = world.process()
    with ctx.batch_lock:
        assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.QUEUED
    assert world.work(ctx) == [HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"


def test_a_newcomer_waits_for_the_batch_lock_instead_of_standing_behind_the_queue(world: World) -> None:
    first, second = world.raw.add(pictures(1)), world.raw.add(pictures(1), version="0000000b")
    ctx, taken = world.process(), list[HandlerOutcome]()
    waiting = threading.Thread(target=lambda: taken.append(handle_archive_created(first.blob, ctx)))
    with ctx.batch_lock:
        waiting.start()
        deadline = time.monotonic() + 10
        while not ctx.waiter_lock.locked() and time.monotonic() < deadline:
            waiting.join(0.01)
        assert handle_archive_created(second.blob, ctx) is HandlerOutcome.QUEUED, (
            "one waits; two would take threads that others need"
        )
    waiting.join()
    assert taken == [HandlerOutcome.DONE]
    assert world.ledger.end(first) == "processed"
    assert not ctx.waiter_lock.locked()


def test_the_batch_lock_is_free_again_after_success_and_failure(world: World) -> None:
    ctx = world.process()
    handle_archive_created(world.raw.add(pictures(1)).blob, ctx)
    world.results.fail_next = StoreUnavailableError("write")
    handle_archive_created(world.raw.add(pictures(1), version="0000000b").blob, ctx)
    assert ctx.batch_lock.acquire(blocking=False)


def test_batches_of_one_process_run_one_after_another(world: World) -> None:
    running = threading.Semaphore(1)

    def alone(pixels: Pixels, _: ImageMetadata) -> Pixels:
        assert running.acquire(blocking=False), "two batches at once"
        running.release()
        return pixels

    archive = world.raw.add(pictures(8))
    ctx = world.process(sizes=ONE_EACH, hook=alone)
    handle_archive_created(archive.blob, ctx)
    threads = [threading.Thread(target=handle_batch_message, args=(message, ctx)) for message in world.queue.messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.ledger.end(archive) == "processed"
    assert world.sums(archive).images == 8


def test_counts_tell_what_became_of_every_member(world: World) -> None:
    content = zipped(
        ("a.jpg", jpeg()),
        ("d/", b""),
        ("__MACOSX/._a.jpg", b"x"),
        (".hidden.png", b"x"),
        ("readme.txt", b"BM is no bitmap"),
        ("movie.mp4", bytes(5_000_000)),
        ("IM0001", b"\x89HDF\r\n\x1a\n"),
        ("photo", encoded(smooth(20, 20), "PNG")),
        ("wrong.png", encoded(smooth(20, 20), "BMP")),
        ("no.png", b"no image"),
        ("b.heic", b"no image either"),
    )
    archive = world.raw.add(content)
    handle_archive_created(archive.blob, world.process(limits=Limits(member_bytes=2_000_000)))
    sums = world.sums(archive)
    assert (sums.members, sums.images, sums.refused) == (11, 3, 4)
    assert sums.skipped == {"directory": 1, "hidden": 1, "macos": 1, "text": 1}
    assert sums.refused_kinds == {".mp4": 1, ".png": 1, ".heic": 1, "HDF5": 1}
    assert set(world.results.refusals(archive)) == {5, 6, 9, 10}
    assert [image.metadata.format for image in world.results.of(archive)] == ["JPEG", "PNG", "BMP"]
    assert 5_000_000 < sums.bytes_in < len(content)
    assert sums.bytes_out == 3 * 6 * 8 * 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(), "the zip has no members"),
        (zipped(("readme.txt", b"x")), "all of its members are skipped: 1 text"),
        (zipped(("d/", b""), ("e/", b""), ("a.csv", b"")), "all of its members are skipped: 2 directory, 1 markup"),
    ],
)
def test_an_archive_of_harmless_members_or_none_is_empty(world: World, content: bytes, reason: str) -> None:
    archive = world.raw.add(content)
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.DONE
    assert (world.ledger.end(archive), world.reason(archive)) == ("empty", reason)
    assert world.sums(archive).images == 0


def test_an_archive_whose_every_image_the_hook_drops_is_empty(world: World) -> None:
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, world.process(hook=lambda _pixels, _metadata: None))
    assert world.ledger.end(archive) == "empty"
    assert world.reason(archive) == "all of its members are skipped: 2 by the hook"


def test_a_hook_that_drops_images_beside_refused_members_leaves_a_refused_archive(world: World) -> None:
    archive = world.raw.add(zipped(("a.jpg", jpeg()), ("a.h5", b"\x89HDF")))
    handle_archive_created(archive.blob, world.process(hook=lambda _pixels, _metadata: None))
    assert world.ledger.end(archive) == "refused"


def test_results_are_in_stored_order_whatever_the_directory_says(world: World) -> None:
    """Here the directory lists the second member first."""
    content = pictures(2)
    start = content.index(b"PK\1\2")
    second, end = content.index(b"PK\1\2", start + 4), content.index(b"PK\5\6")
    turned = content[:start] + content[second:end] + content[start:second] + content[end:]
    archive = world.raw.add(turned)
    handle_archive_created(archive.blob, world.process())
    assert [(image.metadata.name, image.metadata.member) for image in world.results.of(archive)] == [
        ("0.jpg", 1),
        ("1.jpg", 0),
    ]


# One bad member


BAD: dict[str, bytes] = {
    "cut off": jpeg()[:-100],
    "cut off and ended": jpeg()[:-100] + b"\xff\xd9",
    "no image": b"nothing of the kind" * 9,
    "empty": b"",
    "half a header": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "png of noise": b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(500),
    "tiff of noise": b"II*\0" + random.Random(2).randbytes(500),
    "gif of noise": b"GIF89a" + random.Random(3).randbytes(500),
    "second page broken": encoded(smooth(20, 20), "TIFF", save_all=True, append_images=[])[:-9],
}


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_member_never_costs_the_others(world: World, bad: str) -> None:
    archive = world.raw.add(zipped(("a.jpg", jpeg(1)), ("bad.png", BAD[bad]), ("c.jpg", jpeg(2))))
    handle_archive_created(archive.blob, world.process())
    assert world.ledger.end(archive) == "processed"
    assert [image.metadata.name for image in world.results.of(archive)] == ["a.jpg", "c.jpg"]
    refusal = world.results.refusals(archive)[1]
    assert refusal.name == "bad.png"
    assert refusal.reason
    assert refusal.error.endswith("Error")


def test_every_picture_of_a_file_is_there_and_bytes_behind_it_cost_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stereo = mpo([PRIMARY, 0x020002], [smooth(20, 30), smooth(20, 30)[::-1]])
    sound = encoded(noise(64, 64), "JPEG")
    hole = sound[: len(sound) // 2] + bytes(200) + sound[len(sound) // 2 + 200 :]
    archive = world.raw.add(
        zipped(
            ("stereo.jpg", stereo),
            ("a.gif", encoded(smooth(20, 30), "GIF") + b"trailer"),
            ("b.png", encoded(smooth(20, 30), "PNG") + bytes(36_000)),
            ("hole.jpg", hole),
            ("c.avif", encoded(smooth(64, 64), "AVIF")[:-40]),
        )
    )
    handle_archive_created(archive.blob, world.process())
    assert [(image.metadata.name, image.metadata.frame) for image in world.results.of(archive)] == [
        ("stereo.jpg", 0),
        ("stereo.jpg", 1),
        ("a.gif", 0),
        ("b.png", 0),
    ]
    assert "it is damaged" in world.results.refusals(archive)[3].reason
    assert 4 in world.results.refusals(archive)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "reason"), [({"flags": 1}, "encrypted"), ({"method": 99}, "method 99"), ({"crc": 1}, "CRC")]
)
def test_what_the_zip_spoils_is_refused_with_the_reason(world: World, fields: dict[str, int], reason: str) -> None:
    archive = world.raw.add(patched(pictures(3), 1, **fields))
    handle_archive_created(archive.blob, world.process())
    assert reason in world.results.refusals(archive)[1].reason
    assert len(world.results.of(archive)) == 2


def test_a_frame_that_is_broken_takes_its_whole_member_along(world: World) -> None:
    page = smooth(20, 20)

    whole = encoded(page, "TIFF", save_all=True, append_images=[Image.fromarray(page)])
    archive = world.raw.add(zipped(("a.tif", whole[:-200]), ("b.tif", whole)))
    handle_archive_created(archive.blob, world.process())
    assert [(image.metadata.member, image.metadata.frame) for image in world.results.of(archive)] == [(1, 0), (1, 1)]
    assert world.sums(archive) == replace(world.sums(archive), members=2, images=2, refused=1)


def test_an_archive_of_bad_members_alone_is_refused(world: World) -> None:
    archive = world.raw.add(zipped(("a.jpg", b"x"), ("readme.txt", b"x")))
    handle_archive_created(archive.blob, world.process())
    assert world.ledger.end(archive) == "refused"
    assert len(world.results.refusals(archive)) == 1


def test_log_lines_have_one_line_and_each_refusal_one_of_them(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    archive = world.raw.add(zipped(("a\nb\x1b[2J.jpg", b"x"), ("c.jpg", jpeg())))
    handle_archive_created(archive.blob, world.process())
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in lines] == ["archive.planned", "member.refused", "batch.done"]
    assert all(line.isprintable() for line in lines)
    assert "batch=0 images=1 refused=1 seconds=0.00" in lines[-1]


def lines_of(caplog: pytest.LogCaptureFixture, kind: str) -> list[str]:
    lines = (record.getMessage() for record in caplog.records)
    return [line for line in lines if line.startswith(kind)]


def test_an_archive_of_broken_members_writes_few_lines_and_tells_how_many_more(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    archive = world.raw.add(zipped(*((f"{number}.jpg", b"x") for number in range(60))))
    ctx = world.process(sizes=BatchSizes(members=4))
    handle_archive_created(archive.blob, ctx)
    world.work(ctx)
    assert len(world.results.refusals(archive)) == 60
    assert len(lines_of(caplog, "member.refused")) == 40, "those of the first ten batches"
    assert [line.split(":")[0].split()[2:] for line in lines_of(caplog, "member.more")] == [
        [f"batch={number}", "lines=4"] for number in range(10, 15)
    ]


def test_a_batch_of_broken_members_writes_ten_lines(world: World, caplog: pytest.LogCaptureFixture) -> None:
    archive = world.raw.add(zipped(*((f"{number}.jpg", b"x") for number in range(60))))
    handle_archive_created(archive.blob, world.process())
    assert len(lines_of(caplog, "member.refused")) == 10
    assert "lines=50" in lines_of(caplog, "member.more")[0]
    caplog.clear()
    handle_archive_created(world.raw.add(zipped(("a.jpg", b"x")), version="11111111").blob, world.process())
    assert (len(lines_of(caplog, "member.refused")), lines_of(caplog, "member.more")) == (1, [])


def test_however_many_members_are_decoded_at_once_results_are_the_same() -> None:
    """Pictures of many kinds: several frames, some too large to be decoded beside others, broken, none at all."""
    limits = Limits(pixels=8 * 4_000, member_bytes=8 * 40_000, batch_pixels=70_000)
    page, heavy = smooth(20, 30), encoded(noise(50, 90, 3), "PNG")
    content = zipped(
        *((f"{n}.jpg", jpeg(n)) for n in range(4)),
        ("pages.tif", encoded(page, "TIFF", save_all=True, append_images=[Image.fromarray(page)] * 3)),
        ("heavy.png", heavy),
        ("broken.jpg", jpeg()[:300]),
        ("large.bmp", encoded(noise(110, 125, 3), "BMP")),
        ("readme.txt", b"x" * 80),
        (".hidden.jpg", jpeg()),
        ("huge.png", encoded(Image.new("1", (400, 100)), "PNG")),
        *((f"left-{n}.jpg", jpeg(n)) for n in range(40)),
    )

    def run(decode_workers: int) -> object:
        def noted(pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
            order.append((metadata.member, metadata.frame))
            return pixels if metadata.member != 2 else None

        order: list[tuple[int, int]] = []
        world = World()
        archive = world.raw.add(content)
        ctx = world.process(decode_workers=decode_workers, limits=limits, hook=noted, sizes=BatchSizes(members=30))
        handle_archive_created(archive.blob, ctx)
        world.work(ctx)
        refusals = {number: refusal.reason for number, refusal in world.results.refusals(archive).items()}
        assert "LIMIT_PIXELS" in refusals[10]
        assert "cut" in refusals[6] or "decoded" in refusals[6]
        assert sum("LIMIT_BATCH_PIXELS" in reason for reason in refusals.values()) > 2
        return world.left_behind(), world.sums(archive), refusals, order

    assert run(1) == run(2) == run(4)


def test_a_batch_ends_where_its_pixels_do_and_the_next_has_its_own(world: World) -> None:
    limits = Limits(batch_pixels=2 * 40 * 60)
    archive = world.raw.add(pictures(4))
    handle_archive_created(archive.blob, world.process(limits=limits))
    assert sorted(world.results.refusals(archive)) == [2, 3]
    assert "LIMIT_BATCH_PIXELS=4800" in world.results.refusals(archive)[2].reason
    other = world.raw.add(pictures(4), version="11111111")
    ctx = world.process(limits=limits, sizes=BatchSizes(members=2))
    handle_archive_created(other.blob, ctx)
    world.work(ctx)
    assert world.results.refusals(other) == {}


# The hook


def test_the_hook_is_given_each_image_and_its_metadata(world: World) -> None:
    def halved(pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
        pixels //= 2  # type: ignore[misc] # in place, as hooks may
        return None if metadata.member == 1 else np.moveaxis(pixels, 2, 0)

    plain, hooked = world.raw.add(pictures(3)), world.raw.add(pictures(3), version="0000000b")
    handle_archive_created(plain.blob, world.process())
    handle_archive_created(hooked.blob, world.process(hook=halved))
    assert world.sums(hooked).skipped == {"by the hook": 1}
    for before, after in zip([0, 2], [0, 1], strict=True):
        expected = np.moveaxis(world.results.of(plain)[before].pixels.astype(int) // 2, 2, 0)
        np.testing.assert_array_equal(world.results.of(hooked)[after].pixels, expected)


def fails(pixels: Pixels, metadata: ImageMetadata) -> Pixels:
    if metadata.member == 1:
        raise ZeroDivisionError("in the hook")
    return pixels


def lacks_memory(pixels: Pixels, metadata: ImageMetadata) -> Pixels:
    if metadata.member == 1:
        raise MemoryError
    return pixels


def gives_a_list(pixels: Pixels, metadata: ImageMetadata) -> Any:
    return [1, 2] if metadata.member == 1 else pixels


def gives_objects(pixels: Pixels, metadata: ImageMetadata) -> Any:
    return np.array([object()]) if metadata.member == 1 else pixels


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (fails, "ZeroDivisionError"),
        (lacks_memory, "MemoryError"),
        (gives_a_list, "MemberRefusedError"),
        (gives_objects, "MemberRefusedError"),
    ],
)
def test_a_hook_that_fails_costs_its_own_member_alone(world: World, hook: Hook, error: str) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(hook=hook))
    refusals = world.results.refusals(archive)
    assert {member: refusal.error for member, refusal in refusals.items()} == {1: error}
    assert refusals[1].reason
    assert len(world.results.of(archive)) == 2


def calls_another(pixels: Pixels, _: ImageMetadata) -> Pixels:
    return np.zeros(3).reshape(4 * pixels.ndim)


@pytest.mark.parametrize("hook", [fails, calls_another])
def test_what_a_hook_raises_is_told_as_its_own_with_its_file_and_line(world: World, hook: Hook) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(hook=hook))
    reason = world.results.refusals(archive)[1].reason
    lines, first = inspect.getsourcelines(hook)
    line = first + next(number for number, text in enumerate(lines) if "raise" in text or "return np" in text)
    assert reason.startswith(f"PREPROCESS_HOOK (tests/unit/preprocess/test_handlers.py:{line}) failed: ")
    assert "\n" not in reason


def test_a_hook_that_gives_what_it_must_not_is_named_with_its_place(world: World) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(hook=gives_a_list))
    line = inspect.getsourcelines(gives_a_list)[1]
    assert world.results.refusals(archive)[1].reason == (
        f"PREPROCESS_HOOK (tests/unit/preprocess/test_handlers.py:{line}) returned list: "
        "it must return an array or None"
    )


# Whole archives that are refused


def test_an_archive_whose_every_image_was_refused_quotes_the_commonest_reason(world: World) -> None:
    def hook(_: Pixels, metadata: ImageMetadata) -> Pixels:
        if metadata.member == 0:
            raise KeyError("seldom")
        raise ZeroDivisionError("often")

    archive = world.raw.add(pictures(5))
    handle_archive_created(archive.blob, world.process(hook=hook, sizes=BatchSizes(members=2)))
    assert world.ledger.end(archive) == "refused"
    reason = world.reason(archive)
    assert reason.startswith("none of its 5 members gave an image (5 .jpg): PREPROCESS_HOOK (")
    assert reason.endswith("failed: ZeroDivisionError: often")


def test_what_is_no_zip_is_settled_as_refused(world: World) -> None:
    archive = world.raw.add(b"no zip at all")
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.TERMINAL
    assert world.ledger.end(archive) == "refused"
    assert "zip" in world.reason(archive)
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.KNOWN


def truncated(world: World, content: bytes) -> RawArchive:
    """An archive that copying marked as truncated, because it had no zip directory at its end for STABLE_FOR_MAX."""
    archive = world.raw.add(content)
    world.raw.blobs[archive.blob] = (replace(archive, complete=False), content)
    return archive


@pytest.mark.parametrize("behind", [b"", bytes(200_000), b"\n" * 2**20])
def test_an_archive_that_looked_truncated_is_tried(world: World, behind: bytes) -> None:
    archive = truncated(world, pictures(2) + behind)
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.DONE
    assert world.ledger.end(archive) == "processed"
    assert world.sums(archive).images == 2


def test_an_archive_that_is_truncated_ends_as_refused_for_what_it_is(world: World) -> None:
    archive = truncated(world, pictures(2)[:-30])
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.TERMINAL
    assert world.ledger.end(archive) == "refused"
    assert world.reason(archive).startswith("zip central directory missing or truncated")


def test_a_zip_whose_writer_died_is_refused_and_never_processed_without_an_image(world: World) -> None:
    content = pictures(2)
    directory = content.index(b"PK\1\2")
    archive = world.raw.add(content[:directory] + b"PK\5\6" + bytes(18))
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.TERMINAL
    assert world.ledger.end(archive) == "refused"
    assert f"is empty, but {directory} bytes lie before it" in world.reason(archive)


def test_names_in_a_code_page_cost_no_image_and_are_decoded_by_the_sources_encoding(world: World) -> None:
    name = "天気図表.jpg"
    settings: Mapping[str, Mapping[str, str]] = {"00000001": {}, "00000002": {"radar": "cp932"}}
    for version, encodings in settings.items():
        archive = world.raw.add(by_hand(jpeg(1), jpeg(1), 0, name.encode("cp932")), version=version)
        handle_archive_created(archive.blob, world.process(member_encodings=encodings))
        sums = world.sums(archive)
        assert (sums.images, sums.skipped) == (1, {})
        (image,) = world.results.of(archive)
        assert (image.metadata.name == name) is bool(encodings)


PLAIN = by_hand(jpeg(1), jpeg(1), 0, b"a.jpg")


@pytest.mark.parametrize(
    "content",
    [
        by_hand(jpeg(1), jpeg(1), 0, b"last-PK\6\7" + b"A" * 16),
        by_hand(UnmarkedLzma().encode(jpeg(1)), jpeg(1), 14, b"a.jpg"),
        by_hand(zstd.compress(jpeg(1)), jpeg(1), 93, b"a.jpg"),
        by_hand(lzma.compress(jpeg(1)), jpeg(1), 95, b"a.jpg"),
        PLAIN[:-22] + b"between" + PLAIN[-22:],
        PLAIN + bytes(70_000),
    ],
    ids=["a name like zip64", "unmarked LZMA", "Zstandard", "XZ", "bytes before the end", "zeros behind the end"],
)
def test_zips_of_other_writers_become_images(world: World, content: bytes) -> None:
    archive = world.raw.add(content)
    handle_archive_created(archive.blob, world.process())
    assert world.ledger.end(archive) == "processed"
    assert world.sums(archive).images == 1


def test_a_black_picture_is_no_bomb(world: World) -> None:
    black = encoded(np.zeros((2_000, 2_000, 3), np.uint8), "BMP")
    archive = world.raw.add(zipped(("dry.bmp", black), method=zipfile.ZIP_DEFLATED))
    handle_archive_created(archive.blob, world.process())
    assert world.sums(archive).images == 1


def test_a_symbolic_link_is_refused_as_one_and_costs_no_other_member(world: World) -> None:
    link = zipfile.ZipInfo("latest.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(link, "a.jpg")
        file.writestr("a.jpg", jpeg(1))
    archive = world.raw.add(out.getvalue())
    handle_archive_created(archive.blob, world.process())
    assert (world.sums(archive).images, world.sums(archive).refused) == (1, 1)
    assert "is a symbolic link" in world.results.refusals(archive)[0].reason


def test_an_archive_limit_is_named_in_the_reason(world: World) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(limits=Limits(archive_members=2)))
    assert "LIMIT_ARCHIVE_MEMBERS" in world.reason(archive)


def test_a_missing_permission_settles_nothing_and_heals_once_it_is_given(world: World) -> None:
    archive = world.raw.add(pictures(1))
    ctx = world.process()
    world.results.fail_next = StoreRefusedError("write: no permission")
    with pytest.raises(StoreRefusedError):
        handle_archive_created(archive.blob, ctx)
    assert world.ledger.end(archive) is None
    world.now += ctx.redrive_after
    reconcile(["radar"], ctx, world.now, WINDOW)
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_an_archive_that_is_replaced_between_plan_and_batch_is_refused(world: World) -> None:
    archive = world.raw.add(pictures(2))
    ctx = world.process(sizes=ONE_EACH)
    handle_archive_created(archive.blob, ctx)
    world.raw.add(pictures(1))
    world.work(ctx)
    assert world.ledger.end(archive) == "refused"


def test_a_blob_that_is_gone_is_nothing_to_do(world: World) -> None:
    assert handle_archive_created("radar/gone.zip", world.process()) is HandlerOutcome.GONE
    assert handle_batch_message(Request(blob="radar/gone.zip"), world.process()) is HandlerOutcome.GONE


# Transient errors


def test_a_batch_that_fails_for_now_goes_to_the_queue(world: World) -> None:
    archive = world.raw.add(pictures(2))
    world.results.fail_next = StoreUnavailableError("write")
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.DEFERRED
    assert world.queue.messages == [Request(blob=archive.blob, pipeline="p-test", batch=0)]
    # Another process need not wait for the claim of the one that failed.
    assert world.work(world.process()) == [HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"


class Unreachable(MemoryRawArchives):
    """A raw container whose archives cannot be read at the moment."""

    def open(self, archive: RawArchive) -> RangeReader:
        raise StoreUnavailableError(f"open {archive.blob}")


def test_after_a_batch_that_fails_for_now_the_rest_is_queued_too(world: World) -> None:
    archive = world.raw.add(pictures(3))
    ctx = world.process(sizes=BatchSizes(members=1))
    world.results.fail_next = StoreUnavailableError("write")
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DEFERRED
    assert [message.batch for message in world.queue.messages] == [0, 1, 2]
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_planning_that_fails_for_now_goes_to_the_queue(world: World) -> None:
    raw = Unreachable()
    archive = raw.add(pictures(2))
    assert handle_archive_created(archive.blob, world.process(raw=raw)) is HandlerOutcome.DEFERRED
    assert world.queue.messages == [Request(blob=archive.blob)]
    raw_again = MemoryRawArchives()
    raw_again.blobs = raw.blobs
    assert world.work(world.process(raw=raw_again)) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"


def test_only_when_the_queue_fails_too_an_event_is_raised_back(world: World) -> None:
    archive = world.raw.add(pictures(2))
    world.results.fail_next = StoreUnavailableError("write")
    world.queue.fail_next = StoreUnavailableError("put")
    with pytest.raises(StoreUnavailableError):
        handle_archive_created(archive.blob, world.process())


def test_a_message_that_fails_for_now_is_raised_back_with_its_reason_noted(world: World) -> None:
    archive = world.raw.add(pictures(2))
    ctx = world.process(sizes=ONE_EACH)
    handle_archive_created(archive.blob, ctx)
    world.results.fail_next = StoreUnavailableError("write: busy")
    with pytest.raises(StoreUnavailableError):
        handle_batch_message(world.queue.messages[0], ctx)
    states = world.ledger.plan(archive, "p-test")
    assert states is not None
    assert states[0].error == "StoreUnavailableError: write: busy"
    assert handle_batch_message(world.queue.messages[0], world.process()) is HandlerOutcome.DONE


def test_an_error_of_storage_while_a_member_is_added_is_no_refusal(world: World) -> None:
    archive = world.raw.add(pictures(2))

    def unreachable(_: Pixels, __: ImageMetadata) -> Pixels:
        raise StoreUnavailableError("from within a member")

    assert handle_archive_created(archive.blob, world.process(hook=unreachable)) is HandlerOutcome.DEFERRED
    assert world.results.published == {}


# Written exactly once


def test_events_that_come_twice_change_nothing(world: World) -> None:
    archive = world.raw.add(pictures(3))
    ctx = world.process()
    handle_archive_created(archive.blob, ctx)
    before, writes = world.left_behind(), world.results.writes
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.KNOWN
    assert handle_batch_message(Request(blob=archive.blob), ctx) is HandlerOutcome.KNOWN
    assert handle_batch_message(Request(blob=archive.blob, pipeline="p-test", batch=0), ctx) is HandlerOutcome.DONE
    assert (world.left_behind(), world.results.writes) == (before, writes)


def test_messages_in_any_order_and_number_leave_the_same() -> None:
    def run(seed: int) -> tuple[object, Counts]:
        fresh = World()
        archive = fresh.raw.add(pictures(6))
        ctx = fresh.process(sizes=BatchSizes(members=2))
        handle_archive_created(archive.blob, ctx)
        fresh.queue.messages *= 3
        random.Random(seed).shuffle(fresh.queue.messages)
        fresh.work(ctx)
        assert fresh.ledger.end(archive) == "processed"
        return fresh.left_behind(), fresh.sums(archive)

    assert all(first == second for first, second in pairwise([run(seed) for seed in range(4)]))


def test_two_workers_on_one_archive_leave_what_one_leaves() -> None:
    def run(workers: int) -> tuple[object, Counts]:
        world = World()
        archive = world.raw.add(pictures(6))
        # Claims that expire at once, so that all workers really do the same work.
        processes = [world.process(sizes=BatchSizes(members=2), claim_for=timedelta(0)) for n in range(workers)]
        handle_archive_created(archive.blob, processes[0])
        states = world.ledger.plan(archive, "p-test") or ()
        start = threading.Barrier(workers)

        def work(ctx: Context) -> None:
            start.wait()
            for state in states:
                run_batch(state.batch, ctx)

        threads = [threading.Thread(target=work, args=(ctx,)) for ctx in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert world.ledger.end(archive) == "processed"
        return world.left_behind(), world.sums(archive)

    assert run(1) == run(3)


def test_a_batch_that_another_holds_is_left_to_it(world: World) -> None:
    archive = world.raw.add(pictures(2))
    ctx = world.process(sizes=ONE_EACH)
    handle_archive_created(archive.blob, ctx)
    (first, _) = world.ledger.plan(archive, "p-test") or ()
    world.ledger.claim(first.batch, "second", ClaimKind.RUNNING, world.now, world.now + timedelta(seconds=30))
    assert run_batch(first.batch, ctx) is None
    world.now += timedelta(seconds=31)
    assert run_batch(first.batch, ctx) is not None, "a holder that died holds nobody up for long"


def test_a_claim_is_renewed_while_a_single_member_is_worked_on(world: World) -> None:
    claims: list[str] = []
    renewed = threading.Event()
    waited: list[bool] = []

    class Noting(MemoryBatchLedger):
        def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
            claims.append(threading.current_thread().name)
            if len(claims) == 4:
                renewed.set()
            return super().claim(batch, owner, kind, at, until)

    def slow(pixels: Pixels, _: ImageMetadata) -> Pixels:
        waited.append(renewed.wait(30))
        return pixels

    archive = world.raw.add(pictures(1))
    ctx = world.process(hook=slow, ledger=Noting(), claim_for=timedelta(milliseconds=20))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DONE
    assert waited == [True]
    for thread in renewals():
        thread.join(30)
    assert renewals() == [], "nothing is renewed for ever behind the end"


def renewals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "claim"]


class Hanging(MemoryBatchLedger):
    """Renewals hang for a while, until a test releases them, or until a batch is released."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked, self.answer = threading.Event(), threading.Event()
        self.calls: list[str] = []

    def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
        if threading.current_thread().name == "claim":
            self.asked.set()
            self.answer.wait(self.seconds)
            self.calls.append("renewed")
        return super().claim(batch, owner, kind, at, until)

    def release(self, batch: Batch, owner: str, at: datetime, error: str | None) -> None:
        self.calls.append("let go")
        self.answer.set()
        super().release(batch, owner, at, error)

    def finish(self, batch: Batch, counts: Counts, at: datetime, notes: Notes = NO_NOTES) -> None:
        super().finish(batch, counts, at, notes)
        self.calls.append("finished")


def test_a_renewal_that_hangs_holds_up_no_batch_that_is_done(world: World) -> None:
    ledger = Hanging(30)

    def slow(pixels: Pixels, _: ImageMetadata) -> Pixels:
        assert ledger.asked.wait(30)
        return pixels

    archive = world.raw.add(pictures(1))
    ctx = world.process(hook=slow, ledger=ledger, claim_for=timedelta(milliseconds=20))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DONE
    assert ledger.calls == ["finished"]
    ledger.answer.set()
    for thread in renewals():
        thread.join(30)
    assert (ledger.calls, ledger.end(archive)) == (["finished", "renewed"], "processed")


def test_a_renewal_that_is_late_does_not_take_back_what_was_let_go(world: World) -> None:
    ledger = Hanging(0.2)

    def fails(_: Pixels, __: ImageMetadata) -> Pixels:
        assert ledger.asked.wait(30)
        raise StoreUnavailableError("storage is away")

    archive = world.raw.add(pictures(1))
    ctx = world.process(hook=fails, ledger=ledger, claim_for=timedelta(milliseconds=20))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DEFERRED
    assert ("renewed" in ledger.calls, ledger.calls[-1]) == (True, "let go")


def test_a_claim_that_is_anothers_by_now_is_not_taken_back(world: World) -> None:
    lost = threading.Event()
    waited: list[bool] = []

    class Lost(MemoryBatchLedger):
        def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
            if threading.current_thread().name != "claim":
                return super().claim(batch, owner, kind, at, until)
            assert not lost.is_set(), "it is asked for once"
            lost.set()
            return None

    def slow(pixels: Pixels, _: ImageMetadata) -> Pixels:
        waited.append(lost.wait(30))
        # Time for several renewals.
        time.sleep(0.1)
        return pixels

    archive = world.raw.add(pictures(1))
    ctx = world.process(hook=slow, ledger=Lost(), claim_for=timedelta(milliseconds=20))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DONE
    assert waited == [True]
    assert world.results.of(archive) == [], "it is the other's to publish"


def test_messages_of_another_pipeline_are_dropped(world: World) -> None:
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, world.process(sizes=ONE_EACH))
    assert world.work(world.process(pipeline="p-next")) == [HandlerOutcome.DROPPED] * 2
    assert world.results.published == {}


def test_another_pipeline_makes_its_own_results(world: World) -> None:
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, world.process())
    handle_archive_created(archive.blob, world.process(pipeline="p-next", recipe=Recipe(width=4, height=4)))
    assert [image.pixels.shape for image in world.results.of(archive)] == [(6, 8, 3)] * 2
    assert [image.pixels.shape for image in world.results.of(archive, "p-next")] == [(4, 4, 3)] * 2


def test_a_directory_is_read_once_where_it_was_found(world: World) -> None:
    opened: list[MemoryReader] = []

    class Counting(MemoryRawArchives):
        def open(self, archive: RawArchive) -> RangeReader:
            opened.append(MemoryReader(self.blobs[archive.blob][1]))
            return opened[-1]

    raw = Counting()
    handle_archive_created(raw.add(pictures(3)).blob, world.process(raw=raw))
    assert len(opened) == len(opened[0].requests) == 1


# Reconcile


def test_nothing_is_driven_while_all_is_well(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    done, waiting = world.raw.add(pictures(1)), world.raw.add(pictures(2), version="0000000b")
    handle_archive_created(done.blob, world.process())
    handle_archive_created(waiting.blob, ctx)
    world.queue.messages.clear()
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome()
    assert world.queue.messages == []


def test_an_archive_whose_event_was_lost_is_planned(world: World) -> None:
    archive = world.raw.add(pictures(2))
    ctx = world.process()
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(), "its event may be on its way"
    world.now += timedelta(minutes=15)
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(asked=1)
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"
    assert world.ledger.archives[archive.key].raw_at == STAMP
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome()


def test_an_archive_that_is_known_and_unplanned_is_planned(world: World) -> None:
    archive = world.raw.add(pictures(2))
    world.ledger.record_raw(archive, STAMP)
    assert reconcile(["radar"], world.process(), world.now + timedelta(minutes=15), WINDOW) == ReconcileOutcome(asked=1)
    assert world.queue.messages == [Request(blob=archive.blob)]


def test_a_new_pipeline_takes_the_archives_of_the_window_newest_first(world: World) -> None:
    for hour in range(5):
        handle_archive_created(world.raw.add(pictures(1), stamp=STAMP - timedelta(hours=hour)).blob, world.process())
    later = world.now + timedelta(minutes=15)
    assert reconcile(["radar"], world.process(pipeline="p-next"), later, timedelta(hours=3)) == ReconcileOutcome(
        asked=3
    )
    blobs = [message.blob for message in world.queue.messages]
    assert blobs == sorted(blobs, reverse=True)


def test_while_the_queue_stands_requests_do_not_pile_up_and_none_is_forgotten(world: World) -> None:
    archives = [world.raw.add(pictures(1), stamp=STAMP - timedelta(minutes=n)) for n in range(90)]
    ctx = world.process()
    for minutes in range(15, 24 * 60, 5):
        reconcile(["radar"], ctx, world.now + timedelta(minutes=minutes), WINDOW)
    assert len(archives) <= world.queue.waiting() <= 1_100
    # It moves again, but some of its messages are lost.
    world.queue.messages = world.queue.messages[:10]
    world.work(ctx)
    assert reconcile(["radar"], ctx, world.now + timedelta(days=1), WINDOW) == ReconcileOutcome(asked=80)
    world.work(ctx)
    assert {world.ledger.end(archive) for archive in archives} == {"processed"}


def planned_and_lost(world: World, ctx: Context) -> RawArchive:
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    world.queue.messages.clear()
    return archive


def test_batches_that_nobody_drives_are_driven_again(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned_and_lost(world, ctx)
    world.now += timedelta(minutes=15)
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(redriven=2)
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(), "it is postponed before it is queued"
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_done_batches_are_not_driven_again(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, ctx)
    handle_batch_message(world.queue.messages[1], ctx)
    world.queue.messages.clear()
    reconcile(["radar"], ctx, world.now + timedelta(minutes=15), WINDOW)
    assert [message.batch for message in world.queue.messages] == [0, 2]


def test_tries_are_further_and_further_apart_and_end_as_failed(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=3)
    archive = planned_and_lost(world, ctx)
    start = world.now
    redriven: list[float] = []
    for minute in range(0, 300, 5):
        now = start + timedelta(minutes=minute)
        world.fail_over(archive)
        if reconcile(["radar"], ctx, now, WINDOW).redriven:
            redriven.append(minute)
        world.queue.messages.clear()
    assert redriven == [15, 45, 105]
    assert world.ledger.end(archive) == "failed"
    assert "failed 3 more times: the disk is full" in world.reason(archive)


def test_an_archive_that_waits_in_a_queue_for_days_is_not_failed_and_spends_no_try(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=1)
    archive = planned_and_lost(world, ctx)
    for hour in range(1, 60):
        assert reconcile(["radar"], ctx, world.now + timedelta(hours=hour), WINDOW) == ReconcileOutcome(redriven=2)
    assert {state.attempts for state in world.ledger.plan(archive, ctx.pipeline) or ()} == {0}
    world.now += timedelta(hours=60)
    assert world.work(ctx)[:2] == [HandlerOutcome.DONE] * 2
    assert world.ledger.end(archive) == "processed"


def test_the_last_try_counts_only_once_it_has_failed(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=1)
    archive = planned_and_lost(world, ctx)
    world.fail_over(archive)
    assert reconcile(["radar"], ctx, world.now + timedelta(hours=1), WINDOW) == ReconcileOutcome(redriven=2)
    assert reconcile(["radar"], ctx, world.now + timedelta(hours=2), WINDOW) == ReconcileOutcome(redriven=2)
    world.fail_over(archive)
    assert reconcile(["radar"], ctx, world.now + timedelta(hours=3), WINDOW) == ReconcileOutcome(failed=1)


def test_the_last_error_is_the_reason_of_a_failure(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=0)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    world.results.fail_next = StoreUnavailableError("write: busy")
    with pytest.raises(StoreUnavailableError):
        handle_batch_message(world.queue.messages[0], ctx)
    assert reconcile(["radar"], ctx, world.now + timedelta(minutes=15), WINDOW) == ReconcileOutcome(failed=1)
    assert "StoreUnavailableError: write: busy" in world.reason(archive)


def test_an_end_that_was_lost_is_written_again(world: World) -> None:
    """The last worker died between its batch's row and the archive's."""
    ctx = world.process()
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    sums = world.sums(archive)
    row = world.ledger.pipelines[archive.key, "p-test"]
    row.ends.clear()
    row.sums = None
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(finished=1)
    assert (world.ledger.end(archive), world.sums(archive)) == ("processed", sums)


def test_two_reconcilers_at_once_drive_each_batch_once(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned_and_lost(world, ctx)
    (first, _) = world.ledger.plan(archive, "p-test") or ()
    later = world.now + timedelta(minutes=15)
    assert world.ledger.schedule_redrive(first, later, later + timedelta(minutes=30)), "the other one was faster"
    assert reconcile(["radar"], ctx, later, WINDOW) == ReconcileOutcome(redriven=1)


def test_a_source_that_fails_for_now_does_not_hold_up_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class HalfDown(MemoryBatchLedger):
        def list_unfinished(self, source: str, pipeline: str, since: datetime) -> Any:
            if source == "down":
                raise StoreUnavailableError("scan")
            return super().list_unfinished(source, pipeline, since)

    world.raw.add(pictures(1))
    ctx = world.process(ledger=HalfDown())
    later = world.now + timedelta(minutes=15)
    assert reconcile(["down", "radar"], ctx, later, WINDOW) == ReconcileOutcome(asked=1)
    assert "reconcile.deferred source=down" in caplog.text


# Blobs in the archive tier


def test_what_is_in_the_archive_tier_is_left_as_it_is(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(2))
    content = world.raw.blobs[archive.blob][1]
    world.raw.blobs[archive.blob] = replace(archive, offline=True), content
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.OFFLINE
    world.queue.put(archive.blob, None)
    assert world.work(ctx) == [HandlerOutcome.OFFLINE]
    assert world.ledger.end(archive) is None
    world.raw.blobs[archive.blob] = archive, content
    handle_archive_created(archive.blob, ctx)
    assert world.work(ctx) == [HandlerOutcome.DONE, HandlerOutcome.DONE]


def test_an_archive_does_not_fail_while_nobody_could_read_it(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned_and_lost(world, ctx)
    content = world.raw.blobs[archive.blob][1]
    world.raw.blobs[archive.blob] = replace(archive, offline=True), content
    for day in range(10):
        world.fail_over(archive)
        reconcile(["radar"], ctx, world.now + timedelta(days=day), timedelta(days=30))
    assert set(world.work(ctx)) == {HandlerOutcome.OFFLINE}
    assert world.ledger.end(archive) is None
    world.raw.blobs[archive.blob] = archive, content
    assert reconcile(["radar"], ctx, world.now + timedelta(days=11), timedelta(days=30)) == ReconcileOutcome(failed=1)


# Archives that are not complete yet


def states_of(world: World, archive: RawArchive) -> Sequence[BatchState]:
    return world.ledger.plan(archive, "p-test") or ()


def test_a_copy_that_takes_days_spends_no_tries_and_fails_nothing(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned_and_lost(world, ctx)
    content = world.raw.blobs[archive.blob][1]
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    world.queue.put(archive.blob, states_of(world, archive)[0].batch)
    for _ in range(14 * 24):
        world.now += timedelta(hours=1)
        assert reconcile(["radar"], ctx, world.now, timedelta(days=30)) == ReconcileOutcome()
        assert world.work(ctx) == [HandlerOutcome.PENDING], "messages would gather"
        world.queue.show()
    assert {state.attempts for state in states_of(world, archive)} == {0}
    world.raw.blobs[archive.blob] = archive, content
    assert world.work(ctx) == [HandlerOutcome.DONE]
    assert reconcile(["radar"], ctx, world.now, timedelta(days=30)) == ReconcileOutcome(redriven=1)
    assert world.work(ctx) == [HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"


def test_an_archive_with_spent_tries_does_not_fail_while_it_is_copied_back(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=0)
    archive = planned_and_lost(world, ctx)
    content = world.raw.blobs[archive.blob][1]
    world.fail_over(archive)
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    later = world.now + timedelta(hours=1)
    assert reconcile(["radar"], ctx, later, WINDOW) == ReconcileOutcome()
    world.raw.blobs[archive.blob] = archive, content
    assert reconcile(["radar"], ctx, later, WINDOW) == ReconcileOutcome(failed=1)


def test_reconcile_does_not_ask_again_for_what_waits_for_its_copy(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    world.ledger.record_raw(archive, STAMP)
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    later = world.now + timedelta(minutes=15)
    assert reconcile(["radar"], ctx, later, WINDOW) == ReconcileOutcome()
    assert (world.queue.messages, world.queue.hidden) == ([], [])


@pytest.mark.parametrize(
    ("waited", "pause"),
    [
        (timedelta(), timedelta(seconds=5)),
        (timedelta(minutes=2), timedelta(seconds=30)),
        (timedelta(hours=15), timedelta(minutes=5)),
        (-timedelta(days=1), timedelta(seconds=5)),
    ],
)
def test_the_longer_a_copy_takes_the_longer_are_the_pauses(world: World, waited: timedelta, pause: timedelta) -> None:
    archive = world.raw.add(pictures(1))
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    world.now = STAMP + waited
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.PENDING
    assert world.queue.hidden == [(Request(blob=archive.blob), pause)]


def test_an_archive_that_is_copied_out_of_the_archive_tier_is_waited_for(world: World) -> None:
    archive = world.raw.add(pictures(1))
    world.raw.blobs[archive.blob] = replace(archive, pending=True, offline=True), b""
    assert handle_archive_created(archive.blob, world.process()) is HandlerOutcome.PENDING


@pytest.mark.parametrize("content", [b"", b"PK", pictures(2)[:-20], bytes(10_000)])
def test_a_zip_put_there_by_hand_that_cannot_be_read_is_refused_when_it_has_settled(
    world: World, content: bytes
) -> None:
    archive = world.raw.add(content)
    world.raw.blobs[archive.blob] = replace(archive, origin=Origin.MANUAL), content
    looks = 0
    while (taken := handle_archive_created(archive.blob, world.process())) is HandlerOutcome.PENDING:
        assert world.ledger.archives == {}
        ((_, pause),) = world.queue.hidden
        world.queue.hidden.clear()
        world.now += pause
        looks += 1
    assert taken is HandlerOutcome.TERMINAL
    assert world.ledger.end(archive) == "refused"
    assert timedelta(minutes=5) <= world.now - STAMP < timedelta(minutes=7)
    assert 1 < looks < 30
