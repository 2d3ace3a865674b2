"""Encodes pixels as bytes, decodes and verifies them: `npy` holds every numeric type, `png` 8 and 16 bits."""

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
"""The numpy kinds that can be stored: bool, integers, unsigned integers, floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The codec, type, shape and checksum of an image's payload, with which a reader decodes and verifies it."""

    shape: tuple[int, ...]
    dtype: str
    codec: Codec
    checksum: str
    """SHA-256 of the payload."""


def encode(pixels: Pixels, codec: Codec) -> bytes:
    """Return pixels as bytes; equal pixels give equal bytes. Raises MemberRefusedError if the type cannot be stored."""
    if pixels.dtype.kind not in _KINDS:
        raise MemberRefusedError(
            f"encode an array of {pixels.dtype.name}: only bool, integers and floats can be stored; let the hook "
            "return one of these"
        )
    # Stored as little-endian and in C order, independent of the machine and of the hook.
    plain = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return _npy(plain) if codec == "npy" else _png(plain)


def decode(payload: bytes | bytearray, codec: Codec) -> Pixels:
    """Return the pixels of a payload of `encode`; those of a grey PNG are height x width. Raises ValueError.

    Pixels of `npy` share the payload's memory, so they can be changed in place if it is a bytearray.
    """
    if codec == "npy":
        return _of_npy(payload)
    try:
        with Image.open(BytesIO(payload), formats=["PNG"]) as image:
            return np.array(image)
    except OSError as exc:
        raise ValueError(f"no PNG: {exc}") from exc


def encoding_of(pixels: Pixels, codec: Codec, payload: bytes) -> Encoding:
    """Return the encoding of a payload that `encode` made from `pixels`."""
    return Encoding(shape=pixels.shape, dtype=pixels.dtype.name, codec=codec, checksum=checksum(payload))


def read_encoding(metadata: Mapping[str, Any]) -> Encoding:
    """Return the encoding in stored metadata. Raises KeyError, TypeError or ValueError if it is invalid."""
    codec = metadata["codec"]
    if codec not in _CODECS:
        raise ValueError(f"codec {codec!r} is unknown")
    return Encoding(shape=tuple(metadata["shape"]), dtype=metadata["dtype"], codec=codec, checksum=metadata["checksum"])


def checked_pixels(payload: bytes | bytearray, encoding: Encoding, where: str) -> Pixels:
    """Return the pixels of a payload. Raises ImageDamagedError if checksum, type or shape differ from `encoding`."""
    if checksum(payload) != encoding.checksum:
        raise ImageDamagedError(f"read the image {where}: its {len(payload)} bytes do not match the checksum")
    try:
        pixels = decode(payload, encoding.codec).reshape(encoding.shape)
    except ValueError as exc:
        raise ImageDamagedError(f"read the image {where}: {exc}") from exc
    if pixels.dtype.name != encoding.dtype:
        raise ImageDamagedError(f"read the image {where}: its pixels are {pixels.dtype.name}, not {encoding.dtype}")
    return pixels


def checksum(payload: bytes | bytearray) -> str:
    """Return the SHA-256 of a payload as hexadecimal text."""
    return hashlib.sha256(payload).hexdigest()


def _npy(pixels: Pixels) -> bytes:
    # np.lib.format.write_array is slower: it builds the header for each image and copies the pixels in pieces.
    return b"".join((_header(pixels.shape, pixels.dtype), pixels.data))


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    stream = BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def _of_npy(payload: bytes | bytearray) -> Pixels:
    # np.load also opens zips and other formats, and raises another error for an empty payload.
    header = bytes(payload[: 10 + int.from_bytes(payload[8:10], "little")])
    shape, dtype = _layout(header)
    return np.frombuffer(payload, dtype, math.prod(shape), len(header)).reshape(shape)


@lru_cache(maxsize=64)
def _layout(header: bytes) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Return shape and dtype of a header. Cached: most images share one, and parsing is slower than copying pixels."""
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if in_columns or dtype.hasobject:
        raise ValueError("the npy header must say C order and a numeric type")
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
    # A fixed level, so that the bytes do not change with Pillow's default.
    Image.fromarray(flat).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
