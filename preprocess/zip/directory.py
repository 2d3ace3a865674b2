"""The central directory of a zip archive: found at the archive's end, checked against the limits, then parsed.

The standard library's zipfile is not used: it creates an object for every entry before they can be counted, and rejects
the whole archive if a single entry is odd (a name that is not UTF-8, a version from the future). The tests compare
both.
"""

import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from config.errors import ArchiveIncompleteError, ArchiveRefusedError
from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.ports import RangeReader
from preprocess.zip.end import End, find_ends, tail_length

BLOCK = 8 * 2**20
"""Bytes per request. An archive of at most this size is read in a single one."""
_TAIL = 256 * 2**10
"""Bytes of a larger archive that are read first: more than the longest comment, and enough for most directories."""
_ENTRY_MEAN = 1024
"""Bytes that a directory may have for each allowed member."""
_NAME_MAX = 1024
_ALL_ONES = 0xFFFFFFFF
_UTF8, _LZMA_MARKED = 0x800, 2
"""Flags."""
_UNIX = (3, 19)
"""Systems whose file modes are in the upper half of the attributes: Unix and macOS."""
_TRAIL_BYTE = re.compile(r"(?<=[^\0-\x7f])\\")
"""A backslash behind a byte that is not ASCII."""

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
    marked: bool = False
    """Whether an LZMA stream marks its end; else its size shows it."""
    link: bool = False
    """Whether it is a symbolic link."""


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


def read_directory(reader: RangeReader, limits: Limits, encoding: str | None = None) -> tuple[Member, ...]:
    """Read all entries, in their order. `encoding` is that of names that are not marked as UTF-8.

    If the file's last 128 KiB show no directory, its last 8 MiB are searched: writers pad to sectors or to a size that
    was reserved. No more, so that what is no zip costs one request. Raises ArchiveRefusedError.
    """
    short, long = tail_length(reader.size), min(reader.size, BLOCK)
    try:
        return _read_from(short, reader, limits, encoding)
    except ArchiveIncompleteError:
        if long == short:
            raise
    return _read_from(long, reader, limits, encoding)


def _read_from(span: int, reader: RangeReader, limits: Limits, encoding: str | None) -> tuple[Member, ...]:
    tail = reader.read_range(reader.size - span, span)
    ends = find_ends(tail, reader.size, lambda offset: reader.read_range(offset, 4))
    return _first_readable(ends, reader, limits, encoding)


def _first_readable(
    ends: Sequence[End], reader: RangeReader, limits: Limits, encoding: str | None
) -> tuple[Member, ...]:
    try:
        return _read(ends[0], reader, limits, encoding)
    except ArchiveIncompleteError:
        if len(ends) == 1:
            raise
    return _first_readable(ends[1:], reader, limits, encoding)


def _read(end: End, reader: RangeReader, limits: Limits, encoding: str | None) -> tuple[Member, ...]:
    allowed = limits.archive_members
    if end.members > allowed:
        raise ArchiveRefusedError(f"the zip has {end.members} members, LIMIT_ARCHIVE_MEMBERS allows {allowed}")
    if end.size > _ENTRY_MEAN * max(allowed, 64):
        raise ArchiveRefusedError(
            f"zip central directory has {end.size} bytes, too many for LIMIT_ARCHIVE_MEMBERS={allowed}"
        )
    members = list(_entries(reader.read_range(end.start, end.size), end, allowed, encoding))
    # Some writers do not use zip64 for many members: the end record then has their number modulo 65,536.
    if len(members) != end.members and (len(members) % 65_536 != end.members or end.members > 65_535):
        raise ArchiveIncompleteError(
            f"zip central directory lists {len(members)} members, its end record says {end.members}"
        )
    return _bounded(_unwrapped(members, end) if end.wrapped else members, end.start)


