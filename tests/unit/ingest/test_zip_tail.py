"""A file's tail tells whether it ends in a zip directory that fits it."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.zip_tail import ends_in_directory, tail_length


def is_sound(content: bytes) -> bool:
    return ends_in_directory(content[len(content) - tail_length(len(content)) :], len(content))


def make_zip(members: list[bytes], comment: bytes = b"", *, zip64: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, member in enumerate(members):
            with archive.open(f"{number}.png", "w", force_zip64=zip64) as file:
                file.write(member)
        archive.comment = comment
    return out.getvalue()


def with_zip64_end(content: bytes) -> bytes:
    """Give a zip the end records that one of over 4 GiB has."""
    _, _, _, _, entries, length, offset, _ = struct.unpack("<4s4H2LH", content[-22:])
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, length, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(content) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:-22] + end64 + locator + end


members = st.lists(st.binary(max_size=300), max_size=5)
comments = st.one_of(
    st.binary(max_size=300),
    # What might be mistaken for the end of the zip.
    st.just(b"PK\x05\x06" + bytes(18)),
    st.just(b"PK\x05\x06" * 20),
    st.just(b"c" * 0xFFFF),
)


@given(members, comments)
def test_a_whole_zip_is_sound(files: list[bytes], comment: bytes) -> None:
    assert is_sound(make_zip(files, comment))


@given(members, st.data())
def test_a_zip_that_was_cut_is_not_sound(files: list[bytes], data: st.DataObject) -> None:
    content = make_zip(files)
    length = data.draw(st.integers(0, len(content) - 1))
    assert not is_sound(content[:length])


@given(members, st.binary(min_size=1, max_size=100))
def test_a_zip_with_something_behind_it_is_not_sound(files: list[bytes], behind: bytes) -> None:
    assert not is_sound(make_zip(files) + behind)


@given(st.binary(max_size=2000))
def test_other_bytes_are_not_sound_and_do_no_harm(content: bytes) -> None:
    assert not is_sound(content)


@given(st.binary(max_size=50), st.binary(max_size=200))
def test_mangled_end_records_do_no_harm(before: bytes, after: bytes) -> None:
    is_sound(before + b"PK\x06\x06" + after + b"PK\x06\x07" + after[:16] + b"PK\x05\x06" + after[:18])


@given(members)
def test_zip64_is_sound_and_cut_is_not(files: list[bytes]) -> None:
    content = with_zip64_end(make_zip(files))
    assert is_sound(content)
    assert not is_sound(content[:-1])
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


def test_an_empty_zip_is_sound_and_an_empty_file_is_not() -> None:
    assert is_sound(make_zip([]))
    assert not is_sound(b"")


def test_a_program_before_the_zip_is_allowed() -> None:
    assert is_sound(b"#!/bin/sh\nexec unzip\n" + make_zip([b"x"]))


def test_a_directory_larger_than_the_tail_is_sound() -> None:
    content = make_zip([b""] * 2000, b"c" * 60_000)
    assert len(content) > 2 * tail_length(len(content))
    assert is_sound(content)
    assert not is_sound(content[:-1])


def test_a_directory_that_claims_more_than_the_file_holds_is_not_sound() -> None:
    content = make_zip([b"x" * 100])
    assert not is_sound(content[50:])


def test_a_zip64_record_that_lies_is_not_sound() -> None:
    content = with_zip64_end(make_zip([b"x"]))
    assert not is_sound(content[:-42] + b"PK\x06\x08" + content[-38:])
    assert not is_sound(content.replace(b"PK\x06\x06", b"PK\x06\x05"))


def test_a_file_too_large_for_its_end_record_is_not_sound_without_zip64() -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0xFFFFFFFF, 0)
    directory = b"PK\x01\x02" + bytes(42)
    assert not ends_in_directory(directory + end, 5 * 2**30)


@pytest.mark.parametrize("at", [4, 6])
def test_a_part_of_a_split_zip_is_not_sound(at: int) -> None:
    content = bytearray(make_zip([b"x"]))
    content[len(content) - 22 + at] = 1
    assert not is_sound(bytes(content))


def test_the_tail_is_never_longer_than_the_file() -> None:
    assert tail_length(10) == 10
    assert 0xFFFF + 22 < tail_length(10**12) < 2**17
