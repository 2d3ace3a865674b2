"""Members are decoded several at once, and nobody can tell by the results."""

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
from preprocess.image.maker import DecodedFrame, MemoryBudget
from preprocess.image.pool import DecodePool
from preprocess.model import Limits
from preprocess.zip.directory import Member
from preprocess.zip.reader import Archive
from tests.fakes.preprocessing import STAMP, MemoryReader
from tests.unit.preprocess.zips import zipped

PATIENCE = 10
LANES = 3
where: ContextVar[str] = ContextVar("where", default="nowhere")


def members(*sizes: int) -> Sequence[Member]:
    """One member of each size."""
    content = zipped(*((f"{number}.jpg", b"x" * size) for number, size in enumerate(sizes)))
    return Archive(MemoryReader(content), Limits()).members


def frame(member: Member) -> DecodedFrame:
    metadata = ImageMetadata(
        source="s", archive="a.zip", stamp=STAMP, member=member.number, frame=0, name="n", format="JPEG",
        captured_at=None,
    )  # fmt: skip
    return DecodedFrame(metadata, np.zeros(1, np.uint8), (1, 1))


class Kitchen:
    """Reads and decodes as told, and remembers what was under way at once."""

    def __init__(self) -> None:
        self.read_so_far: list[int] = []
        self.decoding = 0
        self.most = 0
        self.alone: dict[int, int] = {}
        """How many were being decoded when a member had all room to itself."""
        self.lock = threading.Lock()

    def way(self, lanes: int = LANES, limits: Limits | None = None) -> DecodePool:
        return DecodePool(self.read, self.decode, limits or Limits(), lanes)

    def read(self, member: Member) -> io.BytesIO | None:
        self.read_so_far.append(member.number)
        return io.BytesIO(b"x")

    def decode(self, content: io.BytesIO, member: Member, room: MemoryBudget) -> Iterator[DecodedFrame]:
        with self.lock:
            self.decoding += 1
            self.most = max(self.most, self.decoding)
            self.alone[member.number] = self.decoding
        try:
            self.work(member, room)
            yield frame(member)
        finally:
            with self.lock:
                self.decoding -= 1

    def work(self, member: Member, room: MemoryBudget) -> None:
        """What decoding takes."""

    def served(self, way: DecodePool, these: Sequence[Member]) -> list[int]:
        """Take every turn; gives the members whose frames came, in the order in which they came."""
        return [made.metadata.member for _, turn in way.each(these) for made in turn() or ()]


@pytest.mark.parametrize("lanes", [1, 2, LANES])
def test_members_come_in_order_whatever_is_ready_first(lanes: int) -> None:
    class Uneven(Kitchen):
        def work(self, member: Member, room: MemoryBudget) -> None:
            # Each waits for the one behind it, as far as that has begun.
            if member.number % lanes == 0:
                last.wait(PATIENCE if lanes > 1 else 0)
            if member.number == lanes - 1:
                last.set()

    last = threading.Event()
    kitchen = Uneven()
    assert kitchen.served(kitchen.way(lanes), members(*[1] * 7)) == list(range(7))
    assert kitchen.read_so_far == list(range(7)), "they are read in order too"


def test_several_are_decoded_at_once() -> None:
    class Meeting(Kitchen):
        def work(self, member: Member, room: MemoryBudget) -> None:
            together.wait()

    together = threading.Barrier(LANES, timeout=PATIENCE)
    kitchen = Meeting()
    assert kitchen.served(kitchen.way(), members(*[1] * 2 * LANES)) == list(range(2 * LANES))
    assert kitchen.most == LANES


def test_few_are_on_their_way_whatever_the_number_of_members() -> None:
    kitchen = Kitchen()
    for taken, (_, turn) in enumerate(kitchen.way().each(members(*[1] * 40))):
        turn()
        assert len(kitchen.read_so_far) <= taken + 1 + LANES + 1


