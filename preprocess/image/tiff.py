"""Checks of a TIFF's compressed pieces (strips or tiles) that libtiff does not make."""

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import TiffTags
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from imagefeed.errors import MemberRefusedError
from preprocess.image.jpeg import decode_jpeg

_JPEG, _DEFLATE = (7,), (8, 32_946)
"""Numbers of compressions. The old kind of JPEG (6) has other pieces."""
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_AS_STORED = ("L", "P", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "I;16N")
"""Pillow's modes whose values may be those of the file."""
_REVERSED, _APART, _DIFFERENCES = 2, 2, 2
"""Values of FillOrder (bits in the other order), PlanarConfiguration and Predictor."""
COPY_OR_MASK = 0b101
"""Bits of NewSubfileType: a smaller copy of another page, or its mask."""
_MOST_PAGES, _MOST_BELOW = 100_000, 100
"""Directories that are checked. A pyramid has about ten smaller copies, and LIMIT_FRAMES refuses more pages."""
_MOST_TAGS = 50
"""Tags of a directory below a page in which its kind and width are looked for. Tags are sorted, and theirs are low."""
_MOST_PIECES, _MOST_TIMES = 1_000_000, 10
"""Pieces of a page, and how many times its values they may take together, besides the file's size: pieces may share
bytes, and a file of a megabyte could list a terabyte."""
_SLICE = 2**16
"""Bytes of deflate's input at once. They inflate to 64 MiB at most."""
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
"""Meanings of SampleFormat."""


@dataclass(frozen=True, slots=True)
class _Piece:
    content: memoryview
    left: int
    upper: int
    width: int
    height: int


def check_pieces(content: memoryview, image: ImageFile) -> None:
    """Raise MemberRefusedError if a piece of a TIFF's page, which was decoded, is damaged.

    libtiff stops before the checksum behind deflate's data, and ignores libjpeg's warnings.
    """
    tags = getattr(image, "tag_v2", {})
    compression = tags.get(Base.Compression)
    if compression in _DEFLATE and tags.get(Base.FillOrder) != _REVERSED:
        values = _values(image, "<" if bytes(content[:2]) == b"II" else ">")
        for number, piece in enumerate(_pieces(content, image), 1):
            if not _is_compressed(values, piece, tags):
                _check_deflate(piece, sum(tags.get(Base.BitsPerSample, (1,))), number)
    elif compression in _JPEG:
        apart = tags.get(Base.PlanarConfiguration) == _APART
        mode = _MODES.get(1 if apart else tags.get(Base.SamplesPerPixel, 1))
        if mode is None:
            warnings.warn("its channels are unusual for a JPEG: damaged values cannot be recognised", stacklevel=1)
            return
        # Both are whole JPEGs: tables without a picture, and a picture without tables.
        tables = bytes(tags.get(Base.JPEGTables, b""))[:-2] or b"\xff\xd8"
        for piece in _pieces(content, image, len(tables)):
            decode_jpeg(memoryview(tables + piece.content[2:]), mode, (1, 1))


def check_directories(content: bytes) -> None:
    """Raise MemberRefusedError if the chain of directories, one for each page, is cut off or leads back.

    Pillow takes the last directory that it finds whole for the last one.
    """
    order, offset, count, step = _layout(content)
    (at,) = struct.unpack_from(order + offset, content, 8 if offset == "Q" else 4)
    seen = set[int]()
    while at and len(seen) < _MOST_PAGES:
        entries = at + struct.calcsize(count)
        if at in seen or entries > len(content):
            raise MemberRefusedError("it is damaged: its list of pages does not end")
        seen.add(at)
        at = entries + step * struct.unpack_from(order + count, content, at)[0]
        if at + struct.calcsize(offset) > len(content):
            raise MemberRefusedError("it is cut off: the list of its pages is incomplete")
        (at,) = struct.unpack_from(order + offset, content, at)


def check_below(content: bytes, image: ImageFile) -> None:
    """Raise MemberRefusedError for a page with others below it (SubIFDs) that are no smaller copies: none is read."""
    order, offset, count, step = _layout(content)
    below: tuple[int, ...] | int = getattr(image, "tag_v2", {}).get(Base.SubIFDs, ())
    for at in (below,) if isinstance(below, int) else below[:_MOST_BELOW]:
        entries, tags = at + struct.calcsize(count), dict[int, int]()
        if entries > len(content):
            raise MemberRefusedError("it is cut off: the list of its pages is incomplete")
        for number in range(min(_MOST_TAGS, struct.unpack_from(order + count, content, at)[0])):
            entry = entries + step * number
            tag, kind = struct.unpack_from(order + "HH", content, entry)
            value = entry + step - struct.calcsize(offset)
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == TiffTags.SHORT else "I"), content, value)
        if Base.ImageWidth in tags and not tags.get(Base.NewSubfileType, 0) & COPY_OR_MASK:
            raise MemberRefusedError("it has pictures below a page (SubIFDs), which are not supported")


