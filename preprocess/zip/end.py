"""The end of a zip file, parsed from its last bytes. Copying and reading both use this parser, so that they agree."""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from config.errors import ArchiveIncompleteError, ArchiveRefusedError

_TAIL = 128 * 2**10
"""More than the longest comment and the records before it. The rest allows for bytes after the zip."""
_MOST_RECORDS = 4
"""End records that are tried. Only a comment that quotes whole end records has more than one that fits."""
_SHORT, _LONG = 0xFFFF, 0xFFFFFFFF
"""Values of two and four bytes that stand for "see the zip64 record"."""

_END_SIGNATURE = re.compile(b"PK\5\6")
_RECORDS = tuple(b"PK" + kind for kind in (b"\1\2", b"\3\4", b"\5\5", b"\5\6", b"\6\6", b"\6\7", b"\6\x08", b"\7\x08"))
"""Signatures of all records of a zip."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")

type Peek = Callable[[int], bytes]
"""Returns the four bytes of the file at an offset."""


@dataclass(frozen=True, slots=True)
class End:
    """Place of the directory according to the end record."""

    members: int
    size: int
    start: int
    shift: int
    """Bytes before the zip itself, which its offsets do not include; or, in a zip of more than 4 GiB without zip64, the
    multiple of 4 GiB by which the directory's own offset is too small."""
    wrapped: bool = False
    """Offsets are the true ones modulo 4 GiB."""


def tail_length(size: int) -> int:
    """Return how many of a file's last bytes `is_complete` needs."""
    return min(size, _TAIL)


