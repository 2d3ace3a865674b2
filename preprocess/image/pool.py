"""Decodes members of a batch concurrently and yields them in member order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Protocol

from preprocess.image.decode import BYTES_A_PIXEL
from preprocess.image.formats import unpacked_name
from preprocess.image.maker import MemoryBudget, TooLargeError
from preprocess.model import Image, Limits
from preprocess.zip.directory import Member

_SHARE = 8
"""A member that is decoded beside others may take an eighth of what the limits allow for one. At most five are under
way, so they take less than one large member. While a member is decoded alone, only the others' results are in memory.
"""

type Read = Callable[[Member], BytesIO | None]
"""Returns an image's bytes, or None if the member is skipped. Called in member order."""
type Decode = Callable[[BytesIO, Member, MemoryBudget], Iterator[Image]]
type PendingMember = Callable[[], Iterable[Image] | None]
"""Returns a member's images, or None if it is skipped. Raises the member's error."""


class Decoder(Protocol):
    """Decodes a batch's members, in threads of this process or in a child process."""

    def each(self, members: Sequence[Member]) -> Generator[tuple[Member, PendingMember]]:
        """Yield the members in order. The caller must call each pending member before it requests the next."""


@dataclass(frozen=True, slots=True)
class DecodePool:
    """A Decoder that uses threads: several members at once, except large ones, which are decoded alone."""

    read: Read
    decode: Decode
    limits: Limits
    decode_workers: int

    def each(self, members: Sequence[Member]) -> Generator[tuple[Member, PendingMember]]:
        """Yield the members in order. The caller must call each pending member before it requests the next."""
        if self.decode_workers == 1:
            yield from ((member, partial(self._alone, member)) for member in members)
            return
        waiting: deque[tuple[Member, PendingMember]] = deque()
        with _DecodeWorkers(self) as workers:
            for member in members:
                # The size of a compressed file says nothing of what is in it.
                large = member.size > self.limits.member_bytes // _SHARE or unpacked_name(member.name) is not None
                while len(waiting) > (0 if large else self.decode_workers):
                    yield waiting.popleft()
                if large:
                    yield member, partial(self._alone, member)
                else:
                    waiting.append((member, workers.begin(member)))
            while waiting:
                yield waiting.popleft()

    def _alone(self, member: Member) -> Iterable[Image] | None:
        content = self.read(member)
        return None if content is None else self.decode(content, member, MemoryBudget())


class _DecodeWorkers:
    """Threads of a pool: one reads members in order, the others decode them."""

    def __init__(self, pool: DecodePool) -> None:
        self._pool = pool
        self._reading = ThreadPoolExecutor(1, "read")
        self._decoding = ThreadPoolExecutor(pool.decode_workers, "decode")
        self._under_way: list[Future[list[Image] | None]] = []

    def __enter__(self) -> "_DecodeWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for threads in (self._reading, self._decoding):
            threads.shutdown(wait=False, cancel_futures=True)
        for threads in (self._reading, self._decoding):
            threads.shutdown(wait=True)

    def begin(self, member: Member) -> PendingMember:
        # The context is copied, because it holds the trace and the batch's limit of log lines.
        content = self._reading.submit(copy_context().run, self._pool.read, member)
        images = self._decoding.submit(copy_context().run, self._decode, member, content)
        self._under_way = [*(future for future in self._under_way if not future.done()), images]
        return partial(self._images, member, content, images)

    def _decode(self, member: Member, content: Future[BytesIO | None]) -> list[Image] | None:
        """Decode a member. Return None if it is skipped, or takes too much memory to be decoded beside others."""
        inflated = content.result()
        memory = MemoryBudget(BYTES_A_PIXEL * self._pool.limits.pixels // _SHARE)
        try:
            return None if inflated is None else list(self._pool.decode(inflated, member, memory))
        except (TooLargeError, MemoryError):
            # The error is not kept, because its traceback would keep all decoded frames in memory.
            return None

    def _images(
        self, member: Member, content: Future[BytesIO | None], decoded: Future[list[Image] | None]
    ) -> Iterable[Image] | None:
        images, inflated = decoded.result(), content.result()
        if images is not None or inflated is None:
            return images
        # No further member begins during this call, so after the others have ended this one has all memory.
        wait(self._under_way)
        return self._pool.decode(inflated, member, MemoryBudget())
