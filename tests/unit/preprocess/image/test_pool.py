"""Members are decoded concurrently, with the same results as one after the other."""

import io
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefeed.errors import MemberRefusedError, StoreUnavailableError
from imagefeed.model import ImageMetadata
from preprocess.image.maker import MemoryBudget
from preprocess.image.pool import DecodePool
from preprocess.model import Image, Limits
from preprocess.zip.directory import Member
from preprocess.zip.reader import Archive
from tests.fakes.preprocessing import STAMP, MemoryReader
from tests.unit.preprocess.zips import zipped

PATIENCE = 10
WORKERS = 3
where: ContextVar[str] = ContextVar("where", default="nowhere")


def members(*sizes: int) -> Sequence[Member]:
    """One member of each size."""
    content = zipped(*((f"{number}.jpg", b"x" * size) for number, size in enumerate(sizes)))
    return Archive(MemoryReader(content), Limits()).members


def image_of(member: Member) -> Image:
    metadata = ImageMetadata(
        source="s", archive="a.zip", stamp=STAMP, member=member.number, frame=0, name="n", format="JPEG",
        captured_at=None,
    )  # fmt: skip
    return Image(metadata=metadata, pixels=np.zeros(1, np.uint8))


class Kitchen:
    """Reads and decodes as a test specifies, and records which members ran at the same time."""

    def __init__(self) -> None:
        self.read_so_far: list[int] = []
        self.decoding = 0
        self.at_once = 0
        self.alone: dict[int, int] = {}
        """How many members were decoded while one had all memory."""
        self.lock = threading.Lock()

    def pool(self, workers: int = WORKERS, limits: Limits | None = None) -> DecodePool:
        return DecodePool(self.read, self.decode, limits or Limits(), workers)

    def read(self, member: Member) -> io.BytesIO | None:
        self.read_so_far.append(member.number)
        return io.BytesIO(b"x")

    def decode(self, content: io.BytesIO, member: Member, memory: MemoryBudget) -> Iterator[Image]:
        with self.lock:
            self.decoding += 1
            self.at_once = max(self.at_once, self.decoding)
            self.alone[member.number] = self.decoding
        try:
            self.work(member, memory)
            yield image_of(member)
        finally:
            with self.lock:
                self.decoding -= 1

    def work(self, member: Member, memory: MemoryBudget) -> None:
        """The memory that decoding takes."""

    def served(self, pool: DecodePool, these: Sequence[Member]) -> list[int]:
        """Call every pending member; return the members whose images came, in the order in which they came."""
        return [image.metadata.member for _, pending in pool.each(these) for image in pending() or ()]


@pytest.mark.parametrize("workers", [1, 2, WORKERS])
def test_members_come_in_order_whatever_is_ready_first(workers: int) -> None:
    class Uneven(Kitchen):
        def work(self, member: Member, memory: MemoryBudget) -> None:
            # Each waits for the one behind it, as far as that has begun.
            if member.number % workers == 0:
                last.wait(PATIENCE if workers > 1 else 0)
            if member.number == workers - 1:
                last.set()

    last = threading.Event()
    kitchen = Uneven()
    assert kitchen.served(kitchen.pool(workers), members(*[1] * 7)) == list(range(7))
    assert kitchen.read_so_far == list(range(7)), "they are read in order too"


def test_several_are_decoded_at_once() -> None:
    class Meeting(Kitchen):
        def work(self, member: Member, memory: MemoryBudget) -> None:
            together.wait()

    together = threading.Barrier(WORKERS, timeout=PATIENCE)
    kitchen = Meeting()
    assert kitchen.served(kitchen.pool(), members(*[1] * 2 * WORKERS)) == list(range(2 * WORKERS))
    assert kitchen.at_once == WORKERS


def test_few_are_on_their_way_whatever_the_number_of_members() -> None:
    kitchen = Kitchen()
    for taken, (_, pending) in enumerate(kitchen.pool().each(members(*[1] * 40))):
        pending()
        assert len(kitchen.read_so_far) <= taken + 1 + WORKERS + 1