def _layout(content: bytes) -> tuple[str, str, str, int]:
    """Return a TIFF's byte order, the formats of an offset and of a directory's length, and the bytes of an entry."""
    order = "<" if content.startswith(b"II") else ">"
    return (order, "Q", "Q", 20) if content[2:4] in (b"+\0", b"\0+") else (order, "I", "H", 12)


def kind_of_tiff(content: BytesIO) -> str:
    """Return what kind of values the first page of a TIFF has, for people."""
    if content.getvalue().startswith(b"MM\0+"):
        return "a BigTIFF in big-endian order"
    tags = _directory(content)
    bits = "+".join(str(count) for count in tags.get(Base.BitsPerSample, (1,)))
    form = _FORMATS.get(tags.get(Base.SampleFormat, (1,))[0], "unknown")
    photometric, compression = tags.get(Base.PhotometricInterpretation), tags.get(Base.Compression, 1)
    return f"{form} values of {bits} bits, PhotometricInterpretation {photometric}, Compression {compression}"


def _directory(content: BytesIO) -> ImageFileDirectory_v2:
    """Return the tags of the first page."""
    head = content.getvalue()[:16]
    tags = ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
    content.seek(tags.next)
    tags.load(content)
    return tags


def _pieces(content: memoryview, image: ImageFile, more: int = 0) -> Iterator[_Piece]:
    """Yield the pieces that a page needs, each read with `more` bytes. A hostile file may list many more pieces.

    Raises MemberRefusedError if they take so much that checking them would take hours.
    """
    tags = getattr(image, "tag_v2", {})
    size = tags[Base.ImageWidth], tags[Base.ImageLength]
    if Base.TileOffsets in tags:
        offsets, counts = tags[Base.TileOffsets], tags[Base.TileByteCounts]
        width, height = tags[Base.TileWidth], tags[Base.TileLength]
    else:
        offsets, counts = tags[Base.StripOffsets], tags[Base.StripByteCounts]
        width, height = size[0], min(tags.get(Base.RowsPerStrip, size[1]), size[1])
    planes = tags.get(Base.SamplesPerPixel, 1) if tags.get(Base.PlanarConfiguration) == _APART else 1
    places = product(range(planes), range(0, size[1], height), range(0, size[0], width))
    left_bytes = len(content) + _MOST_TIMES * size[0] * size[1] * sum(tags.get(Base.BitsPerSample, (1,))) // 8
    for number, ((_, upper, left), offset, count) in enumerate(zip(places, offsets, counts, strict=False)):
        piece = _Piece(content[offset : offset + count], left, upper, width, height)
        left_bytes -= len(piece.content) + more
        if left_bytes < 0 or number == _MOST_PIECES:
            raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
        yield piece


def _values(image: ImageFile, order: Literal["<", ">"]) -> NDArray[Any] | None:
    """Return a page's values as the file has them; None if it has others than were decoded."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(Base.BitsPerSample, (1,))
    changed = (tags.get(Base.Orientation, 1), tags.get(Base.PlanarConfiguration, 1)) != (1, 1)
    if changed or image.mode not in _AS_STORED or tags.get(Base.Predictor, 1) > _DIFFERENCES:
        return None
    values = np.asarray(image)
    if values.dtype.itemsize * 8 != bits[0] or values.ndim != (2 if len(bits) == 1 else 3):
        return None
    return values.astype(values.dtype.newbyteorder(order), copy=False)


def _is_compressed(values: NDArray[Any] | None, piece: _Piece, tags: dict[int, object]) -> bool:
    """Return whether the checksum behind a piece is that of its decoded values. It is ten times as fast as inflating.

    False says nothing: a tile may go beyond the picture, for example.
    """
    if values is None:
        return False
    part = values[piece.upper : piece.upper + piece.height, piece.left : piece.left + piece.width]
    if tags.get(Base.Predictor) == _DIFFERENCES:
        whole = part.view(part.dtype.str.replace("f", "u"))
        part = whole.copy()
        part[:, 1:] -= whole[:, :-1]
    return zlib.adler32(np.ascontiguousarray(part)) == int.from_bytes(piece.content[-4:])


def _check_deflate(piece: _Piece, bits: int, number: int) -> None:
    inflate, inflated, most = zlib.decompressobj(), 0, piece.height * math.ceil(piece.width * bits / 8)
    try:
        for at in range(0, len(piece.content), _SLICE):
            inflated += len(inflate.decompress(piece.content[at : at + _SLICE]))
            # libtiff ignores what goes beyond a piece.
            if inflate.eof or inflated > most:
                return
    except zlib.error as exc:
        raise MemberRefusedError(f"it is damaged: the values in its strip or tile {number} are wrong") from exc
