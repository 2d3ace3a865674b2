"""Candidates that decode picture files to arrays in one thread: this project, and others with common libraries."""

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
"""Decodes a file's bytes to uint8 of shape (side, side, 3), the whole picture stretched, so that all do the same."""


@contextmanager
def candidate(decode: Decode, paths: Sequence[Path], target: int) -> Iterator[Callable[[], Array]]:
    """Decode files one after the other."""
    contents = [path.read_bytes() for path in paths]

    def run() -> Array:
        return np.stack([decode(content, target) for content in contents])

    yield run


def ours(content: bytes, target: int) -> Array:
    """Decode like a batch, with every limit and check."""
    # Imported here, so that plain Pillow does not run with this project's settings.
    from preprocess.image.decode import frames
    from preprocess.image.transform import shrink, transform
    from preprocess.model import Limits, Recipe

    recipe = Recipe(width=target, height=target, fit="stretch")
    (frame,) = frames(io.BytesIO(content), "a", Limits(), partial(shrink, recipe=recipe))
    return transform(frame, recipe).astype(np.uint8, copy=False)


def plain(content: bytes, target: int) -> Array:
    """Decode with plain Pillow; also the reference for differences."""
    with Image.open(io.BytesIO(content)) as image:
        deep = image.mode.startswith("I")
        picture = Image.fromarray((np.asarray(image) // 257).astype(np.uint8)) if deep else image
        return np.asarray(picture.convert("RGB").resize((target, target), Image.Resampling.LANCZOS))


def opencv(reduced: int, content: bytes, target: int) -> Array:
    """Decode with OpenCV: a JPEG at 1/`reduced` of its size, then averaged; 0 is for other formats."""
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
    """Decode with libjpeg-turbo at the smallest scale that is at least `factor` times the target, then averaged."""
    import cv2
    import simplejpeg as library

    cv2.setNumThreads(1)
    at_least = int(target * factor)
    picture = library.decode_jpeg(content, "RGB", min_height=at_least, min_width=at_least)
    return np.asarray(cv2.resize(picture, (target, target), interpolation=cv2.INTER_AREA))


def pyvips(content: bytes, target: int) -> Array:
    """Decode with libvips' thumbnails, which shrink while loading."""
    # Set first, because the library reads it when it is loaded.
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips as library

    library.cache_set_max(0)
    image = library.Image.thumbnail_buffer(content, target, height=target, size="force", no_rotate=True)
    return _three(np.asarray(image.numpy()))


def _three(picture: NDArray[np.generic]) -> Array:
    """Convert to 8 bits and three channels."""
    values = (picture // 257 if picture.dtype == np.uint16 else picture).astype(np.uint8)
    grey = values.reshape(*values.shape[:2], -1)
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey
