"""Counts the bytes of a file whose size its server does not give."""

from collections.abc import Callable

from ingest.ports import Reader

_PIECE = 2**20


def count_bytes(reader: Reader, check: Callable[[], None]) -> int:
    """Read to the end and return the number of bytes. Calls `check` after each piece; it raises to stop."""
    buffer, size = memoryview(bytearray(_PIECE)), 0
    while (got := reader.readinto(buffer, _PIECE)) != 0:
        size += got or 0
        check()
    return size
