"""Zips of many programs are read; files that look like a zip and hide members are refused with the reason."""

import bz2
import io
import lzma
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ArchiveRefusedError
from preprocess.image.formats import skip_kind
from preprocess.model import Limits
from preprocess.zip.directory import BLOCK, Tail, read_directory
from preprocess.zip.end import is_complete, tail_length
from preprocess.zip.reader import Archive
from tests.fakes.preprocessing import MemoryReader
from tests.unit.preprocess.zips import UnmarkedLzma, by_hand, patched, read_all, zipped

TWO = zipped(("a.jpg", b"a" * 100), ("b.jpg", b"b" * 100))
READ: list[bytes | str] = [b"a" * 100, b"b" * 100]


def is_whole(content: bytes) -> bool:
    """Check a file as copying does."""
    return is_complete(content[len(content) - tail_length(len(content)) :], len(content))


def refusal_of(content: bytes) -> str:
    with pytest.raises(ArchiveRefusedError) as caught:
        Archive(MemoryReader(content), Limits())
    return str(caught.value)


# Ends


def end_of(content: bytes) -> tuple[bytes, int, int, int]:
    """The bytes before the end record, the number of members, the directory's size and its offset."""
    *_, members, size, offset, _ = struct.unpack("<4s4H2LH", content[-22:])
    return content[:-22], members, size, offset


def with_zip64(content: bytes, further: bytes = b"", full: str = "mso", gap: bytes = b"") -> bytes:
    """Add a zip64 end record, as writers do; `full` names the values for which the old record refers to it."""
    head, n, size, at = end_of(content)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44 + len(further), 45, 45, 0, 0, n, n, size, at) + further
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(head), 1)
    count, disk = (65535, 65535) if "m" in full else (n, 0)
    size, at = (2**32 - 1 if "s" in full else size), (2**32 - 1 if "o" in full else at)
    return head + record + gap + locator + struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, count, count, size, at, 0)


ENDS: Mapping[str, bytes] = {
    "one byte behind": TWO + b"\n",
    "filled to a sector": TWO + bytes(-len(TWO) % 512),
    "a text-mode end": TWO + b"\r\n\x1a",
    "a P behind": TWO + b"P",
    "a text of PKCS7 behind": TWO + bytes(3) + b"PKCS7 signature",
    "70,000 zeros behind": TWO + bytes(70_000),
    "a megabyte of zeros behind": TWO + bytes(2**20),
    "a comment shorter than told": TWO[:-2] + b"\7\0" + b"abc",
    "zip64, nothing in the old record": with_zip64(TWO, full="mso"),
    "zip64 with further data": with_zip64(TWO, bytes(8), full="mso"),
    "zip64 for the number alone": with_zip64(TWO, full="m"),
    "zip64 for the offset alone": with_zip64(TWO, full="o"),
    "zip64 without need": with_zip64(TWO, full=""),
    "zip64 and bytes before its locator": with_zip64(TWO, full="mso", gap=bytes(9)),
    "zip64 with further data behind a program": b"#!/bin/sh\n" + with_zip64(TWO, bytes(8), full="mso"),
    "bytes between directory and end": TWO[:-22] + bytes(33) + TWO[-22:],
    "an entry's length between directory and end": TWO[:-22] + b"x" * 51 + TWO[-22:],
    "a signature between directory and end": TWO[:-22] + b"PK\5\5\4\0sign" + TWO[-22:],
    "a signature in the directory": TWO[:-22]
    + b"PK\5\5\4\0sign"
    + TWO[-22:-10]
    + struct.pack("<L", end_of(TWO)[2] + 10)
    + TWO[-6:],
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_that_unzippers_read_is_read(end: str) -> None:
    assert read_all(ENDS[end]) == READ


@pytest.mark.parametrize("end", ENDS)
def test_every_such_end_is_found_whole_within_the_tail_that_copying_keeps(end: str) -> None:
    assert is_whole(ENDS[end]) == (end != "a megabyte of zeros behind")


def test_a_directory_larger_than_the_tail_is_found_behind_a_gap() -> None:
    content = zipped(*((f"{number:0100}.jpg", b"") for number in range(2000)))
    assert end_of(content)[2] > tail_length(2**30)
    content = content[:-22] + bytes(33) + content[-22:]
    assert is_whole(content)
    assert len(read_directory(MemoryReader(content), Limits())) == 2000


SIGNATURES = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"A" * 16, b"\0" * 8, b".jpg", b"\xff" * 4]
odd_names = st.lists(st.sampled_from(SIGNATURES), min_size=1, max_size=30).map(b"".join)


