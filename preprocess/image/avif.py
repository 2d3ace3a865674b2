"""Where an AVIF's pictures lie, found by its boxes: they never end in zeros, but its decoder makes grey of them."""

import struct

from imagefeed.errors import MemberRefusedError

_ZEROS = 64
_TO_THE_END, _LONG = 0, 1
"""Sizes of a box that are none."""
_MOST_BOXES = 100_000
"""Files have about five, beside one another."""


def ends_in_zeros(content: bytes) -> bool:
    """Tell whether the end was lost; not where facts of a camera's, which may end in zeros, lie among the pictures.

    Raises MemberRefusedError for a file that is nothing but boxes.
    """
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 16 > len(content):
            return False
        size, kind, long = struct.unpack_from(">I4sQ", content, at)
        end = {_TO_THE_END: len(content), _LONG: at + long}.get(size, at + size)
        if kind == b"mdat":
            return not content[max(0, end - _ZEROS) : end].strip(b"\0") and b"Exif" not in content[:at] + content[end:]
        at = max(end, at + 8)
    raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