def test_what_takes_too_much_memory_beside_others_is_done_again_alone() -> None:
    class Hungry(Kitchen):
        def work(self, member: Member, memory: MemoryBudget) -> None:
            # Beside others a frame may take an eighth of the memory of a frame at LIMIT_PIXELS.
            memory.take(12 * Limits().pixels // 8 + (member.number == 2))

    kitchen = Hungry()
    assert kitchen.served(kitchen.pool(), members(*[1] * 6)) == list(range(6))
    assert kitchen.alone[2] == 1
    assert sorted(kitchen.read_so_far) == list(range(6)), "no member is read twice"


def test_what_was_too_much_is_not_kept_until_its_pending() -> None:
    class Block:
        """Memory that was taken."""

    class Hungry(Kitchen):
        def work(self, member: Member, memory: MemoryBudget) -> None:
            others.append(sum(block() is not None for block in blocks))
            block = Block()
            blocks.append(weakref.ref(block))
            memory.take(12 * Limits().pixels // 8 + 1)

    blocks: list[weakref.ref[Block]] = []
    others: list[int] = []
    kitchen = Hungry()
    assert kitchen.served(kitchen.pool(2), members(*[1] * 4)) == list(range(4))
    assert max(others) <= 1, "what the other worker holds at that moment"


def test_where_memory_ends_beside_others_it_may_suffice_alone() -> None:
    class Failing(Kitchen):
        def work(self, member: Member, memory: MemoryBudget) -> None:
            if member.number == 1 and member.number not in tried:
                tried.append(member.number)
                raise MemoryError

    tried: list[int] = []
    kitchen = Failing()
    assert kitchen.served(kitchen.pool(), members(1, 1, 1)) == [0, 1, 2]
    assert kitchen.alone[1] == 1


def test_a_large_member_is_read_when_all_before_it_are_behind() -> None:
    kitchen = Kitchen()
    limits = Limits(member_bytes=800)
    seen: list[tuple[int, list[int]]] = []
    for member, pending in kitchen.pool(limits=limits).each(members(100, 100, 101, 100, 100)):
        seen.append((member.number, list(kitchen.read_so_far)))
        pending()
    assert dict(seen)[2] == [0, 1], "it is not even read"
    assert kitchen.read_so_far == list(range(5))


@pytest.mark.parametrize("workers", [1, WORKERS])
@pytest.mark.parametrize("error", [MemberRefusedError("bad"), StoreUnavailableError("down"), RuntimeError("odd")])
def test_what_goes_wrong_is_told_in_the_members_own_turn(workers: int, error: Exception) -> None:
    class Broken(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            if member.number == 1:
                raise error
            return super().read(member)

        def work(self, member: Member, memory: MemoryBudget) -> None:
            if member.number == 3:
                raise error

    kitchen = Broken()
    came: list[object] = []
    for member, pending in kitchen.pool(workers).each(members(*[1] * 5)):
        try:
            came.append([image.metadata.member for image in pending() or ()])
        except type(error) as exc:
            came.append((member.number, str(exc)))
    assert came == [[0], (1, str(error)), [2], (3, str(error)), [4]]


def test_what_is_no_image_takes_its_turn_too() -> None:
    class Passing(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            return None if member.number == 1 else super().read(member)

    kitchen = Passing()
    assert [pending() is None for _, pending in kitchen.pool().each(members(1, 1, 1))] == [False, True, False]


def test_the_callers_context_goes_along() -> None:
    class Asking(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            heard.append(where.get())
            return super().read(member)

        def work(self, member: Member, memory: MemoryBudget) -> None:
            heard.append(where.get())

    heard: list[str] = []
    kitchen = Asking()
    token = where.set("here")
    try:
        kitchen.served(kitchen.pool(), members(1, 1))
    finally:
        where.reset(token)
    assert heard == ["here"] * 4


def test_who_leaves_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    kitchen = Kitchen()
    pending_members = kitchen.pool().each(members(*[1] * 20))
    next(pending_members)[1]()
    pending_members.close()
    assert threading.active_count() == before
    assert len(kitchen.read_so_far) <= WORKERS + 2


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 4), st.integers(8, 400))
def test_any_members_come_once_each_and_in_order(sizes: list[int], workers: int, limit: int) -> None:
    kitchen = Kitchen()
    pool = kitchen.pool(workers, Limits(member_bytes=limit))
    assert kitchen.served(pool, members(*sizes)) == list(range(len(sizes)))