def as_last_name(name: bytes) -> bytes:
    return by_hand(b"1" * 50, b"1" * 50, 0, name)


@pytest.mark.parametrize(
    "name",
    [
        b"last-PK\6\7" + b"A" * 16,
        struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, 99, 9) + b"PK\6\7" + bytes(16),
    ],
)
def test_a_last_name_that_looks_like_zip64_records_is_a_name(name: bytes) -> None:
    assert read_all(as_last_name(name)) == [b"1" * 50]


@given(odd_names)
def test_no_name_of_a_member_costs_the_archive(name: bytes) -> None:
    assert read_all(as_last_name(name)) == [b"1" * 50]
    assert is_whole(as_last_name(name))


@given(st.sampled_from([TWO, ENDS["zip64 with further data"]]), st.binary(max_size=40), st.integers(0, 60_000))
def test_whatever_follows_a_zip_costs_no_member_in_silence(content: bytes, trailer: bytes, zeros: int) -> None:
    try:
        read = read_all(content + trailer + bytes(zeros))
    except ArchiveRefusedError:
        assert b"PK" in trailer, "only what looks like further records refuses"
    else:
        assert read == READ
        assert is_whole(content + trailer + bytes(zeros))


# Files that hide members are refused


DIED = TWO[: end_of(TWO)[3]]


@pytest.mark.parametrize(
    "end",
    [
        b"PK\5\6" + bytes(18),
        struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, len(DIED), 0),
        struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, len(DIED), 4) + b"late",
        with_zip64(b"PK\5\6" + bytes(18), full="mso"),
    ],
)
def test_an_empty_directory_behind_members_is_refused(end: bytes) -> None:
    reason = f"zip central directory is empty, but {len(DIED)} bytes lie before it"
    assert reason in refusal_of(DIED + end)
    assert not is_whole(DIED + end), "copying waits whether it is completed"


def test_an_empty_zip_is_no_such_thing() -> None:
    assert read_all(with_zip64(zipped(), full="mso")) == []


def test_several_zips_in_one_file_are_refused_instead_of_losing_the_first() -> None:
    assert "several zips in one" in refusal_of(zipped(("first", b"1")) + TWO)


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n", b"\n", b"MZ" + bytes(3_000)])
@pytest.mark.parametrize("first", [TWO, with_zip64(TWO, full="mso"), zipped(("c.jpg", b"c"))])
def test_several_zips_are_refused_behind_a_program_and_if_they_are_as_long(before: bytes, first: bytes) -> None:
    assert "several zips in one" in refusal_of(before + first + TWO)


def test_an_empty_zip_before_another_costs_no_member() -> None:
    assert read_all(zipped() + TWO) == READ


def test_an_inner_zip_never_stands_for_one_that_was_cut_off() -> None:
    outer = zipped(("first.jpg", b"1" * 50), ("inner.zip", TWO))
    cut = outer[: outer.index(TWO) + len(TWO)]
    # A data descriptor without its signature, or zeros and the next member.
    for behind in (b"", bytes(12), b"\1\2\3\4" * 3, bytes(300) + b"PK\3\4" + bytes(26)):
        assert "cut off" in refusal_of(cut + behind)


# Reads are bounded


