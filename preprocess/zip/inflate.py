"""Decompression of one zip member, piece by piece, so that limits are enforced while inflating."""

import bz2
import lzma
import math
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Protocol

from inflate64 import Inflater

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.zip.directory import Member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 2**20
"""Most bytes that one step inflates, except for deflate64."""
_DEFLATE64_SLICE = 256
"""Input bytes per step. The library cannot bound its output: a byte of input gives up to 26,000 (measured)."""

_XZ_MEMORY = 192 * 2**20
"""Bytes that inflating XZ may take: three times the dictionary of the strongest preset."""
_ZSTD_WINDOW: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
"""The largest window that Zstandard's own command accepts without being asked to: 128 MiB."""

_STREAMS = 10_000
"""Streams, or frames, of one file. Each takes time, even if it holds no byte. Writers with several threads make one of
512 KiB or more for each thread's turn."""

type _Inflate = Callable[[Iterable[memoryview], Member, int], Iterator[bytes]]
"""Called with the compressed bytes, the member and the most inflated bytes that are needed. Yields inflated bytes."""


class Budget:
    """Number of bytes that a batch may still inflate."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left = limits.batch_bytes


def inflate(chunks: Iterable[memoryview], member: Member, budget: Budget) -> Generator[bytes]:
    """Yield a member's inflated bytes, and check size and CRC at the end.

    Inflates at most a little more than the limits allow. Raises MemberRefusedError.
    """
    limit = min(member.size, budget.limits.member_bytes)
    crc = total = 0
    try:
        for piece in _METHODS[member.method](chunks, member, limit):
            total += len(piece)
            budget.left -= len(piece)
            hold(member, total, budget)
            crc = zlib.crc32(piece, crc)
            yield piece
    except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError) as exc:
        raise MemberRefusedError(f"its compressed data is corrupt: {exc}") from exc
    if total != member.size:
        raise MemberRefusedError(f"it has {total} bytes, the central directory says {member.size}")
    if crc != member.crc:
        raise MemberRefusedError(f"its CRC is {crc:08x}, the central directory says {member.crc:08x}")


def check_method(member: Member) -> None:
    """Raise MemberRefusedError if a member cannot be inflated."""
    if member.broken is not None:
        raise MemberRefusedError(f"its central directory entry is invalid: {member.broken}")
    if member.link:
        raise MemberRefusedError("it is a symbolic link: send the file that it points to")
    if member.encrypted:
        raise MemberRefusedError("it is encrypted, and passwords are not supported: send it without one")
    if member.method not in _METHODS:
        raise MemberRefusedError(f"its compression method {member.method} is not supported: send it deflated or stored")


def hold(member: Member, total: int, budget: Budget) -> None:
    """Raise MemberRefusedError if a member that has inflated to `total` bytes is beyond a limit."""
    limits = budget.limits
    if total > limits.member_bytes:
        raise MemberRefusedError(f"it inflates to more than LIMIT_MEMBER_BYTES={limits.member_bytes}")
    if budget.left < 0:
        raise MemberRefusedError(f"its batch inflates to more than LIMIT_BATCH_BYTES={limits.batch_bytes}")
    if total > 2**20 and total > limits.ratio * member.compressed:
        raise MemberRefusedError(f"it inflates to more than LIMIT_RATIO={limits.ratio} times its compressed size")
    if total > member.size:
        raise MemberRefusedError(f"it inflates to more than the {member.size} bytes that the central directory says")


def _stored(chunks: Iterable[memoryview], _member: Member, _limit: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield bytes(chunk)


def _deflate(chunks: Iterable[memoryview], _member: Member, _limit: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for chunk in chunks:
        piece = inflater.decompress(chunk, PIECE)
        yield piece
        # After a full piece there may be more output, even if all input was consumed.
        while inflater.unconsumed_tail or len(piece) == PIECE:
            piece = inflater.decompress(inflater.unconsumed_tail, PIECE)
            yield piece
        if inflater.eof:
            return
    raise EOFError("it ends early")


class Decompressor(Protocol):
    """Decompresses one stream."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether more bytes are needed before there is more output."""

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the stream, after it has ended."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return the next bytes, at most `max_length`."""


