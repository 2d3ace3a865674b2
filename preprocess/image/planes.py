"""Decoded pictures as images that Pillow can resize without losing values.

Nearly all of Pillow's conversions clip or cut off values that do not fit 8 bits. A picture with more bits is therefore
not converted: it becomes one 32-bit image per channel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.ImageFile import _Tile as Tile

from imagefeed.errors import MemberRefusedError
from preprocess.image.probes import jpeg2000_depths

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
"""Mode that each of Pillow's 8-bit modes becomes: grey or colour, with alpha if there is some."""
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
_DEEP = {"RGB": 3, "RGBX": 3, "RGBA": 4}
"""Layouts of 16-bit colour that can be read without loss, and their numbers of channels."""
_WEIGHTS = {"JPEG2000": 2, "WEBP": 2}
_DEEP_WEIGHT = 4
_TEXT_WEIGHT = 20
"""Written-out numbers, which Pillow parses in Python: 1.3 µs per pixel, the time of twenty to forty other pixels."""
_WHITE_IS_ZERO = 0
_LOW = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}
"""The opposite of each byte order. Pillow reads only the high byte of 16-bit colour; with the opposite order, the low.
"""
_NATIVE = {"I;16BS": "I;16NS", "I;32B": "I;32N", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Layouts of big-endian TIFFs. libtiff, which reads compressed ones, returns native values; Pillow swaps them again."""


@dataclass(frozen=True, slots=True)
class Planes:
    """One 8-bit image with all channels, or a 32-bit image (mode I or F) for each channel."""

    images: tuple[Pillow.Image, ...]
    dtype: np.dtype[np.generic]
    """Dtype of the values as stored in the file."""

    @property
    def channels(self) -> int:
        """Return the number of channels of all images."""
        return sum(len(image.getbands()) for image in self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.images[0].size

    def map(self, change: Callable[[Pillow.Image], Pillow.Image]) -> "Planes":
        """Return the planes with `change` applied to each image."""
        return replace(self, images=tuple(change(image) for image in self.images))

    def pixels(self) -> NDArray[np.generic]:
        """Return the values as one array: height x width, then channels if there are several."""
        if len(self.images) == 1:
            return np.asarray(self.images[0])
        return np.stack([np.asarray(image) for image in self.images], axis=-1)


def load(image: ImageFile, again: Callable[[], ImageFile]) -> Planes:
    """Decode an opened image's frame. `again` opens the same frame once more. Raises MemberRefusedError."""
    _check_complete(image)
    raw = raw_mode(image)
    if raw in _NATIVE and image.tile[0].codec_name == "libtiff":
        image.tile = _with_layout(image, _NATIVE[raw])
    planes = _loaded(image, again, raw)
    key = image.info.get("transparency") if image.format == "PNG" and planes.dtype == np.uint16 else None
    return planes if key is None else _with_alpha(planes, key)


def correct_key(image: ImageFile) -> None:
    """Correct the transparent value of a PNG that is opened: Pillow compares it with values spread to 8 bits.

    PNG stores 16 bits of it, of which as many count as a value has.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "RGB") or key is None:
        return
    raw = raw_mode(image)
    bits = 1 if image.mode == "1" else int(raw.partition(";")[2].rstrip("B") or 8)
    top = 2**bits - 1
    if image.mode == "1" and isinstance(image.fp, BytesIO):
        # Pillow keeps of 16 bits only whether one is set.
        key = int.from_bytes(image.fp.getvalue().partition(b"tRNS")[2][:2])
    if isinstance(key, int):
        image.info["transparency"] = (key & top) * 255 // top
    elif bits == 8:
        image.info["transparency"] = tuple(value & top for value in key)
    elif not _is_deep(image, raw):
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _loaded(image: ImageFile, again: Callable[[], ImageFile], raw: str) -> Planes:
    if raw == "LA;16B":
        # Read the same bytes as four 8-bit channels: high and low byte of grey, then of alpha.
        _read_as(image, "RGBA")
        return _joined((image, 0, image, 1), (image, 2, image, 3))
    if image.mode in ("L", "I", "RGB") and image.format == "PPM" and image.tile[0].codec_name == "ppm":
        return _binary(image)
    if len(image.getbands()) > 1 and _is_deep(image, raw):
        return _deep_colour(image, again, raw)
    top, depth, colours = _top_value(image), _depth(image), _colours(image)
    image.load()
    if depth is not None:
        return _of_depth(image, *depth)
    if colours is not None and np.asarray(image).max() >= colours:
        raise MemberRefusedError(f"it is damaged: its palette has only {colours} colours")
    if image.mode in _EIGHT_BITS and not _is_signed(image):
        pixels = eight_bits(image)
        return Planes((pixels if top is None else _unspread(pixels, top),), np.dtype(np.uint8))
    return _grey(image, top)


def weight(image: ImageFile) -> int:
    """Return how many 8-bit pixels take as much memory, or time, as one pixel of an image that is not decoded yet.

    All weights are measured.
    """
    if is_text(image):
        return _TEXT_WEIGHT
    many = len(image.getbands()) > 1 or "transparency" in image.info
    deep = many and (_is_deep(image, raw_mode(image)) or (_top_value(image) or 0) > 255)
    return _DEEP_WEIGHT if deep else _WEIGHTS.get(image.format or "", 1)


def is_text(image: ImageFile) -> bool:
    """Return whether an image is a PPM with written-out numbers."""
    return any(tile.codec_name == "ppm_plain" for tile in image.tile)


def raw_mode(image: ImageFile) -> str:
    """Return the layout of the bytes that a decoder returns; empty if Pillow does not name it."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _is_deep(image: ImageFile, raw: str) -> bool:
    """Return whether an image has 16 bits per channel."""
    if image.format == "PNG":
        return ";16" in raw
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


def _check_complete(image: ImageFile) -> None:
    """Raise MemberRefusedError if Pillow would drop channels of a TIFF, or read other bytes for a tile it lacks."""
    channels = tiff_tag(image, Base.SamplesPerPixel)
    if isinstance(channels, int) and channels != len(image.getbands()):
        raise MemberRefusedError(f"it has {channels} channels, of which only {len(image.getbands())} can be read")
    if image.mode == "LA" and tiff_tag(image, Base.PlanarConfiguration) == 2:
        raise MemberRefusedError("its alpha is stored apart from its grey, which cannot be read without loss")
    tags = getattr(image, "tag_v2", {})
    counts = [count for tag in (Base.StripByteCounts, Base.TileByteCounts) for count in tags.get(tag, ())]
    if missing := counts.count(0):
        raise MemberRefusedError(f"{missing} of its {len(counts)} tiles have no values: it was written sparse")


def _top_value(image: ImageFile) -> int | None:
    """Return the value that a PPM declares as white, if Pillow spreads its values to 255 or 65,535 because of it."""
    args = image.tile[0].args if image.tile and image.tile[0].codec_name in ("ppm", "ppm_plain") else None
    return int(args[1]) if isinstance(args, tuple) and len(args) > 1 else None


def _unspread(image: Pillow.Image, top: int) -> Pillow.Image:
    """Return the values as they are in a file of written-out numbers whose white is `top`."""
    full = 65_535 if image.mode == "I" else 255
    if top > full:
        raise MemberRefusedError("its colours of 16 bits, written as text, cannot be read without loss")
    if top == full:
        return image
    values = np.asarray(image).astype(np.int64)
    values *= top
    values += full // 2
    values //= full
    return Pillow.fromarray(values.astype(np.int32 if image.mode == "I" else np.uint8))


def _binary(image: ImageFile) -> Planes:
    """Return the values of a binary PPM, which Pillow reduces to 8 bits, spreads to 255 and cuts off at its white."""
    top, bands = _top_value(image) or 255, len(image.getbands())
    kind = np.dtype(">u2" if top > 255 else np.uint8)
    assert image.fp is not None
    image.fp.seek(image.tile[0].offset)
    content = image.fp.read(image.width * image.height * bands * kind.itemsize)
    if len(content) < image.width * image.height * bands * kind.itemsize:
        raise MemberRefusedError(f"it is cut off: the end of the {image.format} file is missing")
    values = np.frombuffer(content, kind).reshape(image.height, image.width, bands)
    if (highest := int(values.max())) > top:
        raise MemberRefusedError(f"it is damaged: a value is {highest}, but its header declares at most {top}")
    if top < 256:
        return Planes((Pillow.fromarray(values if bands > 1 else values[..., 0]),), kind)
    wide = (values[..., band].astype(np.int32) for band in range(bands))
    return Planes(tuple(Pillow.fromarray(plane) for plane in wide), np.dtype(np.uint16))


def _depth(image: ImageFile) -> tuple[int, bool] | None:
    """Return the bits of a grey JPEG 2000's values and whether they are signed; None if Pillow returns them as stored.

    Pillow shifts values of fewer bits up to 8 or 16, and signed ones above zero.
    """
    if image.format != "JPEG2000" or image.mode not in ("L", "I;16"):
        return None
    assert isinstance(image.fp, BytesIO)
    depth = jpeg2000_depths(image.fp.getvalue())[0]
    return None if depth in ((8, False), (16, False)) else depth


def _of_depth(image: Pillow.Image, bits: int, signed: bool) -> Planes:
    """Return grey values as they were before they were shifted."""
    full = 8 if image.mode == "L" else 16
    if bits > full:
        raise MemberRefusedError(f"its values of {bits} bits cannot be read without loss")
    values = np.asarray(image).astype(np.int32) >> (full - bits)
    if signed:
        return Planes((Pillow.fromarray(values - (1 << (bits - 1))),), np.dtype(np.int32))
    if full == 8:
        return Planes((Pillow.fromarray(values.astype(np.uint8)),), np.dtype(np.uint8))
    return Planes((Pillow.fromarray(values),), np.dtype(np.uint16))


def _colours(image: ImageFile) -> int | None:
    """Return the number of colours of a palette, which is filled up to 256 when its image is decoded."""
    if image.mode != "P" or image.format not in ("PNG", "BMP") or image.palette is None:
        return None
    return len(image.palette.palette) // len(image.palette.rawmode or image.palette.mode)


def _read_as(image: ImageFile, raw: str) -> None:
    """Decode an image with another layout of its bytes."""
    image.tile = _with_layout(image, raw)
    image.load()


def _with_layout(image: ImageFile, raw: str) -> list[Tile]:
    return [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])) for tile in image.tile
    ]


