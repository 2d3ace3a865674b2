"""Shards are the same tar every time, even if members were added and removed, and are read as a stream."""

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefeed.shards import Place, ShardWriter, read_members, read_pairs

payloads = st.lists(st.binary(max_size=1_100), max_size=6)


def shard_of(payloads: list[bytes], in_memory: int = 2**20) -> tuple[bytes, list[Place]]:
    with ShardWriter(in_memory) as shard:
        places = [shard.add(f"{n:06}-0000", "npy", payload, {"n": n}) for n, payload in enumerate(payloads)]
        return shard.finish().read(), places


def cut(content: bytes, length: int) -> Iterator[bytes]:
    return (content[start : start + length] for start in range(0, len(content), length))


@given(payloads, st.integers(1, 3_000))
def test_images_come_back_however_the_stream_is_cut(payloads: list[bytes], length: int) -> None:
    content, places = shard_of(payloads)
    assert list(read_pairs(cut(content, length))) == [
        (bytearray(payload), {"n": n}) for n, payload in enumerate(payloads)
    ]
    assert [content[place.offset :][: place.length] for place in places] == payloads


@given(payloads)
def test_any_tar_reader_reads_them(payloads: list[bytes]) -> None:
    content, _ = shard_of(payloads)
    assert len(content) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as shard:
        files = [file.read() for name in shard.getnames() if (file := shard.extractfile(name)) is not None]
        assert {(info.mtime, info.uid, info.gid, info.uname) for info in shard} <= {(0, 0, 0, "")}
    assert files[::2] == payloads


def test_a_shard_is_the_same_in_memory_and_on_disk() -> None:
    payloads = [bytes([number]) * 5_000 for number in range(5)]
    assert shard_of(payloads) == shard_of(payloads, in_memory=1)


def test_what_was_taken_back_leaves_no_trace() -> None:
    for in_memory in (1, 2**20):
        with ShardWriter(in_memory) as shard:
            first = shard.add("a", "npy", b"first", {})
            size = shard.size
            shard.add("b", "npy", b"x" * 9_999, {"long": "x" * 9_999})
            shard.rewind(size)
            second = shard.add("c", "npy", b"second", {})
            assert (shard.payload(first), shard.payload(second)) == (b"first", b"second")
            content = shard.finish().read()
        with ShardWriter() as plain:
            plain.add("a", "npy", b"first", {})
            plain.add("c", "npy", b"second", {})
            assert content == plain.finish().read()


@pytest.mark.parametrize("length", [0, 1, 511, 512, 600, 1_024, 1_536, 2_000])
def test_a_shard_that_ends_early_is_an_error(length: int) -> None:
    content, _ = shard_of([b"payload"])
    with pytest.raises(ValueError, match="ends early"):
        list(read_members([content[:length]]))


def test_what_is_no_shard_of_ours_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tar"):
        list(read_pairs([b"x" * 2_048]))
    content, _ = shard_of([b"payload"])
    with pytest.raises(ValueError, match="metadata without its image"):
        # The payload's header and block are gone, its metadata is not.
        list(read_pairs([content[1_024:]]))


def test_an_image_without_its_metadata_is_an_error() -> None:
    content, _ = shard_of([b"payload"])
    with pytest.raises(ValueError, match="without its metadata"):
        list(read_pairs([content[:1_024], bytes(1_024)]))
