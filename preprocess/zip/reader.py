"""Reads the members of a zip archive by ranges. The next block is read while the last one is decoded."""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.ports import RangeReader
from preprocess.zip.directory import BLOCK, Member, Tail, read_directory
from preprocess.zip.inflate import Budget, check_method, inflate
from preprocess.zip.packed import unpack

HEAD = 512
"""Bytes by which a member's kind is recognised. A tar, a DICOM file and data behind a text need that many."""
_CHUNK = 256 * 2**10
_HEADER = struct.Struct("<4s5H3L2H")

type Wanted = Callable[[bytes], bool]
"""Returns whether to read a member, given its first bytes: HEAD, or all of a shorter member."""


class Archive:
    """An archive whose directory has been read."""

    def __init__(self, reader: RangeReader, limits: Limits, encoding: str | None = None) -> None:
        """Read the directory. `encoding` is that of member names not marked as UTF-8. Raises ArchiveRefusedError."""
        self._reader = Tail(reader)
        self._limits = limits
        self.members: Sequence[Member] = read_directory(self._reader, limits, encoding)

    @contextmanager
    def batch(self, first: int, end: int) -> Iterator["MemberReader"]:
        """Yield a reader of members `first` to `end` (exclusive), which share one budget. Fastest in stored order."""
        members = self.members[first:end]
        start = min((member.offset for member in members), default=0)
        stop = max((member.bound for member in members), default=0)
        with _Blocks(self._reader, start, stop) as blocks:
            yield MemberReader(blocks, Budget(self._limits))

    def stored_order(self, first: int, end: int) -> Sequence[Member]:
        """Return members `first` to `end` in the order of their bytes, which nearly always is the directory's order."""
        return sorted(self.members[first:end], key=lambda member: (member.offset, member.number))


class MemberReader:
    """Reader of one batch's members."""

    def __init__(self, blocks: "_Blocks", budget: Budget) -> None:
        self._blocks = blocks
        self._budget = budget

    def read(self, member: Member, wanted: Wanted) -> io.BytesIO | None:
        """Return a member's inflated and checked bytes; None if it is not wanted. Raises MemberRefusedError."""
        check_method(member)
        chunks = self._chunks(self._contents(member), member.compressed)
        with closing(inflate(chunks, member, self._budget)) as pieces:
            return _collect(pieces, wanted)

    def unpack(self, content: io.BytesIO, member: Member, wanted: Wanted) -> io.BytesIO | None:
        """Return the single file that is compressed in a member's `content`, as `read` does."""
        with closing(unpack(content, member, self._budget)) as pieces:
            return _collect(pieces, wanted)

    def _contents(self, member: Member) -> int:
        """Return the offset of a member's bytes. Raises MemberRefusedError if they overlap the next member."""
        if not 0 <= member.offset <= member.bound - _HEADER.size:
            raise MemberRefusedError("its offset in the central directory is wrong, or it overlaps another member")
        header = b"".join(bytes(chunk) for chunk in self._chunks(member.offset, _HEADER.size))
        signature, *_, name, extra = _HEADER.unpack(header)
        if signature != b"PK\3\4":
            raise MemberRefusedError("no member begins at its offset in the central directory")
        start = member.offset + _HEADER.size + name + extra
        if start + member.compressed > member.bound:
            raise MemberRefusedError("it overlaps another member, or the central directory")
        return int(start)

    def _chunks(self, offset: int, length: int) -> Iterator[memoryview]:
        end = offset + length
        while offset < end:
            chunk = self._blocks.at(offset, min(_CHUNK, end - offset))
            if not chunk:
                raise MemberRefusedError("its data is truncated")
            offset += len(chunk)
            yield chunk


def _collect(pieces: Iterator[bytes], wanted: Wanted) -> io.BytesIO | None:
    content = io.BytesIO()
    judged = False
    for piece in pieces:
        content.write(piece)
        if not judged and content.tell() >= HEAD:
            judged = True
            if not wanted(bytes(content.getbuffer()[:HEAD])):
                return None
    if not judged and not wanted(content.getvalue()):
        return None
    content.seek(0)
    return content


class _Blocks:
    """Bytes `start` to `stop` in blocks, with one block read ahead in a thread.

    One thread reads all of them, because each thread keeps the memory that a request takes besides its block.
    """

    def __init__(self, reader: RangeReader, start: int, stop: int) -> None:
        self._reader = reader
        self._start = start
        self._stop = stop
        self._number = -1
        self._block = memoryview(b"")
        self._next: tuple[int, Future[bytes]] | None = None
        self._thread = ThreadPoolExecutor(1, "read-ahead")

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def at(self, offset: int, length: int) -> memoryview:
        """Return some of the bytes from `offset` on: at least one, at most `length`."""
        number, within = divmod(offset - self._start, BLOCK)
        if number != self._number:
            self._turn_to(number)
        return self._block[within : within + length]

    def _turn_to(self, number: int) -> None:
        ahead = self._next
        self._next = None
        self._block = memoryview(b"")
        asked = ahead[1] if ahead and ahead[0] == number else self._ask(number)
        self._block = memoryview(asked.result())
        self._number = number
        if self._start + (number + 1) * BLOCK < self._stop:
            self._next = number + 1, self._ask(number + 1)

    def _ask(self, number: int) -> Future[bytes]:
        # The context is copied, so that the request is traced as part of this call.
        return self._thread.submit(copy_context().run, self._read, number)

    def _read(self, number: int) -> bytes:
        offset = self._start + number * BLOCK
        return self._reader.read_range(offset, min(BLOCK, self._stop - offset))
