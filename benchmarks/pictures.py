"""Input files: real photographs, enlarged to camera sizes, at usual quality."""

import io
from collections.abc import Sequence
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


def _deflated(shots: Sequence[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    shots[0].save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()
