"""The end of a zip file, parsed from its last bytes. Copying and reading both use this parser, so that they agree."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from config.errors import ArchiveIncompleteError, ArchiveRefusedError

_TAIL = 128 * 2**10
"""More than the longest comment and the records before it. The rest allows for bytes after the zip."""
_ALL_ONES = 0xFFFFFFFF

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")


@dataclass(frozen=True, slots=True)
class End:
    """Place of the directory according to the end record."""

    members: int
    size: int
    start: int
    shift: int
    """Bytes before the zip itself. The zip's offsets do not include them."""


def tail_length(size: int) -> int:
    """Return how many of a file's last bytes `find_end` and `is_complete` need."""
    return min(size, _TAIL)


def is_complete(tail: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes that ends in `tail` ends in a zip directory."""
    try:
        find_end(tail, size)
    except ArchiveRefusedError:
        return False
    return True


def find_end(tail: bytes, size: int) -> End:
    """Return the place of the directory in a file of `size` bytes that ends in `tail`.

    Bytes before the zip (a self-extracting program) and after it are allowed, split archives are not.
    Raises ArchiveIncompleteError, ArchiveRefusedError.
    """
    refusal = None
    for at in _end_records(tail):
        try:
            return _parsed(tail, at, size - len(tail))
        except ArchiveRefusedError as exc:
            refusal = refusal or exc
    raise refusal or ArchiveIncompleteError("the file does not end like a zip: it is none, or it was cut off")


def _end_records(tail: bytes) -> Iterable[int]:
    """Return the indexes of end records whose comment ends with the file, last first, else that of the last record.

    A comment may contain the signature too. If no comment ends with the file, earlier records may belong to zips within
    this one.
    """
    places = [match.start() for match in re.finditer(b"PK\5\6", tail[: max(0, len(tail) - _END.size + 4)])]
    return [at for at in reversed(places) if _behind(tail, at) == len(tail)] or places[-1:]


def _behind(tail: bytes, at: int) -> int:
    """Return the index after the end record at `at` and its comment."""
    return at + _END.size + int(_END.unpack_from(tail, at)[-1])


def _parsed(tail: bytes, at: int, before: int) -> End:
    """Parse the end record at `at`. `before` is the number of the file's bytes before `tail`."""
    _, disk, first_disk, _, members, size, offset, _ = _END.unpack_from(tail, at)
    record, zip64 = at, _zip64(tail, at, before)
    if zip64 is not None:
        record, (_, _, _, _, disk, first_disk, _, members, size, offset) = zip64
    elif _ALL_ONES in (size, offset):
        raise ArchiveIncompleteError("the zip's zip64 end record is missing: the file is damaged")
    if disk or first_disk:
        raise ArchiveRefusedError("the zip is one part of several: it must be a single file")
    start = record - size
    if before + start < offset or not _is_directory(tail, start, size, members):
        raise ArchiveIncompleteError("the zip's directory is not where its end record says: it is damaged or cut off")
    behind = _behind(tail, at)
    if behind < len(tail) and b"PK".startswith(tail[behind : behind + 2]):
        # This end record belongs to a zip within this one, because further members or the directory follow.
        raise ArchiveIncompleteError("the zip goes on behind its end record: it was cut off")
    return End(members, size, before + start, before + start - offset)


def _zip64(tail: bytes, at: int, before: int) -> tuple[int, tuple[int, ...]] | None:
    """Return the zip64 end record's index and fields; None if there is none before the end record at `at`."""
    locator = at - _LOCATOR.size
    last = locator - _END64.size
    if last < 0 or not tail.startswith(b"PK\6\7", locator):
        return None
    # First directly before its locator, whose offset is wrong if bytes were put in front of the zip.
    for place in (last, _LOCATOR.unpack_from(tail, locator)[2] - before):
        if 0 <= place <= last and tail.startswith(b"PK\6\6", place):
            return place, _END64.unpack_from(tail, place)
    return None


def _is_directory(tail: bytes, start: int, size: int, members: int) -> bool:
    """Return whether the directory begins at `start`, as far as the tail shows."""
    if size == 0:
        return members == 0
    return start < 0 or tail.startswith(b"PK\1\2", start)
