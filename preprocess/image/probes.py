"""Checks of a file's structure that decoders do not make: scans, ends, depths, and pictures behind the first."""

import re
import struct
import zlib
from collections.abc import Iterator

from imagefeed.errors import MemberRefusedError

_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
"""In compressed values FF is followed by 0 or a restart number; 1 has no meaning. Repeated FF bytes match without a
`+`, which would make the search fifteen times as slow (measured)."""
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_VALUES = (*_CRITICAL, b"tRNS", b"acTL", b"fdAT", b"fcTL")
"""Chunks of a PNG that values depend on."""
_EXIF = re.compile(rb"eXIf|[tzi](?:EXt|TXt)(?:Raw profile type exif|XML:com\.adobe\.xmp)\0")
"""Chunks of a PNG that may have its orientation and time."""
_PASSES = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
"""First column and row of each pass of an interlaced PNG, and the steps to the next ones."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of each of PNG's kinds of colour."""
_SLICE = 2**16
_SCAN = 0xDA
_END = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_PROGRESSIVE = (0xC2, 0xCA)
_ANOTHER_JPEG = re.compile(rb"\0*\xff\xd8\xff")
_GAIN_MAP = re.compile(rb"hdrgm:|urn:iso:std:iso:ts:21496")
"""Metadata of a picture that makes another one brighter (Ultra HDR)."""
_METADATA = (*range(0xE0, 0xEE), 0xEF, 0xFE)
"""Kinds of segments that do not decide any value, except JFIF's. Adobe's (EE) does."""
_JFIF_SEGMENT = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_ZEROS = 64
_TO_THE_END, _LONG = 0, 1
"""Size fields of an AVIF's box that are not sizes."""
_AV1_SETTINGS = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_MOST_PIECES = 100_000
"""A JPEG of half a gigabyte, the most that a member has, has 8,000 pieces of the greatest length. An AVIF has about
five boxes at its top level."""


def count_scans(content: memoryview) -> tuple[int, int]:
    """Return the number of scans of a JPEG and where it ends. Each scan of a progressive one draws the whole picture.

    Raises MemberRefusedError if scans are missing, which decoders do not notice, and for a file full of markers, which
    would take minutes.
    """
    scans, end = 0, len(content)
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
    return scans, end


def is_followed_by_another(content: memoryview, end: int, size: tuple[int, int]) -> bool:
    """Return whether behind a JPEG's end follows another whole one of at least this size (width, height).

    Smaller ones are previews and depth maps, and a gain map may be as large as its picture.
    """
    while behind := _ANOTHER_JPEG.match(content, end):
        another = content[behind.end() - 3 :]
        height = width = kind = end = scan = 0
        for kind, start, end in _segments(another):
            if kind in _FRAMES and end - start > 8:
                height, width = struct.unpack_from(">HH", another, start + 5)
            if kind == _SCAN and not scan:
                scan = start
        is_whole = kind == _END and scan
        if is_whole and width >= size[0] and height >= size[1] and not _GAIN_MAP.search(another[:scan]):
            return True
        end += behind.end() - 3
    return False


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

    From its first scan to its end everything is kept, because unexpected bytes there are damage.
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
        if scan_end or segment == _JFIF_SEGMENT or kind not in _METADATA:
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


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk of a PNG, where it begins and where it ends. Bytes behind the last one are ignored.

    Raises MemberRefusedError if the last one is missing.
    """
    at = 8
    for _ in range(_MOST_PIECES):
        name, end = content[at + 4 : at + 8], at + 12 + int.from_bytes(content[at : at + 4])
        if name == b"IEND":
            end = at + 12
        if end > len(content):
            break
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    else:
        raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
    raise MemberRefusedError("it is cut off: the end of the PNG file is missing")


def tidied_png(content: bytes) -> bytes:
    """Return a PNG without the chunks that decide no value, on whose faults Pillow stops.

    Raises MemberRefusedError if values are missing or damaged: Pillow does not compare every CRC of a chunk.
    """
    kept: list[memoryview] = []
    declared, frames = 0, 0
    for name, start, end in _chunks(content):
        chunk = memoryview(content)[start:end]
        intact = name == b"IEND" or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if name in _VALUES and not intact:
            raise MemberRefusedError(f"it is damaged: the CRC of its chunk at {start} is wrong")
        if name[:1].isupper() and name not in _CRITICAL:
            raise MemberRefusedError(f"its critical chunk at {start} is not supported")
        if name == b"acTL":
            declared = int.from_bytes(chunk[8:12])
        frames += name == b"fcTL"
        if name in _VALUES or (intact and _EXIF.match(chunk, 4)):
            kept.append(chunk)
    if declared != frames:
        raise MemberRefusedError(f"it is damaged: it declares {declared} frames and has {frames}")
    return content if 8 + sum(map(len, kept)) == len(content) else content[:8] + b"".join(kept)


def check_png_rows(content: bytes) -> None:
    """Raise MemberRefusedError if the compressed values of a PNG end before its last row. Pillow does not notice."""
    width, height, bits, kind, interlaced = struct.unpack_from(">IIBBxxB", content, 16)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes)
    missing = sum(rows * (1 + -(-columns * bits * _CHANNELS[kind] // 8)) for columns, rows in sizes if columns > 0)
    inflate = zlib.decompressobj()
    for name, start, end in _chunks(content):
        # Slices bound what is inflated at once.
        for at in range(start + 8, end - 4, _SLICE) if name == b"IDAT" else ():
            missing -= len(inflate.decompress(memoryview(content)[at : min(at + _SLICE, end - 4)]))
            if missing <= 0:
                return
    raise MemberRefusedError("it is cut off: its last rows are missing")


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
    for kind, at, end in _boxes(content, 0, len(content)):
        if kind == b"mdat":
            return not content[max(0, end - _ZEROS) : end].strip(b"\0") and b"Exif" not in content[:at] + content[end:]
    return False


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box of an AVIF between two offsets, where its content begins and where it ends.

    The box that ends last may end behind them: that of a file which was cut off.
    """
    for _ in range(_MOST_PIECES):
        if at + 16 > len(content) or at + 8 > end:
            return
        size, kind, long = struct.unpack_from(">I4sQ", content, at)
        last = {_TO_THE_END: end, _LONG: at + long}.get(size, at + size)
        yield kind, at + (16 if size == _LONG else 8), last
        at = max(last, at + 8)
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")


