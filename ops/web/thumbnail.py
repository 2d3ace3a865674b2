"""A stored array as a small PNG that shows what is in it."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefeed.model import Pixels

LARGEST = 256
"""Pixels of its longer side."""
_CHANNELS = (1, 2, 3, 4)
_MAX_SAMPLES = 1_000_000


def thumbnail(pixels: Pixels) -> bytes:
    """Draw an array: 8 bits as they are, all else spread so that there is something to see."""
    samples = _eight_bits(_as_picture(pixels))
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _as_picture(pixels: Pixels) -> Pixels:
    """Make height, width and 1, 3 or 4 channels of whatever shape a hook left."""
    if 0 in pixels.shape:
        return np.zeros((1, 1, 1), np.uint8)
    array = np.atleast_2d(pixels)
    while array.ndim > 3:
        array = array[0]
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    if array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        # Channels first, as PyTorch likes them.
        array = np.moveaxis(array, 0, 2)
    channels = array.shape[2]
    return array[:, :, : channels if channels in (1, 3, 4) else 1 if channels == 2 else 3]


def _eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    # Before the values are widened, so that memory stays in bounds.
    step = max(1, -(-max(pixels.shape[:2]) // (2 * LARGEST)))
    values = np.abs(pixels[::step, ::step]) if pixels.dtype.kind == "c" else pixels[::step, ::step]
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = _range(wide, floating=pixels.dtype.kind == "f")
    return np.rint(np.clip((wide - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _range(values: NDArray[np.float64], *, floating: bool) -> tuple[float, float]:
    """Choose black and white: 0 and 1 where all values lie in between, else all but the outermost hundredths."""
    if floating and values.min() >= 0 and 0.5 < values.max() <= 1:
        return 0.0, 1.0
    low, high = np.percentile(values.ravel()[:: max(1, values.size // _MAX_SAMPLES)], (1, 99))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)
