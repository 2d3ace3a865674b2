"""Encode pictures in every image format that the pipeline accepts."""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

type Encode = Callable[[Sequence[Image.Image]], bytes]
"""Encodes pictures as the frames of one file; most formats hold a single frame."""

_ORIENTATION = 0x0112
_TURNED_LEFT = 6
"""EXIF orientation 6: a viewer must rotate the stored picture by 90 degrees clockwise."""


def _plain(kind: str, mode: str = "RGB", **options: object) -> Encode:
    def encode(pictures: Sequence[Image.Image]) -> bytes:
        first, *others = [picture.convert(mode) for picture in pictures]
        if others:
            return _saved(first, kind, save_all=True, append_images=others, **options)
        return _saved(first, kind, **options)

    return encode


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned(pictures: Sequence[Image.Image]) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED_LEFT
    return _saved(pictures[0].transpose(Image.Transpose.ROTATE_90), "JPEG", quality=88, exif=exif)


def _deep(kind: str) -> Encode:
    """Return an encoder of 16-bit grey values that use the full range."""

    def encode(pictures: Sequence[Image.Image]) -> bytes:
        grey = np.asarray(pictures[0].convert("L"), dtype=np.uint16) * 257
        return _saved(Image.fromarray(grey), kind)

    return encode


def _palette(pictures: Sequence[Image.Image]) -> bytes:
    return _saved(pictures[0].quantize(256), "PNG")


def _animated(pictures: Sequence[Image.Image]) -> bytes:
    first, *others = [picture.quantize(256) for picture in pictures]
    # disposal 1 and whole frames, so that no frame depends on another.
    return _saved(first, "GIF", save_all=True, append_images=others, duration=400, disposal=1, optimize=False)


FORMATS: Mapping[str, tuple[str, Encode]] = {
    "jpeg": (".jpg", _plain("JPEG", quality=88)),
    "jpeg-fine": (".jpg", _plain("JPEG", quality=93, subsampling=0)),
    "jpeg-turned": (".jpeg", _turned),
    "jpeg-cmyk": (".jpg", _plain("JPEG", "CMYK", quality=90)),
    "jpeg-grey": (".JPG", _plain("JPEG", "L", quality=90)),
    "png": (".png", _plain("PNG", compress_level=1)),
    "png-alpha": (".png", _plain("PNG", "RGBA", compress_level=1)),
    "png-palette": (".png", _palette),
    "png-16": (".png", _deep("PNG")),
    "tiff": (".tif", _plain("TIFF")),
    "tiff-lzw": (".tiff", _plain("TIFF", compression="tiff_lzw")),
    "tiff-16": (".tif", _deep("TIFF")),
    "webp": (".webp", _plain("WEBP", quality=85, method=2)),
    "bmp": (".bmp", _plain("BMP")),
    "gif": (".gif", _animated),
    "jpeg2000": (".jp2", _plain("JPEG2000", quality_mode="rates", quality_layers=[12])),
    "ppm": (".ppm", _plain("PPM")),
    "pgm": (".pgm", _plain("PPM", "L")),
    "avif": (".avif", _plain("AVIF", quality=75, speed=9, max_threads=1)),
}
"""Name of a format -> file suffix, encoder."""

GREY_FORMATS = frozenset({"jpeg-grey", "png-16", "tiff-16", "pgm"})
"""Formats without colour."""