def avif_bits(content: bytes) -> int:
    """Return the most bits of a value in the pictures of an AVIF that are read: its main one, or an animation's."""
    boxes = {kind: (start, end) for kind, start, end in _boxes(content, 0, len(content))}
    settings = [found[1] for found in _AV1_SETTINGS.finditer(content, *boxes.get(b"moov", (0, 0)))]
    if b"meta" in boxes:
        settings += _main_settings(content, *boxes[b"meta"])
    # Bits of its third byte: more than 8, and more than 10.
    return max((8 + 2 * (depth >> 6 & 1) * (1 + (depth >> 5 & 1)) for (depth,) in settings), default=8)


def _main_settings(content: bytes, start: int, end: int) -> list[bytes]:
    """Return the third byte of AV1's settings of an AVIF's main picture; those of all if it is made of others."""
    parts = {kind: (first, last) for kind, first, last in _boxes(content, start + 4, end)}
    main = int.from_bytes(content[parts[b"pitm"][0] + 4 : parts[b"pitm"][1]])
    lists = {kind: (first, last) for kind, first, last in _boxes(content, *parts[b"iprp"])}
    properties = [(kind, content[first + 2 : first + 3]) for kind, first, _ in _boxes(content, *lists[b"ipco"])]
    at, last = lists[b"ipma"]
    item_bytes, wide, at = 4 if content[at] else 2, 1 + (content[at + 3] & 1), at + 8
    used = list[int]()
    while at < last:
        item, count, at = int.from_bytes(content[at : at + item_bytes]), content[at + item_bytes], at + item_bytes + 1
        if item == main:
            used = [int.from_bytes(content[each : each + wide]) for each in range(at, at + count * wide, wide)]
        at += count * wide
    # The highest bit says whether the property is essential.
    numbers = [number & (0x7FFF if wide == 2 else 0x7F) for number in used]
    settings = [
        setting for number, (kind, setting) in enumerate(properties, 1) if kind == b"av1C" and number in numbers
    ]
    return settings or [setting for kind, setting in properties if kind == b"av1C"]


def jpeg2000_depths(content: bytes) -> list[tuple[int, bool]]:
    """Return the bits of a value in each channel of a JPEG 2000, and whether its values are signed."""
    # Behind the markers of the codestream's start and of its sizes, and the fields of all channels.
    at = content.index(b"\xff\x4f\xff\x51") + 42
    channels = int.from_bytes(content[at - 2 : at])
    return [((depth & 0x7F) + 1, depth > 0x7F) for depth in content[at : at + 3 * channels : 3]]
