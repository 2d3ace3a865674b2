"""Decompression of a single file that is compressed within a zip member: gzip, bzip2 or xz."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from typing import Protocol

from imagefeed.errors import MemberRefusedError
from preprocess.zip.directory import Member
from preprocess.zip.inflate import PIECE, Budget, hold

_XZ_MEMORY = 128 * 2**20
"""Bytes. `xz -9` needs 65 MiB; a header may ask for 4 GiB."""
_STREAMS = 10_000
"""Streams of one file. Each takes time, even if it holds no byte."""
_CHUNK = 2**16
_GZIP = 16 + zlib.MAX_WBITS


class _Decoder(Protocol):
    """Decompresses one stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def unpack(content: BytesIO, member: Member, budget: Budget) -> Generator[bytes]:
    """Yield the decompressed bytes. They and `content` count together against the member's limits.

    Raises MemberRefusedError.
    """
    total = len(content.getbuffer())
    unsized = member._replace(size=budget.limits.member_bytes)
    try:
        for piece in _pieces(content):
            total += len(piece)
            budget.left -= len(piece)
            hold(unsized, total, budget)
            yield piece
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
        raise MemberRefusedError(f"the compressed file's bytes are broken: {exc}") from exc


def _pieces(content: BytesIO) -> Iterator[bytes]:
    """Yield the bytes of one stream after the other; zeros may follow each."""
    view, at, new = content.getbuffer(), 0, _decoder(bytes(content.getbuffer()[:2]))
    for _ in range(_STREAMS):
        decoder = new()
        while not decoder.eof:
            chunk = bytes(view[at : at + _CHUNK]) if decoder.needs_input else b""
            at += len(chunk)
            piece = decoder.decompress(chunk, PIECE)
            if piece:
                yield piece
            elif not (chunk or decoder.eof):
                raise EOFError("they end early")
        at = _behind_zeros(view, at - len(decoder.unused_data))
        if at == len(view):
            return
    raise MemberRefusedError(f"it is made of more than {_STREAMS:,} compressed streams: no encoder writes so many")


def _behind_zeros(view: memoryview, at: int) -> int:
    """Return where the first byte lies that is not zero, from `at` on."""
    while at < len(view):
        chunk = bytes(view[at : at + _CHUNK])
        rest = chunk.lstrip(b"\0")
        at += len(chunk) - len(rest)
        if rest:
            break
    return at


def _decoder(start: bytes) -> Callable[[], _Decoder]:
    """Return the decoder of a single stream, by the first bytes. Unlike lzma.LZMAFile, its memory is limited."""
    if start == b"\x1f\x8b":
        return _Gzip
    if start == b"\xfd7":
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return bz2.BZ2Decompressor


class _Gzip:
    """Decoder of one gzip stream, with the methods of the other decoders."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