def _unwrapped(members: list[Member], end: End) -> list[Member]:
    """Return the members with their true offsets in a zip of more than 4 GiB without zip64.

    Its directory is in stored order, so that an offset which is not above the one before has passed another 4 GiB.
    """
    wraps, last = 0, -1
    unwrapped = []
    for member in members:
        wraps += member.offset <= last
        last = member.offset
        unwrapped.append(member._replace(offset=last + wraps * 2**32))
    # The directory's own offset is the last in this order.
    if wraps + (end.start - end.shift < last) != end.shift >> 32:
        raise ArchiveRefusedError(
            "it is larger than 4 GiB without zip64, and its members' offsets do not add up to its size"
        )
    return unwrapped


def _entries(directory: bytes, end: End, allowed: int, encoding: str | None) -> Iterator[Member]:
    shift = 0 if end.wrapped else end.shift
    at = index = 0
    # A digital signature may follow the entries.
    while at < len(directory) and not directory.startswith(b"PK\5\5", at):
        if index == allowed:
            raise ArchiveRefusedError(f"the zip has more members than LIMIT_ARCHIVE_MEMBERS={allowed} allows")
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\1\2":
            raise ArchiveIncompleteError(f"zip central directory unreadable at member {index}: the file is damaged")
        fields = _ENTRY.unpack_from(directory, at)
        name_at = at + _ENTRY.size
        extra_at = name_at + fields[10]
        comment_at = extra_at + fields[11]
        at = comment_at + fields[12]
        if at > len(directory):
            raise ArchiveIncompleteError(f"zip central directory truncated at member {index}: the file is damaged")
        name, extra = directory[name_at:extra_at], directory[extra_at:comment_at]
        yield _member(index, fields, name, extra, shift, encoding)
        index += 1


def _member(index: int, fields: tuple[int, ...], name: bytes, extra: bytes, shift: int, encoding: str | None) -> Member:
    _, made_by, _, flags, method, _, _, crc, compressed, size, *_, attributes, offset = fields
    broken = None
    extras = dict(_extras(extra))
    try:
        size, compressed, offset = _widened(extras.get(1, b""), size, compressed, offset)
    except MemberRefusedError as exc:
        broken = str(exc)
    return Member(
        number=index,
        name=_label(name, extras.get(0x7075, b""), encoding, utf8=bool(flags & _UTF8)),
        method=method,
        # Bit 13: the directory's own values are encrypted too.
        encrypted=bool(flags & 0x2041),
        crc=crc,
        compressed=compressed,
        size=size,
        offset=offset + shift,
        bound=0,
        broken=broken,
        marked=bool(flags & _LZMA_MARKED),
        link=made_by >> 8 in _UNIX and stat.S_ISLNK(attributes >> 16),
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


def _label(name: bytes, unicode_path: bytes, encoding: str | None, *, utf8: bool) -> str:
    """Decode a name. If the name is in a code page, the Info-ZIP Unicode path field may have it in UTF-8."""
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == zlib.crc32(name).to_bytes(4, "little"):
        name, utf8 = unicode_path[5:], True
    label = name.decode("utf-8", "backslashreplace") if utf8 else _guessed(name, encoding)
    # The end has the suffix.
    return label if len(label) <= _NAME_MAX else f"{label[: _NAME_MAX // 2]}…{label[1 - _NAME_MAX // 2 :]}"


def _guessed(name: bytes, encoding: str | None) -> str:
    """Decode a name that is not marked as UTF-8: by the setting, else as UTF-8 if it is that, else as CP437."""
    for candidate in (encoding, "utf-8"):
        with suppress(UnicodeError):
            if candidate:
                return name.decode(candidate)
    # In CP932, Big5 and GBK a backslash may be the second byte of a character, and then separates no folders.
    return _TRAIL_BYTE.sub("\N{SET MINUS}", name.decode("cp437"))


def _bounded(members: list[Member], directory: int) -> tuple[Member, ...]:
    """Return the members with their bounds: the offsets where their bytes must end."""
    # Invalid entries must not set the bounds of others.
    stored = sorted((m for m in members if m.broken is None and m.offset < directory), key=_place)
    ends = [member.offset for member in stored[1:]] + [directory]
    bounds = {member.number: end for member, end in zip(stored, ends, strict=True)} if stored else {}
    return tuple(member._replace(bound=bounds.get(member.number, 0)) for member in members)


def _place(member: Member) -> tuple[int, int]:
    return member.offset, member.number
