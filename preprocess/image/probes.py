"""Checks of a file's structure that decoders do not make: the scans of a JPEG, and the ends of other formats."""

import re
import struct
import zlib
from collections.abc import Iterator

from imagefeed.errors import MemberRefusedError

_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
"""In compressed values FF is followed by 0 or a restart number; 1 has no meaning. Repeated FF bytes match without a
`+`, which would make the search fifteen times as slow (measured)."""
_VALUES = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"fdAT", b"fcTL")
"""Chunks of a PNG that values depend on."""
_SCAN = 0xDA
_END = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_PROGRESSIVE = (0xC2, 0xCA)
_METADATA = (*range(0xE0, 0xEE), 0xEF, 0xFE)
"""Kinds of segments that do not decide any value, except JFIF's. Adobe's (EE) does."""
_JFIF_SEGMENT = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_ZEROS = 64
_TO_THE_END, _LONG = 0, 1
"""Size fields of an AVIF's box that are not sizes."""
_MOST_PIECES = 100_000
"""A JPEG of half a gigabyte, the most that a member has, has 8,000 pieces of the greatest length. An AVIF has about
five boxes at its top level."""


def count_scans(content: memoryview) -> int:
    """Return the number of scans of a JPEG. Each scan of a progressive JPEG draws the whole picture.

    Bytes after the picture's end, such as a preview, are ignored. Raises MemberRefusedError if scans are missing, which
    decoders do not notice, and for a file full of markers, which would take minutes.
    """
    scans = 0
    frame, missing = 0, dict[int, list[int]]()
    for kind, start, end in _segments(content):
        payload = content[start + 4 : end]
        if kind in _FRAMES and not frame and len(payload) > 5:
            frame, missing = kind, {component: [1] * 64 for component in payload[6 : 6 + 3 * payload[5] : 3]}
        elif kind == _SCAN:
            scans += 1
            _take_scan(payload, missing, progressive=frame in _PROGRESSIVE)
    if any(map(any, missing.values())):
        raise MemberRefusedError("it is cut off: some of its scans are missing")
    return scans


def _take_scan(payload: memoryview, missing: dict[int, list[int]], *, progressive: bool) -> None:
    """Record in `missing` the least number of low bits that each coefficient still lacks after a scan."""
    count = payload[0] if len(payload) else 0
    if len(payload) < 4 + 2 * count:
        raise MemberRefusedError("it is damaged: the header of a scan is too short")
    first, last, bits = payload[1 + 2 * count : 4 + 2 * count]
    for component in payload[1 : 1 + 2 * count : 2]:
        if component in missing and progressive:
            missing[component][first : last + 1] = [bits & 15] * len(missing[component][first : last + 1])
        elif component in missing:
            missing[component] = []


def tidied(content: memoryview) -> bytes:
    """Return a JPEG without what decoders warn of although no value is lost: other programs' data, wrong metadata.

    Between its first scan and its end everything but metadata is kept, because unexpected bytes there are damage.
    """
    parts, scan_end, sequential = [b"\xff\xd8"], 0, False
    for kind, start, end in _segments(content):
        if scan_end:
            parts.append(bytes(content[scan_end:start]))
        segment = bytes(content[start:end])
        scan_end = end if scan_end or kind == _SCAN else 0
        if kind in _FRAMES:
            sequential = kind in _SEQUENTIAL
        if kind == _SCAN and sequential:
            # Some cameras leave the three last bytes zero. They have a meaning in progressive JPEGs only.
            segment = segment[:-3] + b"\0\x3f\0"
        if segment[4:8] == b"JFIF" and kind == _JFIF_SEGMENT[1]:
            segment = _JFIF_SEGMENT
        if segment in (_JFIF_SEGMENT,) or kind not in _METADATA:
            parts.append(segment)
    return b"".join(parts)


def _segments(content: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each segment of a JPEG, where it begins and where it ends, up to the end of the picture."""
    at = 2
    for _ in range(_MOST_PIECES):
        marker = _NEXT_MARKER.search(content, at)
        if marker is None:
            return
        kind, at = content[marker.end() - 1], marker.end()
        if kind != _END and at + 2 <= len(content):
            at += struct.unpack_from(">H", content, at)[0]
        yield kind, marker.start(), min(at, len(content))
        if kind == _END:
            return
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")


def is_whole_png(content: bytes) -> bool:
    """Return whether a PNG has its last chunk. Bytes behind it are ignored.

    Raises MemberRefusedError if values are damaged: Pillow does not compare every CRC of a chunk.
    """
    at = 8
    for _ in range(_MOST_PIECES):
        if content[at + 4 : at + 8] == b"IEND":
            return at + 12 <= len(content)
        if at + 12 > len(content):
            return False
        end = at + 8 + int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] in _VALUES and zlib.crc32(memoryview(content)[at + 4 : end]) != int.from_bytes(
            content[end : end + 4]
        ):
            raise MemberRefusedError(f"it is damaged: the CRC of its chunk at {at} is wrong")
        at = end + 4
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")


def is_whole_gif(content: bytes) -> bool:
    """Return whether a GIF has its last byte, behind its last block. Bytes behind it are ignored."""
    at = 13 + _palette(content[10:11])
    # Blocks hold up to 255 bytes.
    for _ in range(_MOST_PIECES + len(content) // 64):
        kind = content[at : at + 1]
        if kind in (b";", b""):
            return kind == b";"
        if kind == b"!":
            at = _blocks_end(content, at + 2)
        elif kind == b",":
            at = _blocks_end(content, at + 11 + _palette(content[at + 9 : at + 10]))
        else:
            # Decoders pass over bytes between blocks.
            at += 1
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")


def _palette(flags: bytes) -> int:
    """Return the bytes of a GIF's colour table."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _blocks_end(content: bytes, at: int) -> int:
    """Return where a GIF's run of blocks ends."""
    while at < len(content) and content[at]:
        at += content[at] + 1
    return at + 1


def ends_in_zeros(content: bytes) -> bool:
    """Return whether an AVIF's end was lost: intact picture data never ends in zeros, which are decoded as grey.

    False if a camera's metadata, which may end in zeros, lies among the picture data.
    Raises MemberRefusedError for a file full of boxes.
    """
    at = 0
    for _ in range(_MOST_PIECES):
        if at + 16 > len(content):
            return False
        size, kind, long = struct.unpack_from(">I4sQ", content, at)
        end = {_TO_THE_END: len(content), _LONG: at + long}.get(size, at + size)
        if kind == b"mdat":
            return not content[max(0, end - _ZEROS) : end].strip(b"\0") and b"Exif" not in content[:at] + content[end:]
        at = max(end, at + 8)
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