class Sparse(MemoryReader):
    """A large file of zeros with some bytes in it."""

    def __init__(self, size: int, parts: Mapping[int, bytes]) -> None:
        super().__init__(b"")
        self.size = size
        self._parts = parts

    def read_range(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        self.requests.append((offset, length))
        block = bytearray(length)
        for at, part in self._parts.items():
            first, last = max(at, offset), min(at + len(part), offset + length)
            if first < last:
                block[first - offset : last - offset] = part[first - at : last - at]
        return bytes(block)


def test_what_is_no_zip_is_searched_no_further_than_a_block() -> None:
    reader = Sparse(2**40, {})
    with pytest.raises(ArchiveRefusedError, match="missing or truncated"):
        Archive(reader, Limits())
    assert len(reader.requests) == 2
    assert sum(length for _, length in reader.requests) < BLOCK + 2**19


@pytest.mark.parametrize("zip64", [False, True])
def test_a_large_archive_costs_no_request_but_for_its_tail_and_its_directory(zip64: bool) -> None:
    content = zipped(*((f"{number:0200}.jpg", b"") for number in range(2000)))
    content = with_zip64(content, full="mso") if zip64 else content
    head = end_of(zipped(*((f"{number:0200}.jpg", b"") for number in range(2000))))
    before = 3 * BLOCK
    # The members' bytes are moved apart: the position of the directory counts.
    directory = bytearray(content[head[3] :])
    struct.pack_into("<Q" if zip64 else "<L", directory, head[2] + (48 if zip64 else 16), before)
    reader = Sparse(before + len(directory), {before: bytes(directory)})
    assert len(read_directory(Tail(reader), Limits())) == 2000
    assert len(reader.requests) == 2


def test_a_comment_full_of_end_records_costs_few_requests() -> None:
    records = b"".join(
        struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 9, 22 * left) for left in reversed(range(2900))
    )
    reader = Sparse(2**40, {2**40 - len(records): records})
    with pytest.raises(ArchiveRefusedError):
        Archive(reader, Limits())
    assert len(reader.requests) < 40


def test_a_file_full_of_signatures_takes_little_memory() -> None:
    content = b"PK\5\6" * (BLOCK // 4) + bytes(70_000)
    tracemalloc.start()
    try:
        refusal_of(content)
        assert tracemalloc.get_traced_memory()[1] < 3 * BLOCK
    finally:
        tracemalloc.stop()


# More than 4 GiB without zip64


def over_4_gib(places: list[int], directory_at: int) -> Sparse:
    """Members at places beyond 4 GiB, with offsets as older macOS writes them: the lowest 32 bits."""
    parts, entries = dict[int, bytes](), b""
    for number, place in enumerate(places):
        single = by_hand(f"{number}".encode() * 9, f"{number}".encode() * 9, 0)
        head, _, size, at = end_of(single)
        parts[place] = head[:at]
        entries += patched(single, 0, offset=place % 2**32)[at : at + size]
    n = len(places)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(entries), directory_at % 2**32, 0)
    parts[directory_at] = entries + end
    return Sparse(directory_at + len(entries) + len(end), parts)


@pytest.mark.parametrize(
    ("places", "directory_at"),
    [
        ([0, 3 * 2**30, 2**32 + 5, 2**32 + 100], 2**32 + 2**20),
        ([0, 3 * 2**30, 5 * 2**30, 7 * 2**30, 9 * 2**30], 9 * 2**30 + 500),
        ([0, 2**32 - 100], 2**32 + 7),
        ([0, 2**32], 2**32 + 500),
    ],
)
def test_offsets_modulo_4_gib_are_read_in_stored_order(places: list[int], directory_at: int) -> None:
    reader = over_4_gib(places, directory_at)
    archive = Archive(reader, Limits())
    assert [member.offset for member in archive.members] == places
    for member in archive.members:
        with archive.batch(member.number, member.number + 1) as members:
            content = members.read(member, wanted=lambda _: True)
        assert content is not None
        assert content.getvalue() == f"{member.number}".encode() * 9


def test_offsets_that_do_not_add_up_are_refused_and_not_guessed() -> None:
    with pytest.raises(ArchiveRefusedError, match="do not add up"):
        Archive(over_4_gib([0, 3 * 2**30, 2**31, 2**32 + 5], 2**32 + 2**20), Limits())