def _joined(*channels: tuple[Pillow.Image, int, Pillow.Image, int]) -> Planes:
    """Return planes of 16-bit channels, joined from high and low bytes one after the other, to bound memory."""
    return Planes(tuple(_wide(*channel) for channel in channels), np.dtype(np.uint16))


def _with_alpha(planes: Planes, key: int | tuple[int, ...]) -> Planes:
    """Return 16-bit planes with another one that is 0 where all values are those of the transparent colour."""
    keys = (key,) if isinstance(key, int) else key
    equal = [np.asarray(plane) == value for plane, value in zip(planes.images, keys, strict=True)]
    opaque = np.where(np.logical_and.reduce(equal), 0, 65_535).astype(np.int32)
    return replace(planes, images=(*planes.images, Pillow.fromarray(opaque)))


def _wide(high: Pillow.Image, high_channel: int, low: Pillow.Image, low_channel: int) -> Pillow.Image:
    values = np.asarray(high.getchannel(high_channel)).astype(np.int32)
    values *= 256
    values += np.asarray(low.getchannel(low_channel))
    return Pillow.fromarray(values)


def tiff_tag(image: ImageFile, tag: Base) -> object:
    """Return the first value of a TIFF's tag; None if it is absent or the file is not a TIFF."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _is_signed(image: ImageFile) -> bool:
    return tiff_tag(image, Base.SampleFormat) == 2 and image.mode == "L"


def eight_bits(image: Pillow.Image) -> Pillow.Image:
    """Return an image of 8 bits per channel as grey or colour, with alpha if it has transparent pixels."""
    mode = _EIGHT_BITS[image.mode]
    if image.has_transparency_data:
        mode = _WITH_ALPHA.get(mode, mode)
    return image if image.mode == mode else image.convert(mode)


def _grey(image: ImageFile, top: int | None) -> Planes:
    """Return grey values unchanged, with the dtype that they have in the file. `top`: see `_top_value`."""
    if image.mode.startswith("I;16"):
        wide = image.convert("I")
        if tiff_tag(image, Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
            # As Pillow does for 8 bits.
            wide = Pillow.fromarray(65_535 - np.asarray(wide))
        return Planes((wide,), np.dtype(np.uint16))
    if image.mode == "L":
        signed = np.asarray(image).view(np.int8).astype(np.int32)
        return Planes((Pillow.fromarray(signed),), signed.dtype)
    if image.mode == "I" and image.format == "PPM":
        return Planes((image if top is None else _unspread(image, top),), np.dtype(np.uint16))
    if image.mode == "I":
        _check_unsigned(image)
        return Planes((image,), np.dtype(np.int32))
    if image.mode == "F":
        return Planes((image,), np.dtype(np.float32))
    raise MemberRefusedError(f"its colour mode {image.mode} is not supported")


def _check_unsigned(image: ImageFile) -> None:
    """Raise MemberRefusedError if unsigned 32-bit values of a TIFF overflowed, which Pillow reads as negative."""
    if image.format == "TIFF" and tiff_tag(image, Base.SampleFormat) != 2 and np.asarray(image).min() < 0:
        raise MemberRefusedError("its unsigned 32-bit values go beyond 2,147,483,647")
