"""A decoded picture as images that Pillow can resize without losing values.

Pillow clips or cuts off what does not fit 8 bits almost wherever it converts, so nothing here converts what has more:
such a picture becomes one 32-bit image for each channel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from imagefeed.errors import MemberRefusedError

_EIGHT_BITS = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}
"""What each of Pillow's modes becomes: grey or colour, and alpha where there is some."""
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
_DEEP = {"RGB": 3, "RGBX": 3, "RGBA": 4}
"""Layouts of 16-bit colour that can be read without loss, and their channels."""
_WEIGHTS = {"JPEG2000": 2, "WEBP": 2}
_DEEP_WEIGHT = 4
_TEXT_WEIGHT = 20
"""Numbers written out, which Pillow reads in Python: 1.3 µs a pixel, as much as twenty to forty of others take."""
_LOW = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}
"""Pillow reads 16-bit colour as the high byte of each value; in the wrong byte order that is the low byte."""


@dataclass(frozen=True, slots=True)
class Planes:
    """One 8-bit image with all channels, or a 32-bit image (mode I or F) for each channel."""

    images: tuple[Pillow.Image, ...]
    dtype: np.dtype[np.generic]
    """Of the values as they were stored."""

    @property
    def channels(self) -> int:
        """Return the number of channels of all images."""
        return sum(len(image.getbands()) for image in self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.images[0].size

    def map(self, change: Callable[[Pillow.Image], Pillow.Image]) -> "Planes":
        """Change each image in the same way."""
        return replace(self, images=tuple(change(image) for image in self.images))

    def pixels(self) -> NDArray[np.generic]:
        """Values as one array: height x width, and channels where there are several."""
        if len(self.images) == 1:
            return np.asarray(self.images[0])
        return np.stack([np.asarray(image) for image in self.images], axis=-1)


def load(image: ImageFile, again: Callable[[], ImageFile]) -> Planes:
    """Decode an opened image's frame; `again` opens the same frame once more. Raises MemberRefusedError."""
    raw = _raw_mode(image)
    if raw == "LA;16B":
        # The same bytes, read as four channels of 8 bits each: high and low of grey, then of alpha.
        _read_as(image, "RGBA")
        return _joined((image, 0, image, 1), (image, 2, image, 3))
    if len(image.getbands()) > 1 and _is_deep(image, raw):
        return _deep_colour(image, again, raw)
    image.load()
    if image.mode in _EIGHT_BITS and not _is_signed(image):
        return Planes((_eight_bits(image),), np.dtype(np.uint8))
    return _grey(image)


def weight(image: ImageFile) -> int:
    """Tell how many pixels of 8 bits take as much memory, or time, as one of an image that is not decoded yet.

    All of it is measured.
    """
    if is_text(image):
        return _TEXT_WEIGHT
    deep = len(image.getbands()) > 1 and _is_deep(image, _raw_mode(image))
    return _DEEP_WEIGHT if deep else _WEIGHTS.get(image.format or "", 1)


def is_text(image: ImageFile) -> bool:
    """Tell whether a PPM has its values written out."""
    return any(tile.codec_name == "ppm_plain" for tile in image.tile)


def _raw_mode(image: ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _is_deep(image: ImageFile, raw: str) -> bool:
    """Tell whether 16 bits per channel are there to be read; Pillow lays frames of a PNG over each other at 8 bits."""
    if image.format == "PNG":
        return ";16" in raw and getattr(image, "n_frames", 1) == 1
    bits = tiff_tag(image, Base.BitsPerSample)
    return isinstance(bits, int) and bits > 8


def _deep_colour(image: ImageFile, again: Callable[[], ImageFile], raw: str) -> Planes:
    layout, _, order = raw.partition(";16")
    if layout not in _DEEP or order not in _LOW or tiff_tag(image, Base.PlanarConfiguration) == 2:
        raise MemberRefusedError(f"its layout of 16 bits per channel ({image.mode}) cannot be read without loss")
    image.load()
    low = again()
    _read_as(low, f"{layout};16{_LOW[order]}")
    return _joined(*((image, channel, low, channel) for channel in range(_DEEP[layout])))


def _read_as(image: ImageFile, raw: str) -> None:
    """Decode an image as if its bytes were laid out otherwise."""
    image.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])) for tile in image.tile
    ]
    image.load()


def _joined(*channels: tuple[Pillow.Image, int, Pillow.Image, int]) -> Planes:
    """Put 16-bit channels together of high and low bytes; one after another, for they take much memory."""
    return Planes(tuple(_wide(*channel) for channel in channels), np.dtype(np.uint16))


def _wide(high: Pillow.Image, high_channel: int, low: Pillow.Image, low_channel: int) -> Pillow.Image:
    values = np.asarray(high.getchannel(high_channel)).astype(np.int32)
    values *= 256
    values += np.asarray(low.getchannel(low_channel))
    return Pillow.fromarray(values)


def tiff_tag(image: ImageFile, tag: Base) -> object:
    """Give a TIFF's tag, its first value where it has several; None for other formats."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _is_signed(image: ImageFile) -> bool:
    return tiff_tag(image, Base.SampleFormat) == 2 and image.mode == "L"


def _eight_bits(image: Pillow.Image) -> Pillow.Image:
    mode = _EIGHT_BITS[image.mode]
    if image.has_transparency_data:
        mode = _WITH_ALPHA.get(mode, mode)
    return image if image.mode == mode else image.convert(mode)


def _grey(image: ImageFile) -> Planes:
    """Take grey values as they are, told with the type that they have on disk."""
    if image.mode.startswith("I;16"):
        return Planes((image.convert("I"),), np.dtype(np.uint16))
    if image.mode == "L":
        signed = np.asarray(image).view(np.int8).astype(np.int32)
        return Planes((Pillow.fromarray(signed),), signed.dtype)
    if image.mode == "I" and image.format == "PPM":
        return Planes((image,), np.dtype(np.uint16))
    if image.mode == "I":
        _check_unsigned(image)
        return Planes((image,), np.dtype(np.int32))
    if image.mode == "F":
        return Planes((image,), np.dtype(np.float32))
    raise MemberRefusedError(f"its colour mode {image.mode} is not supported")


def _check_unsigned(image: ImageFile) -> None:
    """Refuse values that Pillow has turned negative; where they may be so, they are."""
    if image.format == "TIFF" and tiff_tag(image, Base.SampleFormat) != 2 and np.asarray(image).min() < 0:
        raise MemberRefusedError("its unsigned 32-bit values go beyond 2,147,483,647")
