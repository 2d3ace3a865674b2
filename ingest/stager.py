"""Divide a file into blocks, and hash and stage them in a few threads with a few buffers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from ingest.crc64 import crc64
from ingest.model import Block, Span
from ingest.ports import Upload

BUFFERS = 4
"""Buffers of one copy: one is filled while the others are hashed and staged, or requested from the server."""
_GRID = 256 * 2**10
MAX_BLOCKS = 30_000
"""Most blocks of a file. The service allows 100,000 uncommitted ones, so that those of three generations fit."""
LARGEST = MAX_BLOCKS * 256 * 2**20
"""Most bytes of a file that can be copied. Beyond that, the buffers for its blocks would take more than 1 GiB."""


def plan_blocks(size: int, wanted: int) -> Sequence[Span]:
    """Return blocks of `wanted` bytes, or larger ones if they would be too many. The same for each try."""
    length = max(wanted, -(-size // MAX_BLOCKS))
    length = -(-length // _GRID) * _GRID
    return [Span(offset, min(length, size - offset)) for offset in range(0, size, length)]


def runs(blocks: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Yield groups of adjacent blocks; each group is read in one go."""
    run: list[Span] = []
    for block in blocks:
        if run and run[-1].offset + run[-1].length != block.offset:
            yield run
            run = []
        run.append(block)
    if run:
        yield run


class Stager:
    """Hashes and stages blocks in its own threads. A buffer is free again once both are done."""

    def __init__(
        self,
        upload: Upload,
        generation: str,
        length: int,
        update: Callable[[memoryview], None],
        started: Callable[[], None],
    ) -> None:
        """Prepare buffers of `length` bytes. Call `update` on blocks in order, `started` once the first is staged."""
        self._upload = upload
        self._generation = generation
        self._length = length
        self._update = update
        self._started: Callable[[], None] | None = started
        self._pool = ThreadPoolExecutor(BUFFERS, thread_name_prefix="stage")
        # A single thread, because bytes are hashed in the order of the file.
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._unmade = BUFFERS
        self._free: list[memoryview] = []
        self._under_way: dict[Future[Block], memoryview] = {}
        self.staged: dict[Span, Block] = {}
        """Blocks that are hashed and staged."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Even after an error, stage the blocks that were read, so that they need not be read again.
        self._pool.shutdown(wait=True)
        self._hasher.shutdown(wait=True)

    @property
    def room(self) -> int:
        """Return the free buffer space in bytes. Raises the error of a block that failed."""
        self._collect([future for future in self._under_way if future.done()])
        return self._length * (self._unmade + len(self._free))

    def buffer(self) -> memoryview:
        """Wait for a free buffer and return it. Raises the error of a block that failed."""
        if not self.room:
            self._collect(wait(self._under_way, return_when=FIRST_COMPLETED).done)
        if self._free:
            return self._free.pop()
        self._unmade -= 1
        return memoryview(bytearray(self._length))

    def stage(self, span: Span, buffer: memoryview) -> None:
        """Start to hash and stage the start of a buffer that `buffer()` returned."""
        content = buffer[: span.length]
        hashed = self._hasher.submit(self._update, content)
        self._under_way[self._pool.submit(self._stage, span, content, hashed)] = buffer

    def finish(self) -> None:
        """Wait until every block is hashed and staged. Raises the error of a block that failed."""
        self._collect(wait(self._under_way).done)

    def _stage(self, span: Span, content: memoryview, hashed: Future[None]) -> Block:
        block = Block(span, self._generation, crc64(content))
        self._upload.stage(block, content)
        hashed.result()
        return block

    def _collect(self, done: Iterable[Future[Block]]) -> None:
        for future in done:
            self._free.append(self._under_way.pop(future))
            block = future.result()
            self.staged[block.span] = block
            if self._started:
                self._started()
                self._started = None