def test_what_takes_too_much_memory_beside_others_is_done_again_alone() -> None:
    class Hungry(Kitchen):
        def work(self, member: Member, room: MemoryBudget) -> None:
            # An eighth of what a frame at LIMIT_PIXELS takes is what there is beside others.
            room.take(12 * Limits().pixels // 8 + (member.number == 2))

    kitchen = Hungry()
    assert kitchen.served(kitchen.way(), members(*[1] * 6)) == list(range(6))
    assert kitchen.alone[2] == 1
    assert sorted(kitchen.read_so_far) == list(range(6)), "no member is read twice"


def test_what_was_too_much_is_not_kept_until_its_turn() -> None:
    class Block:
        """Memory that was taken."""

    class Hungry(Kitchen):
        def work(self, member: Member, room: MemoryBudget) -> None:
            there.append(sum(block() is not None for block in blocks))
            block = Block()
            blocks.append(weakref.ref(block))
            room.take(12 * Limits().pixels // 8 + 1)

    blocks: list[weakref.ref[Block]] = []
    there: list[int] = []
    kitchen = Hungry()
    assert kitchen.served(kitchen.way(2), members(*[1] * 4)) == list(range(4))
    assert max(there) <= 1, "what the other lane holds at that moment"


def test_where_memory_ends_beside_others_it_may_suffice_alone() -> None:
    class Failing(Kitchen):
        def work(self, member: Member, room: MemoryBudget) -> None:
            if member.number == 1 and member.number not in tried:
                tried.append(member.number)
                raise MemoryError

    tried: list[int] = []
    kitchen = Failing()
    assert kitchen.served(kitchen.way(), members(1, 1, 1)) == [0, 1, 2]
    assert kitchen.alone[1] == 1


def test_a_large_member_is_read_when_all_before_it_are_behind() -> None:
    kitchen = Kitchen()
    limits = Limits(member_bytes=800)
    seen: list[tuple[int, list[int]]] = []
    for member, turn in kitchen.way(limits=limits).each(members(100, 100, 101, 100, 100)):
        seen.append((member.number, list(kitchen.read_so_far)))
        turn()
    assert dict(seen)[2] == [0, 1], "it is not even read"
    assert kitchen.read_so_far == list(range(5))


@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("error", [MemberRefusedError("bad"), StoreUnavailableError("down"), RuntimeError("odd")])
def test_what_goes_wrong_is_told_in_the_members_own_turn(lanes: int, error: Exception) -> None:
    class Broken(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            if member.number == 1:
                raise error
            return super().read(member)

        def work(self, member: Member, room: MemoryBudget) -> None:
            if member.number == 3:
                raise error

    kitchen = Broken()
    came: list[object] = []
    for member, turn in kitchen.way(lanes).each(members(*[1] * 5)):
        try:
            came.append([made.metadata.member for made in turn() or ()])
        except type(error) as exc:
            came.append((member.number, str(exc)))
    assert came == [[0], (1, str(error)), [2], (3, str(error)), [4]]


def test_what_is_no_image_takes_its_turn_too() -> None:
    class Passing(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            return None if member.number == 1 else super().read(member)

    kitchen = Passing()
    assert [turn() is None for _, turn in kitchen.way().each(members(1, 1, 1))] == [False, True, False]


def test_the_callers_context_goes_along() -> None:
    class Asking(Kitchen):
        def read(self, member: Member) -> io.BytesIO | None:
            heard.append(where.get())
            return super().read(member)

        def work(self, member: Member, room: MemoryBudget) -> None:
            heard.append(where.get())

    heard: list[str] = []
    kitchen = Asking()
    token = where.set("here")
    try:
        kitchen.served(kitchen.way(), members(1, 1))
    finally:
        where.reset(token)
    assert heard == ["here"] * 4


def test_who_leaves_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    kitchen = Kitchen()
    turns = kitchen.way().each(members(*[1] * 20))
    next(turns)[1]()
    turns.close()
    assert threading.active_count() == before
    assert len(kitchen.read_so_far) <= LANES + 2


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 4), st.integers(8, 400))
def test_any_members_come_once_each_and_in_order(sizes: list[int], lanes: int, limit: int) -> None:
    kitchen = Kitchen()
    way = kitchen.way(lanes, Limits(member_bytes=limit))
    assert kitchen.served(way, members(*sizes)) == list(range(len(sizes)))
