"""Checks of a file's structure that decoders do not make: the scans of a JPEG, and the lost end of an AVIF."""

import re
import struct

from imagefeed.errors import MemberRefusedError

_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
"""In compressed values FF is followed by 0 or a restart number; 1 has no meaning. Repeated FF bytes match without a
`+`, which would make the search fifteen times as slow (measured)."""
_SCAN = 0xDA
_END = 0xD9
_ZEROS = 64
_TO_THE_END, _LONG = 0, 1
"""Size fields of an AVIF's box that are not sizes."""
_MOST_PIECES = 100_000
"""A JPEG of half a gigabyte, the most that a member has, has 8,000 pieces of the greatest length. An AVIF has about
five boxes at its top level."""


def count_scans(content: bytes) -> int:
    """Return the number of scans of a JPEG. Each scan of a progressive JPEG draws the whole picture.

    Bytes after the picture's end, such as a preview, are ignored.
    Raises MemberRefusedError for a file full of markers, which would take minutes.
    """
    at = 2
    scans = 0
    for _ in range(_MOST_PIECES):
        marker = _NEXT_MARKER.search(content, at)
        if marker is None:
            return scans
        kind, at = content[marker.end() - 1], marker.end()
        if kind == _END:
            return scans
        scans += kind == _SCAN
        if at + 2 <= len(content):
            at += struct.unpack_from(">H", content, at)[0]
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")


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
