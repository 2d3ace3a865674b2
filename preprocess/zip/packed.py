"""Decompression of a single file that is compressed within a zip member: gzip, bzip2 or xz."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Generator, Iterator
from io import BytesIO

from imagefeed.errors import MemberRefusedError
from preprocess.zip.directory import Member
from preprocess.zip.inflate import PIECE, Budget, hold

_XZ_MEMORY = 128 * 2**20
"""Bytes. `xz -9` needs 65 MiB; a header may ask for 4 GiB."""


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
    start = bytes(content.getbuffer()[:2])
    if start == b"\xfd7":
        yield from _xz(content)
        return
    with gzip.GzipFile(fileobj=content) if start == b"\x1f\x8b" else bz2.BZ2File(content) as stream:
        while piece := stream.read(PIECE):
            yield piece


def _xz(content: BytesIO) -> Iterator[bytes]:
    """Yield the bytes of one stream after the other. Unlike lzma.LZMAFile, the decoder's memory is limited."""
    rest = content.read(PIECE)
    while rest:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not rest:
                raise EOFError("they end early")
            yield decoder.decompress(rest, PIECE)
            rest = content.read(PIECE) if decoder.needs_input else b""
        # Streams may be followed by padding, in zeros.
        rest = (decoder.unused_data or content.read(PIECE)).lstrip(b"\0")
