"""Conversion of stored values to the recipe's dtype, which never loses values silently."""

import numpy as np
from numpy.typing import NDArray

from imagefeed.errors import MemberRefusedError
from imagefeed.model import Pixels
from preprocess.model import Recipe

_FLOAT16_MAX = float(np.finfo(np.float16).max)


def cast(pixels: Pixels, recipe: Recipe) -> Pixels:
    """Return scaled, normalised and converted pixels: C-contiguous, native byte order. Raises MemberRefusedError."""
    if recipe.scale != 1 or recipe.mean or recipe.std:
        return np.ascontiguousarray(_held(_normalised(pixels, recipe), recipe))
    return np.ascontiguousarray(_converted(pixels, recipe))


def _normalised(pixels: Pixels, recipe: Recipe) -> NDArray[np.float32]:
    values = pixels.astype(np.float32)
    values *= np.float32(recipe.scale)
    if recipe.mean:
        values -= _per_channel(values, recipe.mean, "PREPROCESS_MEAN")
    if recipe.std:
        values /= _per_channel(values, recipe.std, "PREPROCESS_STD")
    return values


def _per_channel(values: NDArray[np.float32], numbers: tuple[float, ...], setting: str) -> NDArray[np.float32]:
    channels = values.shape[2] if values.ndim == 3 else 1
    if len(numbers) not in (1, channels):
        raise MemberRefusedError(f"it has {channels} channels, {setting} has {len(numbers)} numbers")
    return np.asarray(numbers, np.float32)


def _held(values: NDArray[np.float32], recipe: Recipe) -> Pixels:
    """Convert scaled values. Values outside the dtype's range are clipped, because the scale defines the range."""
    if recipe.dtype in ("keep", "float32"):
        return values
    if recipe.dtype == "float16":
        return np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
    top = np.iinfo(recipe.dtype).max
    return np.clip(np.rint(np.nan_to_num(values, nan=0, posinf=top, neginf=0)), 0, top).astype(recipe.dtype)


def _converted(pixels: Pixels, recipe: Recipe) -> Pixels:
    """Convert unscaled values, all of which must fit, except that 16 bits become 8 by division by 257."""
    if recipe.dtype in ("keep", pixels.dtype.name):
        return pixels
    if pixels.dtype == np.uint16 and recipe.dtype == "uint8":
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    _check_fit(pixels, recipe)
    return pixels.astype(recipe.dtype)


def _check_fit(pixels: Pixels, recipe: Recipe) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    if recipe.dtype == "float16":
        fits = np.isnan(low) or -_FLOAT16_MAX <= low <= high <= _FLOAT16_MAX
    elif recipe.dtype == "float32":
        fits = True
    else:
        fits = pixels.dtype.kind != "f" and 0 <= low <= high <= np.iinfo(recipe.dtype).max
    if not fits:
        raise MemberRefusedError(
            f"PREPROCESS_DTYPE={recipe.dtype} cannot hold its {pixels.dtype} values: "
            "set it to float32 or keep, or choose the range with PREPROCESS_SCALE"
        )
