"""Zip archives are read by ranges, within limits, and a bad member does not affect the others."""

import io
import lzma
import random
import struct
import threading
import tracemalloc
import zipfile
import zlib

import inflate64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ArchiveRefusedError
from imagefeed.errors import MemberRefusedError, StoreUnavailableError
from preprocess.model import Limits
from preprocess.zip.directory import BLOCK, read_directory
from preprocess.zip.inflate import PIECE
from preprocess.zip.reader import HEAD, Archive
from tests.fakes.preprocessing import MemoryReader
from tests.unit.preprocess.zips import by_hand, patched, read_all, zipped

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
NOISE = random.Random(7).randbytes(PIECE + PIECE // 2 + 17)


class Unseekable(io.RawIOBase):
    """A pipe: zipfile cannot go back to write sizes, so it writes data descriptors."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        self.written += bytes(data)  # type: ignore[call-overload] # a buffer; typeshed has no name for it here
        return len(bytes(data))  # type: ignore[call-overload] # as above


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [b"", b"x", b"ab" * 50_000, NOISE[: PIECE - 1], NOISE[:PIECE], NOISE])
def test_members_come_out_as_they_went_in(method: int, content: bytes) -> None:
    members = [("first.jpg", b"before"), ("second.jpg", content), ("third.jpg", b"after")]
    assert read_all(zipped(*members, method=method)) == [b"before", content, b"after"]


@pytest.mark.parametrize("content", [b"x", b"ab" * 500_000, NOISE[:200_000]])
def test_deflate64_is_read(content: bytes) -> None:
    deflater = inflate64.Deflater()
    payload = deflater.deflate(content) + deflater.flush()
    assert read_all(by_hand(payload, content, 9)) == [content]


def test_deflate64_reaches_further_back_than_deflate() -> None:
    """A feature that only deflate64 has, written by hand: a match of 50,000 bytes, 50,000 bytes back."""
    block = NOISE[:50_000]
    stored = struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF) + block
    length, distance = bits(0b11000101, 8, huffman=True) + bits(50_000 - 3, 16), bits(31, 5, huffman=True)
    match = "1" + bits(1, 2) + length + distance + bits(50_000 - 49_153, 14) + bits(0, 7)
    payload = stored + int(match[::-1], 2).to_bytes((len(match) + 7) // 8, "little")
    assert read_all(by_hand(payload, block + block, 9)) == [block + block]


def bits(value: int, count: int, *, huffman: bool = False) -> str:
    """Bits in the order of a deflate stream, lowest first; but Huffman codes are highest first."""
    text = f"{value:0{count}b}"
    return text if huffman else text[::-1]


def test_lzma_without_the_flag_of_its_end_mark_is_read() -> None:
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 2**20}]
    raw = lzma.compress(b"satellite" * 9999, lzma.FORMAT_RAW, filters=filters)
    payload = struct.pack("<HHBL", 9 << 8, 5, 93, 2**32 - 1) + raw
    assert read_all(by_hand(payload, b"satellite" * 9999, 14)) == [b"satellite" * 9999]


def test_an_lzma_dictionary_of_4_gib_takes_no_such_memory() -> None:
    # Resident memory would not show it, because untouched pages take none.
    tracemalloc.start()
    try:
        test_lzma_without_the_flag_of_its_end_mark_is_read()
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_data_descriptors_are_read() -> None:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"a" * 1000)
        archive.writestr("b.jpg", NOISE)
    assert b"PK\7\10" in stream.written
    assert read_all(bytes(stream.written)) == [b"a" * 1000, NOISE]


def test_zip64_fields_are_read() -> None:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as member:
        member.write(b"a" * 1000)
    assert read_all(bytes(stream.written)) == [b"a" * 1000]


def test_a_zip64_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # zipfile's own way to such a file without its 65,536 members.
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    content = zipped(("a", b"1"), ("b", b"2"), ("c", b"3"))
    assert b"PK\6\6" in content, "a zip64 end record"
    assert read_all(content) == [b"1", b"2", b"3"]


def test_what_stands_in_front_of_a_zip_is_no_trouble() -> None:
    assert read_all(b"#!/bin/sh\n" * 99 + zipped(("a", b"1"), ("b", b"2"))) == [b"1", b"2"]


@pytest.mark.parametrize("comment", [b"PK\5\6" + b"x" * 40, b"x" * 65_535])
def test_a_comment_is_no_trouble(comment: bytes) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"1")
        archive.comment = comment
    assert read_all(stream.getvalue()) == [b"1"]


def names(content: bytes) -> list[str]:
    return [member.name for member in read_directory(MemoryReader(content), Limits())]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/abs.jpg", "a\\b.jpg", "", "ä/日本.jpg", "n" * 300, "same", "x\ny"]
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_are_labels(name: str) -> None:
    content = zipped((name, b"1"), ("same", b"2"), (name, b"3"))
    assert names(content) == [name, "same", name]
    assert read_all(content) == [b"1", b"2", b"3"]


def test_names_without_the_utf8_flag_are_cp437() -> None:
    assert names(by_hand(b"1", b"1", 0, name="grün.jpg".encode("cp437"))) == ["grün.jpg"]


def test_a_name_that_is_no_utf8_costs_nothing() -> None:
    content = by_hand(b"1", b"1", 0, name=b"gr\xfcn\0.jpg", flags=0x800)
    assert names(content) == ["gr\\xfcn\0.jpg"]
    assert read_all(content) == [b"1"]


def test_endless_names_are_cut() -> None:
    assert len(names(zipped(("n" * 60_000, b"1")))[0]) == 1024


def test_an_empty_zip_has_no_members() -> None:
    assert read_all(zipped()) == []


MEMBERS = st.tuples(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.binary(max_size=300),
    st.sampled_from(METHODS),
)


@given(st.lists(MEMBERS, max_size=8, unique_by=lambda member: member[0]))
def test_the_standard_library_reads_the_same(members: list[tuple[str, bytes, int]]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content, method in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    with zipfile.ZipFile(stream) as archive:
        expected = [(info.filename, archive.read(info)) for info in archive.infolist()]
    contents = zip(names(stream.getvalue()), read_all(stream.getvalue()), strict=True)
    assert list(contents) == expected


# Whole archives that are refused


@pytest.mark.parametrize("content", [b"", b"no zip", b"x" * 100_000, zipped(("a", b"1"))[:-30]])
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveRefusedError, match="zip"):
        Archive(MemoryReader(content), Limits())


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_anywhere_is_refused_or_harmless(at: int, value: int) -> None:
    """Only our own errors are raised, and no member has other bytes than were written."""
    complete = zipped(("a.jpg", b"one" * 100), ("b.jpg", b"two" * 100), method=zipfile.ZIP_DEFLATED)
    content = bytearray(complete)
    content[at % len(content)] = value
    try:
        contents = read_all(bytes(content))
    except ArchiveRefusedError:
        return
    for member, expected in zip(contents, (b"one" * 100, b"two" * 100), strict=False):
        assert isinstance(member, str) or member == expected


@given(st.integers(0, 10_000))
def test_a_zip_that_was_cut_off_is_refused(cut: int) -> None:
    complete = zipped(("a.jpg", b"one" * 100), ("b.jpg", b"two" * 100))
    with pytest.raises(ArchiveRefusedError):
        Archive(MemoryReader(complete[: cut % len(complete)]), Limits())


def test_too_many_members_are_refused_before_the_directory_is_read() -> None:
    content = zipped(*((f"{n}", b"") for n in range(11)))
    with pytest.raises(ArchiveRefusedError, match="11 members, LIMIT_ARCHIVE_MEMBERS allows 10"):
        Archive(MemoryReader(content), Limits(archive_members=10))
    assert len(read_all(content, Limits(archive_members=11))) == 11


def test_an_end_record_that_lies_about_the_count_is_noticed() -> None:
    content = bytearray(zipped(*((f"{n}", b"") for n in range(11))))
    struct.pack_into("<2H", content, content.rindex(b"PK\5\6") + 8, 3, 3)
    with pytest.raises(ArchiveRefusedError, match="LIMIT_ARCHIVE_MEMBERS=10"):
        Archive(MemoryReader(bytes(content)), Limits(archive_members=10))
    with pytest.raises(ArchiveRefusedError, match="11 members, its end record says 3"):
        Archive(MemoryReader(bytes(content)), Limits())


def test_a_directory_that_is_huge_for_its_members_is_refused() -> None:
    with pytest.raises(ArchiveRefusedError, match="LIMIT_ARCHIVE_MEMBERS"):
        Archive(MemoryReader(zipped(*((f"{n}" * 20_000, b"") for n in range(4)))), Limits(archive_members=5))


def test_a_part_of_a_split_zip_is_refused() -> None:
    content = bytearray(zipped(("a", b"1")))
    struct.pack_into("<H", content, content.rindex(b"PK\5\6") + 4, 2)
    with pytest.raises(ArchiveRefusedError, match="split"):
        Archive(MemoryReader(bytes(content)), Limits())


# Single members that are refused

SOUND = zipped(("a.jpg", b"a" * 100), ("b.jpg", b"b" * 100), ("c.jpg", b"c" * 100), method=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"flags": 1}, "encrypted"),
        ({"flags": 0x40}, "encrypted"),
        ({"method": 99}, "method 99"),
        ({"method": 6}, "method 6"),
        ({"crc": 12345}, "CRC"),
        ({"size": 99}, "more than the 99 bytes"),
        ({"size": 101}, "100 bytes, the central directory says 101"),
        ({"size": 0}, "more than the 0 bytes"),
        ({"compressed": 2}, "corrupt"),
        ({"compressed": 60_000}, "overlaps"),
        ({"offset": 3}, "no member begins"),
        ({"offset": 2**32 - 2}, "offset"),
        ({"size": 2**32 - 1}, "zip64"),
    ],
)
def test_a_member_that_lies_is_refused_and_the_others_are_not(fields: dict[str, int], reason: str) -> None:
    first, second, third = read_all(patched(SOUND, 1, **fields))
    assert isinstance(second, str)
    assert reason in second
    assert third == b"c" * 100
    if fields.get("offset") != 3:
        assert first == b"a" * 100


def test_members_that_share_bytes_are_refused() -> None:
    """A quoting bomb: each member's bytes contain all members behind it."""
    first = 30 + len("a.jpg") + len(b"a" * 100)
    content = patched(zipped(("a.jpg", b"a" * 100), ("b.jpg", b"b" * 100)), 0, compressed=first + 100)
    first_read, second_read = read_all(content)
    assert "overlaps" in str(first_read)
    assert second_read == b"b" * 100


def test_two_entries_of_one_member_are_read_once() -> None:
    content = zipped(("a.jpg", b"a" * 100), ("b.jpg", b"b" * 100))
    contents = read_all(patched(content, 1, offset=0, crc=zlib.crc32(b"a" * 100)))
    assert sum(read == b"a" * 100 for read in contents) == 1


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_member_whose_stream_ends_early_is_refused(method: int) -> None:
    whole = zipped(("a", NOISE[:5000]), method=method)
    payload = whole[31 : 31 + 4000]
    (refused,) = read_all(by_hand(payload, NOISE[:5000], method))
    assert isinstance(refused, str)


# Limits hold while inflating

BOMB = zlib.compress(bytes(30 * 2**20), 9, -15)


def lying(payload: bytes, size: int, method: int = 8) -> bytes:
    """A zip that declares few bytes and holds many."""
    return patched(by_hand(payload, bytes(10), method), 0, size=size)


@pytest.mark.parametrize("size", [10, 2**20, 30 * 2**20, 2**32 - 2])
def test_a_bomb_is_refused_whatever_it_declares(size: int) -> None:
    (refused,) = read_all(lying(BOMB, size))
    assert isinstance(refused, str)


def test_the_ratio_is_judged_from_1_mib_on() -> None:
    below, above = bytes(2**20), bytes(2**20 + 1)
    content = zipped(("a", below), ("b", above), method=zipfile.ZIP_DEFLATED)
    assert read_all(content, Limits(ratio=20)) == [
        below,
        "it inflates to more than LIMIT_RATIO=20 times its compressed size",
    ]


def test_a_members_bytes_are_limited() -> None:
    content = zipped(("a", NOISE), ("b", NOISE[:-1]))
    refused, read = read_all(content, Limits(member_bytes=len(NOISE) - 1))
    assert "LIMIT_MEMBER_BYTES" in str(refused)
    assert read == NOISE[:-1]


def test_a_batchs_bytes_are_limited_together() -> None:
    content = zipped(("a", NOISE[:1000]), ("b", NOISE[:1000]), ("c", NOISE[:1000]))
    first, second, third = read_all(content, Limits(batch_bytes=2000))
    assert (first, second) == (NOISE[:1000], NOISE[:1000])
    assert "LIMIT_BATCH_BYTES=2000" in str(third)


@pytest.mark.parametrize("method", [*METHODS[1:], 9])
def test_inflating_stops_soon_after_a_limit(method: int) -> None:
    """However well a bomb is compressed, little more than the limit is inflated."""
    bomb = bytes(64 * 2**20)
    if method == 9:
        deflater = inflate64.Deflater()
        content = by_hand(deflater.deflate(bomb) + deflater.flush(), bomb, 9)
    else:
        content = zipped(("bomb", bomb), method=method)
    archive = Archive(MemoryReader(content), Limits(member_bytes=2 * 2**20, ratio=10**9))
    with archive.batch(0, 1) as reader:
        with pytest.raises(Exception, match="LIMIT_MEMBER_BYTES"):
            reader.read(archive.members[0], wanted=lambda _: True)
        made = Limits().batch_bytes - reader._budget.left
    assert made < 2 * 2**20 + 8 * 2**20


def test_a_member_that_is_not_wanted_is_not_inflated_further() -> None:
    archive = Archive(MemoryReader(zipped(("a.bin", NOISE))), Limits())
    with archive.batch(0, 1) as reader:
        assert reader.read(archive.members[0], wanted=lambda head: head != NOISE[:HEAD]) is None
        assert Limits().batch_bytes - reader._budget.left < len(NOISE)


# Ranges


def large(members: int) -> tuple[bytes, list[bytes]]:
    contents = [random.Random(n).randbytes(3 * 2**20 + n) for n in range(members)]
    return zipped(*((f"{n}.jpg", content) for n, content in enumerate(contents))), contents


def test_a_small_archive_is_read_in_one_request() -> None:
    reader = MemoryReader(zipped(("a", b"1"), ("b", b"2")))
    archive = Archive(reader, Limits())
    with archive.batch(0, 2) as members:
        assert [members.read(member, wanted=lambda _: True) is not None for member in archive.members] == [True, True]
    assert len(reader.requests) == 1


def test_a_large_archive_is_read_in_blocks_and_only_where_its_batch_lies() -> None:
    content, contents = large(9)
    reader = MemoryReader(content)
    archive = Archive(reader, Limits())
    reader.requests.clear()
    with archive.batch(1, 8) as members:
        for member in archive.members[1:8]:
            read = members.read(member, wanted=lambda _: True)
            assert read is not None
            assert read.getvalue() == contents[member.number]
    assert [length for _, length in reader.requests[:-1]] == [BLOCK] * (len(reader.requests) - 1)
    assert sum(length for _, length in reader.requests) == archive.members[8].offset - archive.members[1].offset


def test_the_next_block_is_read_while_the_first_is_decoded() -> None:
    content, _ = large(4)
    second = threading.Event()

    class Telling(MemoryReader):
        def read_range(self, offset: int, length: int) -> bytes:
            if offset == BLOCK:
                second.set()
            return super().read_range(offset, length)

    archive = Archive(Telling(content), Limits())
    with archive.batch(0, 4) as members:
        members.read(archive.members[0], wanted=lambda _: True)
        assert second.wait(5), "the second block was not read ahead"


def test_an_error_of_the_blob_passes_through() -> None:
    content, _ = large(4)

    class Failing(MemoryReader):
        def read_range(self, offset: int, length: int) -> bytes:
            if offset == BLOCK:
                raise StoreUnavailableError("read a range")
            return super().read_range(offset, length)

    archive = Archive(Failing(content), Limits())
    with archive.batch(0, 4) as members:
        members.read(archive.members[0], wanted=lambda _: True)
        with pytest.raises(StoreUnavailableError):
            members.read(archive.members[2], wanted=lambda _: True)


def test_no_thread_is_left_behind() -> None:
    content, _ = large(4)
    before = threading.active_count()
    archive = Archive(MemoryReader(content), Limits())
    with archive.batch(0, 4) as members:
        members.read(archive.members[0], wanted=lambda _: True)
    assert threading.active_count() == before


def test_a_blob_that_gives_too_few_bytes_hangs_nobody() -> None:
    content, _ = large(4)

    class Short(MemoryReader):
        def read_range(self, offset: int, length: int) -> bytes:
            return super().read_range(offset, length)[: 1 if offset == BLOCK else None]

    archive = Archive(Short(content), Limits())
    with archive.batch(0, 4) as members, pytest.raises(MemberRefusedError, match="truncated"):
        members.read(archive.members[2], wanted=lambda _: True)