def is_complete(tail: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes that ends in `tail` ends in a zip directory, as far as the tail shows."""
    try:
        find_ends(tail, size, lambda _: b"")
    except ArchiveRefusedError:
        return False
    return True


def find_ends(tail: bytes, size: int, peek: Peek) -> Sequence[End]:
    """Return the possible places of the directory in a file of `size` bytes that ends in `tail`, most likely first.

    Bytes before the zip (a self-extracting program), after it, and between directory and end record are allowed; split
    archives are not. `peek` is called for what lies before the tail, at most 4 times for each of 4 end records; it
    returns b"" if that is unknown. Raises ArchiveIncompleteError, ArchiveRefusedError if there is no such place.
    """
    refusal: ArchiveRefusedError | None = None
    ends: list[End] = []
    file = _File(tail, size - len(tail), peek)
    for at in islice(_end_records(tail), _MOST_RECORDS):
        try:
            ends += _parsed(file, at)
        except ArchiveRefusedError as exc:
            refusal = refusal or exc
    if ends:
        return ends
    raise refusal or ArchiveIncompleteError(
        "zip central directory missing or truncated: the file is not a zip, or it was cut off"
    )


@dataclass(frozen=True, slots=True)
class _File:
    tail: bytes
    before: int
    """Number of the file's bytes before `tail`."""
    peek: Peek

    def has(self, signature: bytes, offset: int) -> bool | None:
        """Return whether a signature stands at an offset; None if that is unknown."""
        at = offset - self.before
        found = self.tail[at : at + 4] if at >= 0 else self.peek(offset)
        return found == signature if found else None


def _end_records(tail: bytes) -> Iterable[int]:
    """Return the indexes of end records whose comment ends with the file, last first, else that of the last record.

    A comment may contain the signature too. If no comment ends with the file, earlier records may belong to zips within
    this one.
    """
    last = len(tail) - _END.size
    matches = _END_SIGNATURE.finditer(tail, max(0, last - _SHORT), max(0, last + 4))
    fitting = [match.start() for match in matches if _behind(tail, match.start()) == len(tail)]
    place = tail.rfind(b"PK\5\6", 0, max(0, last + 4))
    return fitting[::-1] or ([] if place < 0 else [place])


def _behind(tail: bytes, at: int) -> int:
    """Return the index after the end record at `at` and its comment."""
    return at + _END.size + int(_END.unpack_from(tail, at)[-1])


def _parsed(file: _File, at: int) -> list[End]:
    """Parse the end record at `at`: return the places where its directory may be."""
    tail = file.tail
    _, disk, first_disk, _, members, size, offset, _ = _END.unpack_from(tail, at)
    record, zip64 = _zip64(file, at)
    if zip64:
        # A value counts only if the old record has no room for it: anything may look like a zip64 record.
        disk, first_disk, members, size, offset = (
            wide if value == full else value
            for value, wide, full in zip(
                (disk, first_disk, members, size, offset), zip64, (_SHORT, _SHORT, _SHORT, _LONG, _LONG), strict=True
            )
        )
    elif _LONG in (size, offset):
        raise ArchiveIncompleteError("zip64 end record missing: the file is damaged or was cut off")
    if disk or first_disk:
        raise ArchiveRefusedError("it is one part of a split zip: send it as a single file")
    behind = tail[_behind(tail, at) :].lstrip(b"\0")
    if behind.startswith(_RECORDS):
        # This end record belongs to a zip within this one, because further members or the directory follow.
        raise ArchiveIncompleteError("more zip records follow the end record: the file was cut off")
    if not (size or members):
        return [_empty(file.before + at, file.before + record)]
    starts = _starts(file, {file.before + record, file.before + at}, size, offset)
    ends = [End(members, size, start, start - offset) for start in starts]
    if not ends:
        raise ArchiveIncompleteError(
            "zip central directory not where its end record says: the file is damaged or was cut off"
        )
    # An empty zip before this one costs no member.
    if ends[0].shift > _END.size and file.has(b"PK\5\6", ends[0].shift - _END.size):
        raise ArchiveRefusedError(f"it is several zips in one: another ends at byte {ends[0].shift}; send them singly")
    if not ends[0].shift or not file.has(b"PK\3\4", 0):
        return ends
    # The file begins with a member, so that nothing lies before the zip, and offsets differ by multiples of 4 GiB only.
    if own := [replace(end, wrapped=end.shift > 0) for end in ends if end.shift % 2**32 == 0]:
        return own
    raise ArchiveIncompleteError(
        f"the last end record is that of a zip {ends[0].shift} bytes behind the file's start: the file was cut off, or "
        "is several zips in one"
    )


def _starts(file: _File, records: set[int], size: int, offset: int) -> Iterator[int]:
    """Yield where the directory may start: before the zip64 or the old end record, else where the record says."""
    adjacent = [record - size for record in sorted(records)]
    # Where both agree, as nearly always, nothing outside the tail needs to be read.
    certain = offset in adjacent and offset < file.before
    for start in [offset] if offset in adjacent else [*adjacent, offset]:
        possible = size and offset <= start <= max(records) - size
        if possible and (certain or file.has(b"PK\1\2", start) is not False):
            yield start


def _empty(at: int, record: int) -> End:
    if record:
        raise ArchiveIncompleteError(
            f"zip central directory is empty, but {record} bytes lie before it: its writer stopped half way"
        )
    return End(0, 0, at, 0)


def _zip64(file: _File, at: int) -> tuple[int, tuple[int, ...]]:
    """Return the index and the values of the zip64 end record of the end record at `at`; `at` and () if none."""
    tail = file.tail
    locator = at - _LOCATOR.size
    last = locator - _END64.size
    if last < 0 or not tail.startswith(b"PK\6\7", locator):
        return at, ()
    # First directly before its locator, whose offset is wrong if bytes were put in front of the zip. A record with
    # further data begins earlier.
    named = _LOCATOR.unpack_from(tail, locator)[2] - file.before
    for place in (last, named, tail.rfind(b"PK\6\6", 0, last)):
        if 0 <= place <= last and tail.startswith(b"PK\6\6", place):
            _, _, _, _, disk, first_disk, _, members, size, offset = _END64.unpack_from(tail, place)
            return place, (disk, first_disk, members, size, offset)
    return at, ()
