"""Does a file end in a zip directory that fits it? Told from its tail alone."""

import struct

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_SIGNATURE = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE = b"PK\x06\x06"
_ENTRY_SIGNATURE = b"PK\x01\x02"
_MAX_COMMENT = 0xFFFF
_SATURATED = 0xFFFFFFFF

_MAX_TAIL = _MAX_COMMENT + _END.size + _LOCATOR.size + _END64.size


def tail_length(size: int) -> int:
    """Tell how many of a file's last bytes `ends_in_directory` wants to see."""
    return min(size, _MAX_TAIL)


def ends_in_directory(tail: bytes, size: int) -> bool:
    """Tell whether a file of `size` bytes that ends in `tail` ends in a zip directory that fits it.

    Bytes before the zip (a self-extracting program) are allowed, bytes behind it and split archives are not.
    """
    # The comment may hold the signature too, so every place where it occurs is tried.
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if _fits(tail, at, size - len(tail)):
            return True
        at = tail.rfind(_END_SIGNATURE, 0, at + len(_END_SIGNATURE) - 1)
    return False


def _fits(tail: bytes, at: int, before: int) -> bool:
    """Try the end record at `at`; `before` is the number of the file's bytes before `tail`."""
    if at + _END.size > len(tail):
        return False
    _, disk, first_disk, here, entries, length, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail) or disk or first_disk or here != entries:
        return False
    end = at
    if at >= _LOCATOR.size and tail.startswith(_LOCATOR_SIGNATURE, at - _LOCATOR.size):
        end = at - _LOCATOR.size - _END64.size
        if end < 0 or not tail.startswith(_END64_SIGNATURE, end):
            return False
        *_, disk, first_disk, here, entries, length, offset = _END64.unpack_from(tail, end)
        if disk or first_disk or here != entries:
            return False
    elif _SATURATED in (length, offset):
        return False
    start = before + end - length
    return offset <= start and _looks_right(tail, start - before, entries)


def _looks_right(tail: bytes, start: int, entries: int) -> bool:
    """Check the directory's first entry, if it lies within the tail."""
    return start < 0 or entries == 0 or tail.startswith(_ENTRY_SIGNATURE, start)
