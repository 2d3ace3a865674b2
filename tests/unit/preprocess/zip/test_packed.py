"""A single compressed file in a zip is read completely, whatever streams it has, in bounded time."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits
from preprocess.zip.directory import Member
from preprocess.zip.inflate import Budget
from preprocess.zip.packed import unpack

PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]


def unpacked(content: bytes) -> bytes:
    member = Member(0, "a.tif.gz", 0, False, 0, len(content), len(content), 0, len(content))
    return b"".join(unpack(BytesIO(content), member, Budget(Limits())))


@pytest.mark.parametrize("pack", PACKERS)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(0, 9))
def test_all_streams_are_read(pack: Callable[[bytes], bytes], parts: list[bytes], padding: int) -> None:
    packed = b"".join(pack(part) + bytes(4 * padding) for part in parts)
    assert unpacked(packed) == b"".join(parts)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("padding", [2**16, 2**20, 2**20 - 100])
def test_padding_of_any_length_hides_no_stream(pack: Callable[[bytes], bytes], padding: int) -> None:
    assert unpacked(pack(b"A" * 100_000) + bytes(padding) + pack(b"B" * 3_000_000)) == b"A" * 100_000 + b"B" * 3_000_000


@pytest.mark.parametrize("pack", PACKERS)
def test_a_file_that_was_cut_off_is_refused(pack: Callable[[bytes], bytes]) -> None:
    for length in (3, 20, -1):
        with pytest.raises(MemberRefusedError, match="bytes are broken"):
            unpacked(pack(b"x" * 1000)[:length])


@pytest.mark.parametrize("pack", PACKERS)
def test_countless_empty_streams_are_refused(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MemberRefusedError, match="more than 10,000 compressed streams"):
        unpacked(pack(b"") * 100_000)
