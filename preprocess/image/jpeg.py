"""Decoding of JPEG files by libjpeg-turbo, with the warnings that Pillow does not pass on.

Without them a damaged JPEG is a picture with grey or shifted rows. simplejpeg runs the same library at the same speed.
"""

import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image as Pillow

from imagefeed.errors import MemberRefusedError
from preprocess.image.probes import tidied

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""simplejpeg's name for each of Pillow's modes of a JPEG."""
_UNKNOWN_LAYOUT = "subsampling"
"""In what the library says of chroma that is stored in an unusual resolution, which Pillow can decode."""


def decode_jpeg(content: memoryview, mode: str, least: tuple[int, int]) -> Pillow.Image | None:
    """Return a JPEG at the smallest scale of at least `least` (width, height; 0: any); None if only Pillow can read it.

    Raises MemberRefusedError if values are missing or wrong.
    """
    try:
        pixels = _decoded(content, mode, least)
    except ValueError as first:
        if _UNKNOWN_LAYOUT in str(first):
            warnings.warn("its chroma subsampling is unusual: damaged values cannot be recognised", stacklevel=1)
            return None
        # The library reports only the first warning. It may be harmless, and hide one that is not.
        try:
            pixels = _decoded(memoryview(tidied(content)), mode, least)
        except ValueError as exc:
            raise MemberRefusedError(f"it is damaged: {exc}") from exc
    if mode == "CMYK":
        # Stored as inks' absence, as Adobe does.
        np.subtract(255, pixels, out=pixels)
    return Pillow.fromarray(pixels[..., 0] if mode == "L" else pixels, mode if mode == "CMYK" else None)


def _decoded(content: memoryview, mode: str, least: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = least
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        content, _SPACES[mode], min_width=width, min_height=height, strict=True
    )
    return pixels
