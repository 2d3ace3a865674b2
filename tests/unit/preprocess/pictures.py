"""Small image files for the tests, and the results of preprocessing them."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefeed.model import Pixels
from preprocess.image.decode import Frame, frames, warnings_heard
from preprocess.image.transform import shrink, transform
from preprocess.model import Limits, Recipe

PRIMARY = 0x030000
"""The kind of the first picture of an MPO."""
AS_IT_IS = Recipe(fit="none", colour="keep", dtype="keep")


def noise(*shape: int, dtype: type[Any] = np.uint8, seed: int = 3) -> NDArray[Any]:
    """Values of the whole range."""
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    return (np.random.default_rng(seed).random(shape) * top).astype(dtype)


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture that JPEG and resizing hardly change: two ramps and a constant."""
    down, across = np.mgrid[0:height, 0:width]
    channels = [across * 255 // width, down * 255 // height, np.full((height, width), 90)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(image: Image.Image | NDArray[Any], form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form, **options)
    return stream.getvalue()


def png16(values: NDArray[np.uint16], key: bytes | None = None) -> bytes:
    """A PNG of 16 bits per channel, which Pillow writes for grey alone."""
    width = values.shape[1]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2] if values.ndim == 3 else 1]
    return png(width, 16, kind, [row.astype(">u2").tobytes() for row in values], key)


def png(width: int, bits: int, kind: int, rows: Sequence[bytes], key: bytes | None = None) -> bytes:
    """A PNG of rows as they are stored; `key` is the content of its tRNS chunk."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    transparent = [] if key is None else [(b"tRNS", key)]
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return png_of((b"IHDR", header), *transparent, (b"IDAT", data))


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of chunks, and its end."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in (*chunks, (b"IEND", b"")))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def mpo(kinds: list[int], pictures: list[NDArray[Any]]) -> bytes:
    """Return a JPEG with others behind it, and an index with the kind of each."""
    first, *others = (Image.fromarray(picture) for picture in pictures)
    content = bytearray(encoded(first, "MPO", save_all=True, append_images=others, quality=95))
    at = content.index(b"MPF\0")
    # Behind the header and the directory of the index.
    entries = at + 54
    assert struct.unpack_from("<L", content, entries) == (PRIMARY,)
    for number, kind in enumerate(kinds):
        struct.pack_into("<L", content, entries + 16 * number, kind)
    return bytes(content)


def decoded(content: bytes, recipe: Recipe = AS_IT_IS, limits: Limits | None = None) -> list[Frame]:
    return list(_frames(content, recipe, limits))


def images_of(content: bytes, recipe: Recipe = AS_IT_IS, limits: Limits | None = None) -> list[Pixels]:
    """Return every image of a file."""
    return [transform(frame, recipe) for frame in _frames(content, recipe, limits)]


def _frames(content: bytes, recipe: Recipe, limits: Limits | None) -> Iterator[Frame]:
    with warnings_heard():
        yield from frames(io.BytesIO(content), "m", limits or Limits(), partial(shrink, recipe=recipe))


def image_of(content: bytes, recipe: Recipe = AS_IT_IS) -> NDArray[Any]:
    """Return the only image of a file."""
    (pixels,) = images_of(content, recipe)
    return pixels
