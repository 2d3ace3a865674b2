"""Zips for the tests: valid ones by zipfile, and invalid ones, by patching their directory."""

import io
import struct
import zipfile
import zlib

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.zip.reader import Archive
from tests.fakes.preprocessing import MemoryReader

FIELDS = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<L"), "compressed": (20, "<L"), "size": (24, "<L")}
FIELDS |= {"disk": (34, "<H"), "offset": (42, "<L")}


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A valid zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def patched(content: bytes, index: int, **fields: int) -> bytes:
    """The same zip, with other values in one entry of its directory."""
    end = content.rindex(b"PK\5\6")
    at = struct.unpack_from("<L", content, end + 16)[0]
    for _ in range(index):
        at += 46 + sum(struct.unpack_from("<3H", content, at + 28))
    changed = bytearray(content)
    for name, value in fields.items():
        place, form = FIELDS[name]
        struct.pack_into(form, changed, at + place, value)
    return bytes(changed)


def by_hand(payload: bytes, inflated: bytes, method: int, name: bytes = b"m.bin", flags: int = 0) -> bytes:
    """A zip of one member whose compressed bytes are given."""
    metadata = struct.pack("<3H4x3L", 20, flags, method, zlib.crc32(inflated), len(payload), len(inflated))
    local = b"PK\3\4" + metadata + struct.pack("<2H", len(name), 0) + name + payload
    entry = b"PK\1\2" + struct.pack("<H", 20) + metadata + struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, 0) + name
    return local + entry + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)


def read_all(content: bytes, limits: Limits | None = None) -> list[bytes | str]:
    """Return each member's bytes, or the reason why it was refused."""
    archive = Archive(MemoryReader(content), limits or Limits())
    contents: dict[int, bytes | str] = {}
    with archive.batch(0, len(archive.members)) as reader:
        for member in archive.stored_order(0, len(archive.members)):
            try:
                read = reader.read(member, wanted=lambda _: True)
                assert read is not None
                contents[member.number] = read.getvalue()
            except MemberRefusedError as exc:
                contents[member.number] = str(exc)
    return [contents[index] for index in sorted(contents)]


class UnmarkedLzma:
    """An encoder of literals only that writes no end marker, which liblzma always writes."""

    def __init__(self) -> None:
        self._low, self._range, self._cache, self._waiting = 0, 2**32 - 1, 0, 1
        self._odds = dict[int, int]()
        self._out = bytearray()

    def encode(self, content: bytes) -> bytes:
        for byte in content:
            self._bit(-1, 0)  # no match
            symbol = 1
            for shift in range(7, -1, -1):
                bit = byte >> shift & 1
                self._bit(symbol, bit)
                symbol = symbol << 1 | bit
        for _ in range(5):
            self._shift()
        return struct.pack("<HHBL", 9 << 8, 5, 0, 2**16) + self._out

    def _bit(self, context: int, bit: int) -> None:
        odds = self._odds.get(context, 1024)
        bound = (self._range >> 11) * odds
        if bit:
            self._low, self._range, odds = self._low + bound, self._range - bound, odds - (odds >> 5)
        else:
            self._range, odds = bound, odds + ((2048 - odds) >> 5)
        self._odds[context] = odds
        while self._range < 2**24:
            self._range <<= 8
            self._shift()

    def _shift(self) -> None:
        if not 0xFF000000 <= self._low < 2**32:
            carry = self._low >> 32
            for last in [self._cache] + [0xFF] * (self._waiting - 1):
                self._out.append(last + carry & 0xFF)
            self._waiting, self._cache = 0, self._low >> 24 & 0xFF
        self._waiting += 1
        self._low = (self._low & 0xFFFFFF) << 8
