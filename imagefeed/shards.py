"""Shards: deterministic, uncompressed tars with pairs of payload and metadata, in WebDataset's layout."""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Any, Self, cast

from imagefeed.errors import ImageDamagedError
from imagefeed.model import ImageMetadata, Pixels

_BLOCK = tarfile.BLOCKSIZE
_END = b"\0" * (2 * _BLOCK)
IN_MEMORY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a payload in its shard, in bytes."""

    offset: int
    length: int


class ShardWriter:
    """A writer of one shard, in memory up to `in_memory` bytes, then in a temporary file."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._file = cast("IO[bytes]", SpooledTemporaryFile(max_size=in_memory))  # noqa: SIM115 - closed by __exit__
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def add(self, stem: str, suffix: str, payload: bytes, metadata: Mapping[str, Any]) -> Place:
        """Append a payload as `{stem}.{suffix}` and its metadata as `{stem}.json`. Return the payload's position."""
        place = self._append(f"{stem}.{suffix}", payload)
        self._append(f"{stem}.json", json.dumps(metadata, sort_keys=True).encode("ascii"))
        return place

    def rewind(self, size: int) -> None:
        """Remove everything that was added since the shard had this size."""
        self._file.seek(size)
        self._file.truncate()
        self.size = size

    def payload(self, place: Place) -> bytes:
        """Return a payload that was added."""
        self._file.seek(place.offset)
        return self._file.read(place.length)

    def finish(self) -> IO[bytes]:
        """Write the end of the tar and return the file, positioned at its start."""
        self._write(_END)
        self._file.seek(0)
        return self._file

    def _append(self, name: str, content: bytes) -> Place:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        # All other fields keep their defaults (no owner, time 0), so that a second run writes the same bytes.
        self._write(header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
        place = Place(self.size, len(content))
        self._write(content)
        self._write(b"\0" * (-len(content) % _BLOCK))
        return place

    def _write(self, content: bytes) -> None:
        self._file.seek(self.size)
        self._file.write(content)
        self.size += len(content)


def read_images(
    shard: str, chunks: Iterable[bytes], *, folder: str | None = None
) -> Iterator[tuple[ImageMetadata, Pixels]]:
    """Yield metadata and pixels of each image of a shard as its bytes arrive; one image is in memory at a time.

    `chunks` are all bytes of the blob in order, in pieces of any size: `blob.download_blob().chunks()`. `shard` is its
    name, for error messages. Pixels are height x width or height x width x channels, of the type that preprocessing
    stored (uint8, uint16, float32, …), and can be changed in place. `folder` is the expected folder of the members, or
    None. Raises ImageDamagedError if an image does not fit its length, checksum, shape, type or folder, or if the
    shard ends early; errors of `chunks` pass through.
    """
    # Imported here, because the writer in this module needs neither numpy nor Pillow.
    from imagefeed.codec import checked_pixels, read_encoding

    try:
        for payload, members in read_pairs(chunks, folder):
            where = f"{shard}, member {members.get('member')}, frame {members.get('frame')}"
            try:
                encoding, metadata = read_encoding(members), ImageMetadata.from_json(members)
            except (KeyError, TypeError, ValueError) as exc:
                raise ImageDamagedError(f"read the image {where}: its metadata is invalid: {exc}") from exc
            yield metadata, checked_pixels(payload, encoding, where)
    except ValueError as exc:
        raise ImageDamagedError(f"read the shard {shard}: {exc}") from exc


def read_pairs(chunks: Iterable[bytes], folder: str | None = None) -> Iterator[tuple[bytearray, dict[str, Any]]]:
    """Yield payload and metadata of each image of a shard as its bytes arrive; one image is in memory at a time.

    Raises ValueError if the shard ends early, is not in our layout, or has members in another folder than `folder`.
    """
    payload: tuple[str, bytearray] | None = None
    for name, content in read_members(chunks):
        stem, _, suffix = name.partition(".")
        if folder is not None and stem.rpartition("/")[0] != folder:
            raise ValueError(f"{name} is of another archive than the requested one")
        if suffix != "json":
            _check_complete(payload)
            payload = stem, content
        elif payload is None or payload[0] != stem:
            raise ValueError(f"metadata without its image: {name}")
        else:
            yield payload[1], json.loads(content)
            payload = None
    _check_complete(payload)


def _check_complete(payload: tuple[str, bytearray] | None) -> None:
    if payload is not None:
        raise ValueError(f"an image without its metadata: {payload[0]}")


def read_members(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytearray]]:
    """Yield name and content of each member of a tar as its bytes arrive. Raises ValueError if it ends early."""
    stream = _Stream(chunks)
    while (header := stream.take(_BLOCK)) != _END[:_BLOCK]:
        try:
            info = tarfile.TarInfo.frombuf(bytes(header), "ascii", "strict")
        except tarfile.HeaderError as exc:
            raise ValueError(f"no tar: {exc}") from exc
        content = stream.take(info.size)
        stream.take(-info.size % _BLOCK)
        yield info.name, content


class _Stream:
    """A reader of exact lengths from chunks of any length."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def take(self, length: int) -> bytearray:
        taken = bytearray()
        while len(taken) < length:
            if not self._rest:
                self._rest = memoryview(self._next(length - len(taken)))
            piece = self._rest[: length - len(taken)]
            taken += piece
            self._rest = self._rest[len(piece) :]
        return taken

    def _next(self, wanted: int) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        raise ValueError(f"the shard ends early: {wanted} bytes are missing")
