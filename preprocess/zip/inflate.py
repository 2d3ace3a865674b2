"""Decompression of one zip member, piece by piece, so that limits are enforced while inflating."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain

from inflate64 import Inflater

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.zip.directory import Member

PIECE = 2**20
"""Most bytes that one step inflates, except for deflate64."""
_DEFLATE64_SLICE = 256
"""Input bytes per step. The library cannot bound its output: a byte of input gives up to 26,000 (measured)."""

type _Inflate = Callable[[Iterable[memoryview], int], Iterator[bytes]]
"""Called with the compressed bytes and the most inflated bytes that are needed. Yields the inflated bytes."""


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
        for piece in _METHODS[member.method](chunks, limit):
            total += len(piece)
            budget.left -= len(piece)
            hold(member, total, budget)
            crc = zlib.crc32(piece, crc)
            yield piece
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
        raise MemberRefusedError(f"its compressed bytes are broken: {exc}") from exc
    if total != member.size:
        raise MemberRefusedError(f"it has {total} bytes, the zip's directory says {member.size}")
    if crc != member.crc:
        raise MemberRefusedError(f"its CRC is {crc:08x}, the zip's directory says {member.crc:08x}")


def check_method(member: Member) -> None:
    """Raise MemberRefusedError if a member cannot be inflated."""
    if member.broken is not None:
        raise MemberRefusedError(f"its entry in the zip's directory is broken: {member.broken}")
    if member.encrypted:
        raise MemberRefusedError("it is encrypted: only archives without passwords can be read")
    if member.method not in _METHODS:
        raise MemberRefusedError(f"it is compressed by method {member.method}, which is not supported")


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
        raise MemberRefusedError(f"it inflates to more than the {member.size} bytes that the zip's directory says")


def _stored(chunks: Iterable[memoryview], _most: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield bytes(chunk)


def _deflate(chunks: Iterable[memoryview], _most: int) -> Iterator[bytes]:
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
    raise EOFError("they end early")


def _bzip2(chunks: Iterable[memoryview], _most: int) -> Iterator[bytes]:
    return _bounded(bz2.BZ2Decompressor(), chunks, marked=True)


def _lzma(chunks: Iterable[memoryview], limit: int) -> Iterator[bytes]:
    """Parse the header (two bytes of version, two of length, the properties), then inflate the raw stream."""
    rest = iter(chunks)
    head = b""
    while len(head) < 9 and (chunk := next(rest, None)):
        head += chunk
    if len(head) < 9 or head[2:4] != b"\5\0":
        raise ValueError("their LZMA header is unknown")
    yield from _bounded(_lzma_decoder(head[4:9], limit), chain([memoryview(head)[9:]], rest), marked=False)


def _lzma_decoder(properties: bytes, limit: int) -> lzma.LZMADecompressor:
    lc, lp, pb = properties[0] % 9, properties[0] // 9 % 5, properties[0] // 45
    # A stream needs no larger dictionary than its output; a header of 4 GiB would take as much memory.
    dictionary = min(int.from_bytes(properties[1:], "little"), limit)
    spec = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[spec])


def _bounded(
    decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor, chunks: Iterable[memoryview], *, marked: bool
) -> Iterator[bytes]:
    """Yield the decompressed bytes. `marked`: the stream marks its end (LZMA may rely on the directory's size)."""
    for chunk in chunks:
        yield decoder.decompress(chunk, PIECE)
        while not (decoder.eof or decoder.needs_input):
            yield decoder.decompress(b"", PIECE)
        if decoder.eof:
            return
    if marked:
        raise EOFError("they end early")


def _deflate64(chunks: Iterable[memoryview], _most: int) -> Iterator[bytes]:
    inflater = Inflater()
    for chunk in chunks:
        for at in range(0, len(chunk), _DEFLATE64_SLICE):
            yield inflater.inflate(chunk[at : at + _DEFLATE64_SLICE])
            if inflater.eof:
                return
    raise EOFError("they end early")


_METHODS: Mapping[int, _Inflate] = {0: _stored, 8: _deflate, 9: _deflate64, 12: _bzip2, 14: _lzma}
