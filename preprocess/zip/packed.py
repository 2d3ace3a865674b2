"""Decompression of a single file that is compressed within a zip member: gzip, bzip2 or xz."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from io import BytesIO

from imagefeed.errors import MemberRefusedError
from preprocess.zip.directory import Member
from preprocess.zip.inflate import Budget, Decompressor, hold, new_xz, streams

_CHUNK = 2**16
_GZIP = 16 + zlib.MAX_WBITS


def unpack(content: BytesIO, member: Member, budget: Budget) -> Generator[bytes]:
    """Yield the decompressed bytes. They and `content` count together against the member's limits.

    Raises MemberRefusedError.
    """
    view = content.getbuffer()
    total = len(view)
    unsized = member._replace(size=budget.limits.member_bytes)
    try:
        for piece in streams(_decompressor(view[:2].tobytes()), _chunks(view)):
            total += len(piece)
            budget.left -= len(piece)
            hold(unsized, total, budget)
            yield piece
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
        raise MemberRefusedError(f"the compressed file's bytes are broken: {exc}") from exc


def _chunks(view: memoryview) -> Iterator[memoryview]:
    return (view[at : at + _CHUNK] for at in range(0, len(view), _CHUNK))


def _decompressor(start: bytes) -> Callable[[], Decompressor]:
    """Return the decompressor of a single stream, by the first bytes."""
    return {b"\x1f\x8b": _Gzip, b"\xfd7": new_xz}.get(start, bz2.BZ2Decompressor)


class _Gzip:
    """Decompressor of one gzip stream."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        # After a full piece there may be more output, even if all input was consumed.
        return not (self._stream.unconsumed_tail or self._full)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        self._full = len(piece) == max_length
        return piece