# Methods


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=20))
def test_lzma_without_an_end_mark_is_read_to_its_size_and_no_further(content: bytes, padding: bytes) -> None:
    assert read_all(by_hand(UnmarkedLzma().encode(content) + padding, content, 14)) == [content]


@given(st.binary(min_size=1, max_size=100), st.integers(1, 20))
def test_lzma_without_an_end_mark_that_is_cut_off_is_refused(content: bytes, cut: int) -> None:
    payload = UnmarkedLzma().encode(content)
    (read,) = read_all(by_hand(payload[: max(0, len(payload) - 5 - cut)], content, 14))
    assert isinstance(read, str)


def test_marked_lzma_of_more_bytes_than_the_directory_says_is_refused() -> None:
    raw = lzma.compress(b"x" * 1000, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 2**16}])
    payload = struct.pack("<HHBL", 9 << 8, 5, 93, 2**16) + raw
    assert read_all(by_hand(payload, b"x" * 1000, 14, flags=2)) == [b"x" * 1000]
    assert "more than the 900 bytes" in str(read_all(by_hand(payload, b"x" * 900, 14, flags=2))[0])


def many_frames(content: bytes) -> bytes:
    skippable = struct.pack("<2L", 0x184D2A50, 5) + b"about"
    return skippable + b"".join(zstd.compress(content[at : at + 1000]) for at in range(0, len(content), 1000))


def many_streams(pack: Callable[[bytes], bytes], content: bytes) -> bytes:
    """As writers with several threads make them, also an empty one, with padding."""
    return pack(b"") + b"".join(bytes(4) + pack(content[at : at + 70_000]) for at in range(0, len(content), 70_000))


PACKED: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
    "bzip2 of many streams": (12, partial(many_streams, bz2.compress)),
    "XZ of many streams": (95, partial(many_streams, lzma.compress)),
    "XZ": (95, lzma.compress),
    "XZ at its strongest": (95, lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
    "Zstandard": (93, zstd.compress),
    "Zstandard by its early number": (20, zstd.compress),
    "Zstandard of many frames": (93, many_frames),
}


@pytest.mark.parametrize("packed", PACKED)
@given(content=st.one_of(st.binary(min_size=1, max_size=5000), st.integers(1, 3 * 2**20).map(bytes)))
@settings(max_examples=20)
def test_xz_and_zstandard_and_many_streams_are_read(packed: str, content: bytes) -> None:
    method, pack = PACKED[packed]
    assert read_all(by_hand(pack(content), content, method), Limits(ratio=10**9)) == [content]


@pytest.mark.parametrize("packed", PACKED)
def test_their_streams_that_end_early_or_are_broken_are_refused(packed: str) -> None:
    method, pack = PACKED[packed]
    content = bytes(range(256)) * 40
    payload = pack(content)
    for broken in (payload[:-3], payload[: len(payload) // 2], b"x" * 50, b""):
        (refused,) = read_all(by_hand(broken, content, method))
        assert isinstance(refused, str)


@pytest.mark.parametrize("packed", PACKED)
def test_their_bombs_stop_at_the_limits(packed: str) -> None:
    method, pack = PACKED[packed]
    bomb = bytes(8 * 2**20)
    content = by_hand(pack(bomb), bomb, method)
    assert "LIMIT_RATIO" in str(read_all(content, Limits(ratio=10))[0])
    archive = Archive(MemoryReader(content), Limits(member_bytes=2 * 2**20, ratio=10**9))
    with archive.batch(0, 1) as reader:
        with pytest.raises(Exception, match="LIMIT_MEMBER_BYTES"):
            reader.read(archive.members[0], wanted=lambda _: True)
        assert Limits().batch_bytes - reader._budget.left <= 4 * 2**20


def test_a_million_empty_frames_are_refused_in_no_time() -> None:
    empty, began = struct.pack("<2L", 0x184D2A50, 0), time.process_time()
    last = zstd.compress(b"x")
    assert read_all(by_hand(empty * 9_999 + last, b"x", 93)) == [b"x"]
    assert "more than 10,000 compressed streams" in str(read_all(by_hand(empty * 10**6 + last, b"x", 93))[0])
    assert time.process_time() - began < 10


def test_a_stream_that_asks_for_gibibytes_of_memory_is_refused() -> None:
    large = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}])
    # The window is that of the options only if the frame does not give its size.
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    wide = compressor.compress(b"x" * 9) + compressor.flush()
    for payload, content, method in ((large, b"x", 95), (wide, b"x" * 9, 93)):
        assert "corrupt" in str(read_all(by_hand(payload, content, method))[0])


