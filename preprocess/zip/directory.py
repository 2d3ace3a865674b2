"""The central directory of a zip archive: found at the archive's end, checked against the limits, then parsed.

The standard library's zipfile is not used: it creates an object for every entry before they can be counted, and rejects
the whole archive if a single entry is odd (a name that is not UTF-8, a version from the future). The tests compare
both.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from config.errors import ArchiveIncompleteError, ArchiveRefusedError
from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.ports import RangeReader
from preprocess.zip.end import End, find_end, tail_length

BLOCK = 8 * 2**20
"""Bytes per request. An archive of at most this size is read in a single one."""
_TAIL = 256 * 2**10
"""Bytes of a larger archive that are read first: more than the longest comment, and enough for most directories."""
_ENTRY_MEAN = 1024
"""Bytes that a directory may have for each allowed member."""
_NAME_MAX = 1024
_ALL_ONES = 0xFFFFFFFF

_ENTRY = struct.Struct("<4s6H3L5H2L")
_EXTRA = struct.Struct("<HH")


class Member(NamedTuple):
    """One entry of the directory, unverified. A tuple, because there may be a hundred thousand."""

    number: int
    """Position in the directory."""
    name: str
    """A label only, never used as a path."""
    method: int
    encrypted: bool
    crc: int
    compressed: int
    size: int
    offset: int
    """Offset of its local header."""
    bound: int
    """Offset where the next member in stored order, or the directory, begins. The member must end before it."""
    broken: str | None = None
    """Why the entry cannot be used."""


class Tail:
    """Reader that keeps the last bytes of a file, or all of a small file, in memory after one request."""

    def __init__(self, reader: RangeReader) -> None:
        self.size = reader.size
        self._reader = reader
        self._start = reader.size - min(reader.size, BLOCK if reader.size <= BLOCK else _TAIL)
        self._bytes = reader.read_range(self._start, reader.size - self._start) if reader.size else b""

    def read_range(self, offset: int, length: int) -> bytes:
        """Return bytes of the file, from memory if they are kept."""
        if offset >= self._start:
            return self._bytes[offset - self._start : offset - self._start + length]
        return self._reader.read_range(offset, length)


def read_directory(reader: RangeReader, limits: Limits) -> tuple[Member, ...]:
    """Read all entries, in their order. Raises ArchiveRefusedError."""
    span = tail_length(reader.size)
    end = find_end(reader.read_range(reader.size - span, span), reader.size)
    allowed = limits.archive_members
    if end.members > allowed:
        raise ArchiveRefusedError(f"the zip has {end.members} members, LIMIT_ARCHIVE_MEMBERS allows {allowed}")
    if end.size > _ENTRY_MEAN * max(allowed, 64):
        raise ArchiveRefusedError(
            f"the zip's directory has {end.size} bytes, too many for LIMIT_ARCHIVE_MEMBERS={allowed}"
        )
    members = list(_entries(reader.read_range(end.start, end.size), end, allowed))
    # Some writers do not use zip64 for many members: the end record then has their number modulo 65,536.
    if len(members) != end.members and (len(members) % 65_536 != end.members or end.members > 65_535):
        raise ArchiveIncompleteError(
            f"the zip's directory has {len(members)} members, its end record says {end.members}"
        )
    return _bounded(members, end.start)


def _entries(directory: bytes, end: End, allowed: int) -> Iterator[Member]:
    at = index = 0
    while at < len(directory):
        if index == allowed:
            raise ArchiveRefusedError(f"the zip has more members than LIMIT_ARCHIVE_MEMBERS={allowed} allows")
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\1\2":
            raise ArchiveIncompleteError(f"the zip's directory is unreadable at member {index}: the file is damaged")
        fields = _ENTRY.unpack_from(directory, at)
        name_at = at + _ENTRY.size
        extra_at = name_at + fields[10]
        comment_at = extra_at + fields[11]
        at = comment_at + fields[12]
        if at > len(directory):
            raise ArchiveIncompleteError(f"the zip's directory is cut off at member {index}: the file is damaged")
        yield _member(index, fields, directory[name_at:extra_at], directory[extra_at:comment_at], end.shift)
        index += 1


def _member(index: int, fields: tuple[int, ...], name: bytes, extra: bytes, shift: int) -> Member:
    _, _, _, flags, method, _, _, crc, compressed, size, *_, offset = fields
    broken = None
    extras = dict(_extras(extra))
    try:
        size, compressed, offset = _widened(extras.get(1, b""), size, compressed, offset)
    except MemberRefusedError as exc:
        broken = str(exc)
    return Member(
        number=index,
        name=_label(name, utf8=bool(flags & 0x800), unicode_path=extras.get(0x7075, b"")),
        method=method,
        # Bit 13: the directory's own values are encrypted too.
        encrypted=bool(flags & 0x2041),
        crc=crc,
        compressed=compressed,
        size=size,
        offset=offset + shift,
        bound=0,
        broken=broken,
    )


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        yield kind, extra[at : at + length]
        at += length


def _widened(zip64: bytes, *values: int) -> list[int]:
    """Return the values, each that is all ones replaced by the next 8 bytes of the zip64 field."""
    wide = list(values)
    for position, value in enumerate(values):
        if value == _ALL_ONES:
            if len(zip64) < 8:
                raise MemberRefusedError("its zip64 field is missing or too short")
            wide[position] = int.from_bytes(zip64[:8], "little")
            zip64 = zip64[8:]
    return wide


def _label(name: bytes, *, utf8: bool, unicode_path: bytes) -> str:
    """Decode a name. If the name is in a code page, the Info-ZIP Unicode path field may have it in UTF-8."""
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == zlib.crc32(name).to_bytes(4, "little"):
        name, utf8 = unicode_path[5:], True
    label = name.decode("utf-8", "backslashreplace") if utf8 else name.decode("cp437")
    return label if len(label) <= _NAME_MAX else label[: _NAME_MAX - 1] + "…"


def _bounded(members: list[Member], directory: int) -> tuple[Member, ...]:
    """Return the members with their bounds: the offsets where their bytes must end."""
    # Invalid entries must not set the bounds of others.
    stored = sorted((m for m in members if m.broken is None and m.offset < directory), key=_place)
    ends = [member.offset for member in stored[1:]] + [directory]
    bounds = {member.number: end for member, end in zip(stored, ends, strict=True)} if stored else {}
    return tuple(member._replace(bound=bounds.get(member.number, 0)) for member in members)


def _place(member: Member) -> tuple[int, int]:
    return member.offset, member.number
