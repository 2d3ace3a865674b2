"""Small PNG images of stored arrays."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefeed.model import Pixels

LARGEST = 256
"""Most pixels of the longer side."""
_CHANNELS = (1, 2, 3, 4)
_MAX_SAMPLES = 1_000_000


def thumbnail(pixels: Pixels) -> bytes:
    """Return an array as PNG bytes. Unsigned 8-bit values stay as they are; others are scaled to the range 0 to 255."""
    samples = _eight_bits(_as_picture(pixels))
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _as_picture(pixels: Pixels) -> Pixels:
    """Return an array of any shape as height, width and 1, 3 or 4 channels: hooks may return any shape."""
    if 0 in pixels.shape:
        return np.zeros((1, 1, 1), np.uint8)
    array = np.atleast_2d(pixels)
    while array.ndim > 3:
        array = array[0]
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    if array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        # Channels first, as in PyTorch.
        array = np.moveaxis(array, 0, 2)
    channels = array.shape[2]
    return array[:, :, : channels if channels in (1, 3, 4) else 1 if channels == 2 else 3]


def _eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    # Subsample before the conversion to float64, to bound memory.
    step = max(1, -(-max(pixels.shape[:2]) // (2 * LARGEST)))
    values = np.abs(pixels[::step, ::step]) if pixels.dtype.kind == "c" else pixels[::step, ::step]
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = _range(wide, floating=pixels.dtype.kind == "f")
    return np.rint(np.clip((wide - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _range(values: NDArray[np.float64], *, floating: bool) -> tuple[float, float]:
    """Return the values for black and white: 0 and 1 for floats in that range, else the 1st and 99th percentiles."""
    if floating and values.min() >= 0 and 0.5 < values.max() <= 1:
        return 0.0, 1.0
    low, high = np.percentile(values.ravel()[:: max(1, values.size // _MAX_SAMPLES)], (1, 99))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)