# Ratio


def test_no_honest_deflate_member_meets_the_default_ratio() -> None:
    black = b"BM" + bytes(20 * 2**20)
    payload = zlib.compress(black, 9, -15)
    assert len(black) / len(payload) > 1_000
    assert read_all(by_hand(payload, black, 8)) == [black]


# Names


def name_of(raw: bytes, encoding: str | None = None, flags: int = 0) -> str:
    (member,) = read_directory(MemoryReader(by_hand(b"1", b"1", 0, raw, flags)), Limits(), encoding)
    return member.name


JAPANESE = "天気図表.jpg"


@pytest.mark.parametrize(
    ("name", "encoding"), [(JAPANESE, "cp932"), ("功能表.jpg", "big5"), ("許功蓋", "big5"), ("誠.jpg", "gbk")]
)
def test_a_name_in_a_code_page_is_decoded_by_the_setting(name: str, encoding: str) -> None:
    assert name_of(name.encode(encoding), encoding) == name
    assert name_of(name.encode(), encoding, flags=0x800) == name, "names that are marked as UTF-8 stay so"


def test_a_name_that_is_not_in_the_sources_encoding_is_guessed() -> None:
    assert name_of(b"\x81\xff.jpg", "cp932") == name_of(b"\x81\xff.jpg") == "ü\xa0.jpg"


def test_names_without_the_flag_are_utf8_where_they_can_be() -> None:
    assert name_of("grün/日本.jpg".encode()) == "grün/日本.jpg"


trail_bytes = st.builds(lambda lead: bytes([lead, 0x5C]), st.integers(0x81, 0xFE))
stems = st.lists(st.one_of(trail_bytes, st.sampled_from([b"a", b"z-9", "表".encode("big5")])), min_size=1)


@given(stems.map(b"".join), st.sampled_from([b".jpg", b""]))
def test_no_name_is_a_path_because_of_a_trail_byte(stem: bytes, suffix: bytes) -> None:
    name = name_of(stem + suffix)
    assert "\\" not in name
    assert skip_kind(name, 1) is None


@pytest.mark.parametrize("name", ["d/" * 5_000 + "a.jpg", "n" * 60_000 + ".jpg.gz", "表" * 2_000 + ".jpg"])
def test_a_name_that_is_cut_keeps_its_suffix(name: str) -> None:
    label = name_of(name.encode(), flags=0x800)
    assert (len(label), label[:500], label[-500:]) == (1024, name[:500], name[-500:])


def test_backslashes_of_windows_stay() -> None:
    assert name_of(b"folder\\a.jpg") == "folder\\a.jpg"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a\\.jpg", None),
        (".jpg", "hidden"),
        ("folder/.a.jpg", "hidden"),
        (".cache/a.jpg", None),
        ("..jpg", "hidden"),
        ("../a.jpg", None),
    ],
)
def test_only_a_base_name_that_begins_with_a_dot_is_hidden(name: str, kind: str | None) -> None:
    assert skip_kind(name, 1) == kind


# Links


def linked(name: str, system: int = 3) -> bytes:
    out = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = system, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"\xff\xd8\xff/../real.jpg")
        archive.writestr("real.jpg", b"real")
    return out.getvalue()


@pytest.mark.parametrize("system", [3, 19])
def test_a_symbolic_link_is_refused_and_not_decoded(system: int) -> None:
    link, real = read_all(linked("latest.jpg", system))
    assert "is a symbolic link" in str(link)
    assert real == b"real"


def test_attributes_of_other_systems_make_no_link() -> None:
    assert read_all(linked("latest.jpg", 0)) == [b"\xff\xd8\xff/../real.jpg", b"real"]
