"""The end of a file shows where its zip directory is: copying and reading agree on it."""

import io
import struct
import zipfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.errors import ArchiveRefusedError
from preprocess.model import Limits
from preprocess.zip.directory import read_directory
from preprocess.zip.end import is_complete, tail_length
from tests.fakes.preprocessing import MemoryReader


def is_whole(content: bytes) -> bool:
    """Check a file as copying does."""
    return is_complete(content[len(content) - tail_length(len(content)) :], len(content))


def make_zip(members: list[bytes], comment: bytes = b"", *, zip64: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, member in enumerate(members):
            with archive.open(f"{number}.png", "w", force_zip64=zip64) as file:
                file.write(member)
        archive.comment = comment
    return out.getvalue()


def with_zip64_end(content: bytes) -> bytes:
    """Return a zip with the end records of one of over 4 GiB."""
    _, _, _, _, entries, length, offset, _ = struct.unpack("<4s4H2LH", content[-22:])
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, length, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(content) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:-22] + end64 + locator + end


TRAILERS = [b"\n", b"\0", b"\r\n\x1a", bytes(511), bytes(60_000)]
members = st.lists(st.binary(max_size=300), max_size=5)
comments = st.one_of(
    st.binary(max_size=300),
    # Bytes that might be mistaken for the end of the zip.
    st.just(b"PK\x05\x06" + bytes(18)),
    st.just(b"PK\x05\x06" * 20),
    st.just(b"c" * 0xFFFF),
)


@given(members, comments)
def test_a_whole_zip_is_complete(files: list[bytes], comment: bytes) -> None:
    assert is_whole(make_zip(files, comment))


@given(members, st.data())
def test_a_zip_that_was_cut_is_truncated(files: list[bytes], data: st.DataObject) -> None:
    content = make_zip(files)
    length = data.draw(st.integers(0, len(content) - 1))
    assert not is_whole(content[:length])


@given(members.filter(bool), st.data())
def test_a_zip_of_zips_that_was_cut_is_truncated_unless_an_inner_one_ends_there(
    files: list[bytes], data: st.DataObject
) -> None:
    inner = make_zip(files)
    content = make_zip([b"first", inner, b"", *files])
    length = data.draw(st.integers(0, len(content) - 1))
    assume(not content[:length].endswith(inner))
    assert not is_whole(content[:length])


zips = st.one_of(st.builds(make_zip, members, comments), st.builds(make_zip, members).map(with_zip64_end))
trailers = st.one_of(st.binary(max_size=100), st.sampled_from(TRAILERS), st.integers(0, 50_000).map(bytes))


@given(zips, st.binary(max_size=50), trailers, st.integers(0, 100))
def test_what_can_be_read_is_complete(content: bytes, before: bytes, behind: bytes, cut: int) -> None:
    content = before + content + behind
    content = content[: max(0, len(content) - cut)]
    try:
        entries = read_directory(MemoryReader(content), Limits())
    except ArchiveRefusedError:
        return
    assert not entries or is_whole(content)


@pytest.mark.parametrize("behind", TRAILERS)
@pytest.mark.parametrize("zip64", [False, True])
def test_bytes_behind_a_zip_are_allowed(behind: bytes, zip64: bool) -> None:
    content = make_zip([b"x", b"y"])
    content = (with_zip64_end(content) if zip64 else content) + behind
    assert is_whole(content)
    assert len(read_directory(MemoryReader(content), Limits())) == 2


@given(st.binary(max_size=2000))
def test_other_bytes_are_truncated_and_do_no_harm(content: bytes) -> None:
    assert not is_whole(content)


@given(st.binary(max_size=50), st.binary(max_size=200))
def test_mangled_end_records_do_no_harm(before: bytes, after: bytes) -> None:
    is_whole(before + b"PK\x06\x06" + after + b"PK\x06\x07" + after[:16] + b"PK\x05\x06" + after[:18])


@given(members)
def test_zip64_is_complete_and_cut_is_not(files: list[bytes]) -> None:
    content = with_zip64_end(make_zip(files))
    assert is_whole(content)
    assert not is_whole(content[:-1])
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


def test_an_empty_zip_is_complete_and_an_empty_file_is_not() -> None:
    assert is_whole(make_zip([]))
    assert not is_whole(b"")


def test_a_program_before_the_zip_is_allowed() -> None:
    assert is_whole(b"#!/bin/sh\nexec unzip\n" + make_zip([b"x"]))


def test_a_directory_larger_than_the_tail_is_complete() -> None:
    content = make_zip([b""] * 2000, b"c" * 60_000)
    assert len(content) > tail_length(len(content)) + 60_000
    assert is_whole(content)
    assert not is_whole(content[:-60_001])


def test_a_comment_that_was_cut_costs_no_member() -> None:
    content = make_zip([b"x"], b"c" * 60_000)[:-1]
    assert is_whole(content)
    assert len(read_directory(MemoryReader(content), Limits())) == 1


def test_a_directory_that_claims_more_than_the_file_holds_is_truncated() -> None:
    content = make_zip([b"x" * 100])
    assert not is_whole(content[50:])


def test_a_zip64_record_that_lies_is_truncated() -> None:
    content = with_zip64_end(make_zip([b"x"]))
    assert not is_whole(content[:-42] + b"PK\x06\x08" + content[-38:])
    assert not is_whole(content.replace(b"PK\x06\x06", b"PK\x06\x05"))


def test_a_file_too_large_for_its_end_record_is_truncated_without_zip64() -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0xFFFFFFFF, 0)
    directory = b"PK\x01\x02" + bytes(42)
    assert not is_complete(directory + end, 5 * 2**30)


@pytest.mark.parametrize("at", [4, 6])
def test_a_part_of_a_split_zip_is_truncated(at: int) -> None:
    content = bytearray(make_zip([b"x"]))
    content[len(content) - 22 + at] = 1
    assert not is_whole(bytes(content))


def test_the_tail_is_never_longer_than_the_file() -> None:
    assert tail_length(10) == 10
    assert 0xFFFF + 22 < tail_length(10**12) <= 2**17
