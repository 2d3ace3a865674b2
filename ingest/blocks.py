"""Blocks of a file: how it is divided, and how they are staged by a few threads out of a few buffers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from ingest.model import Span, Upload

_MIB = 2**20
_MOST_BLOCKS = 50_000
"""A blob has at most so many."""


def plan_blocks(size: int, wanted: int) -> Sequence[Span]:
    """Divide a file into blocks of `wanted` bytes, or more if they would be too many; always the same for a size."""
    length = max(wanted, -(-size // _MOST_BLOCKS))
    length = -(-length // _MIB) * _MIB
    return [Span(offset, min(length, size - offset)) for offset in range(0, size, length)]


def runs(blocks: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Group blocks that lie one behind the other: each run is one reading."""
    run: list[Span] = []
    for block in blocks:
        if run and run[-1].offset + run[-1].length != block.offset:
            yield run
            run = []
        run.append(block)
    if run:
        yield run


class Stager:
    """Stages blocks in threads of its own. There are never more buffers than threads, and one that is being filled."""

    def __init__(self, upload: Upload, size: int, started: Callable[[], None], *, threads: int = 4) -> None:
        """`size` of a buffer; `started` is called once the first block is staged."""
        self._upload = upload
        self._size = size
        self._started: Callable[[], None] | None = started
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stage")
        self._made = 0
        self._free: list[memoryview] = []
        self._under_way: dict[Future[None], memoryview] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever went wrong, blocks that were read are staged: they need not be read again.
        self._pool.shutdown(wait=True)

    def buffer(self) -> memoryview:
        """Give a free buffer, as soon as there is one. Raises what went wrong with a block."""
        self._collect([future for future in self._under_way if future.done()])
        if not self._free and self._made <= self._threads:
            self._made += 1
            return memoryview(bytearray(self._size))
        if not self._free:
            self._collect(wait(self._under_way, return_when=FIRST_COMPLETED).done)
        return self._free.pop()

    def stage(self, offset: int, buffer: memoryview, length: int) -> None:
        """Stage the first `length` bytes of a buffer that `buffer` gave; it is free again afterwards."""
        self._under_way[self._pool.submit(self._upload.stage, offset, buffer[:length])] = buffer

    def finish(self) -> None:
        """Wait until all is staged. Raises what went wrong with a block."""
        self._collect(wait(self._under_way).done)

    def _collect(self, done: "Sequence[Future[None]] | set[Future[None]]") -> None:
        for future in done:
            self._free.append(self._under_way.pop(future))
            future.result()
            if self._started:
                self._started()
                self._started = None
