"""An image's pixels as bytes and back, and held against their checksum: `npy` holds every type, `png` 8 and 16 bits."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, get_args

import numpy as np
from PIL import Image

from imagefeed.errors import ImageDamagedError, MemberRefusedError
from imagefeed.model import Codec, Pixels

_PNG_CHANNELS = {"uint8": (1, 2, 3, 4), "uint16": (1,)}
_CODECS = get_args(Codec)
_KINDS = "biuf"
"""Of numpy's types, those that can be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How an image's pixels became a payload, and what to hold them against."""

    shape: tuple[int, ...]
    dtype: str
    codec: Codec
    checksum: str
    """SHA-256 over the payload."""


def encode(pixels: Pixels, codec: Codec) -> bytes:
    """Write pixels: the same ones always give the same bytes. Raises MemberRefusedError for other types."""
    if pixels.dtype.kind not in _KINDS:
        raise MemberRefusedError(
            f"encode an array of {pixels.dtype.name}: only bool, integers and floats can be stored; let the hook "
            "return one of these"
        )
    # Little-endian and in rows, whatever the machine or a hook made of it.
    plain = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return _npy(plain) if codec == "npy" else _png(plain)


def decode(payload: bytes | bytearray, codec: Codec) -> Pixels:
    """Read what `encode` wrote; the one channel of a grey PNG has no axis of its own. Raises ValueError.

    Pixels of `npy` share the payload's memory: those of a bytearray can be changed in place, those of bytes cannot.
    """
    if codec == "npy":
        return _of_npy(payload)
    try:
        with Image.open(BytesIO(payload), formats=["PNG"]) as image:
            return np.array(image)
    except OSError as exc:
        raise ValueError(f"no PNG: {exc}") from exc


def encoding_of(pixels: Pixels, codec: Codec, payload: bytes) -> Encoding:
    """Describe a payload that was just made of `pixels`."""
    return Encoding(shape=pixels.shape, dtype=pixels.dtype.name, codec=codec, checksum=checksum(payload))


def read_encoding(metadata: Mapping[str, Any]) -> Encoding:
    """Read an encoding from its members. Raises KeyError, TypeError, ValueError."""
    codec = metadata["codec"]
    if codec not in _CODECS:
        raise ValueError(f"codec {codec!r} is unknown")
    return Encoding(shape=tuple(metadata["shape"]), dtype=metadata["dtype"], codec=codec, checksum=metadata["checksum"])


def checked_pixels(payload: bytes | bytearray, encoding: Encoding, where: str) -> Pixels:
    """Decode a payload after holding it against what is known of it. Raises ImageDamagedError."""
    if checksum(payload) != encoding.checksum:
        raise ImageDamagedError(f"read the image {where}: its {len(payload)} bytes do not fit the checksum")
    try:
        pixels = decode(payload, encoding.codec).reshape(encoding.shape)
    except ValueError as exc:
        raise ImageDamagedError(f"read the image {where}: {exc}") from exc
    if pixels.dtype.name != encoding.dtype:
        raise ImageDamagedError(f"read the image {where}: its pixels are {pixels.dtype.name}, not {encoding.dtype}")
    return pixels


def checksum(payload: bytes | bytearray) -> str:
    """Sum a payload up."""
    return hashlib.sha256(payload).hexdigest()


def _npy(pixels: Pixels) -> bytes:
    # Not np.lib.format.write_array: it makes each image's header anew, and copies the pixels piece by piece.
    return b"".join((_header(pixels.shape, pixels.dtype), pixels.data))


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    stream = BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def _of_npy(payload: bytes | bytearray) -> Pixels:
    # Not np.load: it opens zips and more, and answers nothing at all with another error.
    header = bytes(payload[: 10 + int.from_bytes(payload[8:10], "little")])
    shape, dtype = _layout(header)
    return np.frombuffer(payload, dtype, math.prod(shape), len(header)).reshape(shape)


@lru_cache(maxsize=64)
def _layout(header: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read a header; nearly all images have the same one, and to read it takes longer than to copy the pixels."""
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if in_columns or dtype.hasobject:
        raise ValueError("pixels are written in rows, and are numbers")
    return shape, dtype


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