def streams(new: Callable[[], Decompressor], chunks: Iterable[memoryview], size: float = math.inf) -> Iterator[bytes]:
    """Yield the bytes of one stream, or frame, after the other: writers with several threads make several.

    Zeros may follow each stream, and anything may follow the one that reaches `size` bytes. Raises EOFError,
    MemberRefusedError, and the errors of the decompressor.
    """
    rest, data, decoder, count, total = iter(chunks), b"", None, 0, 0
    while data or (data := bytes(next(rest, b""))):
        if decoder is None:
            data = data.lstrip(b"\0")
            if not data:
                continue
            decoder, count = new(), count + 1
        if count > _STREAMS:
            raise MemberRefusedError(
                f"it is made of more than {_STREAMS:,} compressed streams: no encoder writes so many"
            )
        while True:
            piece = decoder.decompress(data, PIECE)
            total += len(piece)
            yield piece
            if decoder.eof or decoder.needs_input:
                break
            data = b""
        data = decoder.unused_data
        if decoder.eof:
            if total >= size:
                return
            decoder = None
    if decoder:
        raise EOFError("it ends early")


def new_xz() -> Decompressor:
    """Return the decompressor of one XZ stream. Unlike that of lzma.LZMAFile, its memory is limited."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _bzip2(chunks: Iterable[memoryview], member: Member, _limit: int) -> Iterator[bytes]:
    return streams(bz2.BZ2Decompressor, chunks, member.size)


def _xz(chunks: Iterable[memoryview], member: Member, _limit: int) -> Iterator[bytes]:
    return streams(new_xz, chunks, member.size)


def _zstd(chunks: Iterable[memoryview], member: Member, _limit: int) -> Iterator[bytes]:
    return streams(lambda: zstd.ZstdDecompressor(options=_ZSTD_WINDOW), chunks, member.size)


def _lzma(chunks: Iterable[memoryview], member: Member, limit: int) -> Iterator[bytes]:
    """Parse the header (two bytes of version, two of length, the properties), then inflate the raw stream."""
    rest = iter(chunks)
    head = b""
    while len(head) < 9 and (chunk := next(rest, None)):
        head += chunk
    if len(head) < 9 or head[2:4] != b"\5\0":
        raise ValueError("unknown LZMA header")
    decoder = _lzma_decoder(head[4:9], limit)
    # Without a mark the stream ends with the member's last byte. Behind it the decoder would make bytes of its padding.
    left = member.size + member.marked
    for chunk in chain([memoryview(head)[9:]], rest):
        data: bytes | memoryview = chunk
        while left and not decoder.eof and (data or not decoder.needs_input):
            piece = decoder.decompress(data, min(left, PIECE))
            left -= len(piece)
            data = b""
            yield piece
        if not left:
            return


def _lzma_decoder(properties: bytes, limit: int) -> lzma.LZMADecompressor:
    lc, lp, pb = properties[0] % 9, properties[0] // 9 % 5, properties[0] // 45
    # A stream needs no larger dictionary than its output; a header of 4 GiB would take as much memory.
    dictionary = min(int.from_bytes(properties[1:], "little"), limit)
    spec = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[spec])


def _deflate64(chunks: Iterable[memoryview], _member: Member, _limit: int) -> Iterator[bytes]:
    inflater = Inflater()
    for chunk in chunks:
        for at in range(0, len(chunk), _DEFLATE64_SLICE):
            yield inflater.inflate(chunk[at : at + _DEFLATE64_SLICE])
            if inflater.eof:
                return
    raise EOFError("it ends early")


_METHODS: Mapping[int, _Inflate] = {
    0: _stored,
    8: _deflate,
    9: _deflate64,
    12: _bzip2,
    14: _lzma,
    20: _zstd,  # an early number of 93
    93: _zstd,
    95: _xz,
}
