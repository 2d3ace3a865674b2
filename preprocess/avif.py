"""Where an AVIF's pictures lie, found by its boxes: they never end in zeros, but its decoder makes grey of them."""

import struct

_ZEROS = 64
_TO_THE_END, _LONG = 0, 1
"""Sizes of a box that are none."""


def ends_in_zeros(content: bytes) -> bool:
    """Tell whether the end was lost; not where facts of a camera's, which may end in zeros, lie among the pictures."""
    at = 0
    while at + 16 <= len(content):
        size, kind, long = struct.unpack_from(">I4sQ", content, at)
        end = {_TO_THE_END: len(content), _LONG: at + long}.get(size, at + size)
        if kind == b"mdat":
            return not content[max(0, end - _ZEROS) : end].strip(b"\0") and b"Exif" not in content[:at] + content[end:]
        at = max(end, at + 8)
    return False
