"""Members of a batch, several of them decoded at once, and given one after the other as if they had been done so."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from io import BytesIO

from preprocess.image.decode import BYTES_A_PIXEL
from preprocess.image.maker import DecodedFrame, MemoryBudget, TooLargeError
from preprocess.model import Limits
from preprocess.zip.directory import Member

_SHARE = 8
"""What is done beside others may take no more than so small a part of what the limits allow for one member. Five are on
their way at most: together they take less than that one; beside one that is done alone their results are all there is.
"""

type Read = Callable[[Member], BytesIO | None]
"""Reads a member, given them in order; None if it is no image."""
type Decode = Callable[[BytesIO, Member, MemoryBudget], Iterator[DecodedFrame]]
type PendingMember = Callable[[], Iterable[DecodedFrame] | None]
"""Gives a member's frames, or raises what is wrong with it; None if it is no image."""


@dataclass(frozen=True, slots=True)
class DecodePool:
    """How members become frames: in so many lanes, but for large members, which are done alone."""

    read: Read
    decode: Decode
    limits: Limits
    lanes: int

    def each(self, members: Sequence[Member]) -> Generator[tuple[Member, PendingMember]]:
        """Give the members in order; whoever gets one takes its turn before asking for the next."""
        if self.lanes == 1:
            yield from ((member, partial(self._alone, member)) for member in members)
            return
        waiting: deque[tuple[Member, PendingMember]] = deque()
        with _DecodeWorkers(self) as lanes:
            for member in members:
                large = member.size > self.limits.member_bytes // _SHARE
                while len(waiting) > (0 if large else self.lanes):
                    yield waiting.popleft()
                if large:
                    yield member, partial(self._alone, member)
                else:
                    waiting.append((member, lanes.begin(member)))
            while waiting:
                yield waiting.popleft()

    def _alone(self, member: Member) -> Iterable[DecodedFrame] | None:
        content = self.read(member)
        return None if content is None else self.decode(content, member, MemoryBudget())


class _DecodeWorkers:
    """Threads: one reads members, in order, and others decode them."""

    def __init__(self, way: DecodePool) -> None:
        self._way = way
        self._reading = ThreadPoolExecutor(1, "read")
        self._decoding = ThreadPoolExecutor(way.lanes, "decode")
        self._under_way: list[Future[list[DecodedFrame] | None]] = []

    def __enter__(self) -> "_DecodeWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._reading, self._decoding):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self._reading, self._decoding):
            pool.shutdown(wait=True)

    def begin(self, member: Member) -> PendingMember:
        # The context goes along: traces, and who may write how many lines, hang on it.
        content = self._reading.submit(copy_context().run, self._way.read, member)
        made = self._decoding.submit(copy_context().run, self._decode, member, content)
        self._under_way = [*(future for future in self._under_way if not future.done()), made]
        return partial(self._turn, member, content, made)

    def _decode(self, member: Member, content: Future[BytesIO | None]) -> list[DecodedFrame] | None:
        """Decode a member; None if it is no image, or takes too much memory to be decoded beside others."""
        found = content.result()
        room = MemoryBudget(BYTES_A_PIXEL * self._way.limits.pixels // _SHARE)
        try:
            return None if found is None else list(self._way.decode(found, member, room))
        except (TooLargeError, MemoryError):
            # Not kept until the member's turn: the error would keep all that was decoded.
            return None

    def _turn(
        self, member: Member, content: Future[BytesIO | None], made: Future[list[DecodedFrame] | None]
    ) -> Iterable[DecodedFrame] | None:
        done, found = made.result(), content.result()
        if done is not None or found is None:
            return done
        # Nothing new begins before this member's turn is over: once the others have ended it has all memory.
        wait(self._under_way)
        return self._way.decode(found, member, MemoryBudget())
