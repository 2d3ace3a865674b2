"""An image's pixels as bytes and back: `npy` holds every type, `png` 8 and 16 bits."""

from io import BytesIO

import numpy as np
from PIL import Image

from errors import MemberRefusedError
from preprocess.model import Codec, Pixels

_PNG_CHANNELS = {"uint8": (1, 2, 3, 4), "uint16": (1,)}


def encode(pixels: Pixels, codec: Codec) -> bytes:
    """Write pixels: the same ones always give the same bytes. Raises MemberRefusedError for what PNG cannot hold."""
    # Little-endian and in rows, whatever the machine or a hook made of it.
    plain = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return _npy(plain) if codec == "npy" else _png(plain)


def decode(payload: bytes, codec: Codec) -> Pixels:
    """Read what `encode` wrote; the one channel of a grey PNG has no axis of its own. Raises ValueError."""
    if codec == "npy":
        # Not np.load: it opens zips and more, and answers nothing at all with another error.
        pixels: Pixels = np.lib.format.read_array(BytesIO(payload), allow_pickle=False)
        return pixels
    try:
        with Image.open(BytesIO(payload), formats=["PNG"]) as image:
            return np.array(image)
    except OSError as exc:
        raise ValueError(f"no PNG: {exc}") from exc


def _npy(pixels: Pixels) -> bytes:
    stream = BytesIO()
    np.lib.format.write_array(stream, pixels, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _png(pixels: Pixels) -> bytes:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels not in _PNG_CHANNELS.get(pixels.dtype.name, ()) or 0 in pixels.shape:
        raise MemberRefusedError(
            f"encode an array of {pixels.dtype.name} and shape {pixels.shape} as PNG: PNG holds uint8 of 1 to 4 "
            "channels and uint16 of 1; set PREPROCESS_CODEC=npy"
        )
    flat = pixels.reshape(pixels.shape[:2]) if channels == 1 else pixels
    stream = BytesIO()
    # A fixed level: the bytes must not change with Pillow's default.
    Image.fromarray(flat).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
