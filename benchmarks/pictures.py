"""Input files: real photographs, enlarged to camera sizes, at usual quality."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from numpy.random import default_rng
from PIL import Image

from local import photos
from local.formats import FORMATS

TWELVE = (4000, 3000)
"""12 megapixels."""
FULL_HD = (1920, 1080)


def pictures(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Return pictures of the photographs in turn; always the same for the same arguments."""
    rng = default_rng(count)
    return [photos.render(rng, photos.COLOUR[number % len(photos.COLOUR)], size) for number in range(count)]


@cache
def files(folder: Path, form: str, count: int, size: tuple[int, int]) -> Sequence[Path]:
    """Write pictures as files, once for all benchmarks; `form` is one of local/formats.py, or `tiff-deflate`."""
    suffix, encode = (".tif", _deflated) if form == "tiff-deflate" else FORMATS[form]
    made = []
    for number, picture in enumerate(pictures(count, size)):
        path = folder / f"{form}-{size[0]}-{number:03}-of-{count}{suffix}"
        path.write_bytes(encode([picture]))
        made.append(path)
    return made


def of_many_sizes(count: int, compare: Callable[[bytes, int], float]) -> Iterator[float]:
    """Yield what `compare` returns of JPEGs and sizes: `count` squares of each photograph in its own resolution.

    They are not enlarged, so they have details of one pixel.
    """
    rng = default_rng(count)
    for name in (*photos.COLOUR, *photos.GREY):
        photo = photos.photograph(name)
        for _ in range(count):
            side = int(rng.integers(280, min(photo.size) + 1))
            left, upper = (int(rng.integers(0, length - side + 1)) for length in photo.size)
            buffer = io.BytesIO()
            photo.crop((left, upper, left + side, upper + side)).save(buffer, "JPEG", quality=90)
            # As many of each ratio, by its logarithm.
            target = round(16 * (side / 16) ** rng.random())
            yield compare(buffer.getvalue(), target)


def _deflated(shots: Sequence[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    shots[0].save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()
