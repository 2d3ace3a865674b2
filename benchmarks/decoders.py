"""Sides that make arrays of picture files: ours, and what others would write with the libraries at hand; one thread."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

type Array = NDArray[np.uint8]
type Decode = Callable[[bytes, int], Array]
"""From a file's bytes to a square of this many pixels, the whole picture stretched to it: so all do the same."""


@contextmanager
def candidate(decode: Decode, paths: Sequence[Path], target: int) -> Iterator[Callable[[], Array]]:
    """Decode files one after the other."""
    contents = [path.read_bytes() for path in paths]

    def run() -> Array:
        return np.stack([decode(content, target) for content in contents])

    yield run


def ours(content: bytes, target: int) -> Array:
    """As a batch does it, with every limit and check."""
    # Here, so that plain Pillow does not run with what ours sets.
    from preprocess.image.decode import frames
    from preprocess.image.transform import shrink, transform
    from preprocess.model import Limits, Recipe

    recipe = Recipe(width=target, height=target, fit="stretch")
    (frame,) = frames(io.BytesIO(content), "a", Limits(), partial(shrink, recipe=recipe))
    return transform(frame, recipe).astype(np.uint8, copy=False)


def plain(content: bytes, target: int) -> Array:
    """Pillow without a thought; also what all others are held against."""
    with Image.open(io.BytesIO(content)) as image:
        deep = image.mode.startswith("I")
        picture = Image.fromarray((np.asarray(image) // 257).astype(np.uint8)) if deep else image
        return np.asarray(picture.convert("RGB").resize((target, target), Image.Resampling.LANCZOS))


def opencv(reduced: int, content: bytes, target: int) -> Array:
    """OpenCV: a JPEG decoded at 1/`reduced` of its size, then averaged."""
    import cv2

    cv2.setNumThreads(1)
    how = {
        0: cv2.IMREAD_UNCHANGED,
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduced]
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    made = _three(cv2.resize(picture, (target, target), interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(made[..., ::-1])


def simplejpeg(factor: float, content: bytes, target: int) -> Array:
    """libjpeg-turbo's own interface, at the smallest scale that is `factor` times the target, then averaged."""
    import cv2
    import simplejpeg as library

    cv2.setNumThreads(1)
    at_least = int(target * factor)
    picture = library.decode_jpeg(content, "RGB", min_height=at_least, min_width=at_least)
    return np.asarray(cv2.resize(picture, (target, target), interpolation=cv2.INTER_AREA))


def pyvips(content: bytes, target: int) -> Array:
    """Libvips' thumbnails, which shrink while they load."""
    # Read when the library is loaded.
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips as library

    library.cache_set_max(0)
    image = library.Image.thumbnail_buffer(content, target, height=target, size="force", no_rotate=True)
    return _three(np.asarray(image.numpy()))


def _three(picture: NDArray[np.generic]) -> Array:
    """Make 8 bits and three channels of it."""
    values = (picture // 257 if picture.dtype == np.uint16 else picture).astype(np.uint8)
    grey = values.reshape(*values.shape[:2], -1)
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey
