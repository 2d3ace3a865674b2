"""Transforms a decoded frame to the array that the recipe specifies."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter

from imagefeed.errors import MemberRefusedError
from imagefeed.model import Pixels
from preprocess.image.decode import Frame, Size
from preprocess.image.dtype import cast
from preprocess.image.planes import Planes
from preprocess.model import Recipe

_FILTERS = {kind.name.lower(): kind for kind in Pillow.Resampling}
_GAP = 1.5
"""Pillow first averages whole numbers of pixels, down to this many times the target size, in half of the time or less.
With 1 it would take half of that again, but if ratios are whole numbers the recipe's filter would have no effect."""
_LEAST = 64
"""Pixels of each side down to which pixels are averaged at most. Averages of few pixels would decide a small
result instead of the recipe's filter, which costs little there."""
_SPARE = {1 / 8: 1.5, 1 / 4: 1.2, 1 / 2: 1.0}
"""A JPEG is decoded at one of these scales if the result is at least this many times as large as the target. The
decoder averages pixels, as `_GAP` does. `make bench ARGS="--only jpeg-sizes"` measures how both together change values.
"""
_SHARPENED = 1 / 8
"""Scale from which the damping by averages is undone. Before, it is too weak for that to be worth its time."""
_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R 601, as used by Pillow for 8 bits."""

type Box = tuple[float, float, float, float]


def shrink(size: Size, recipe: Recipe) -> float:
    """Return the scale at which a picture of this size may be decoded: 1, 1/2, 1/4 or 1/8."""
    if recipe.fit == "none" or recipe.resample == "nearest":
        return 1.0
    box, target, _ = _geometry(size, recipe)
    sides = (box[2] - box[0], target[0]), (box[3] - box[1], target[1])
    fitting = (
        scale
        for scale, spare in _SPARE.items()
        if all(side * scale >= max(wanted * spare, _LEAST) for side, wanted in sides)
    )
    return next(fitting, 1.0)


def transform(frame: Frame, recipe: Recipe) -> Pixels:
    """Crop and resize a frame, and convert its colour and values. Raises MemberRefusedError."""
    planes = frame.planes if recipe.colour == "keep" else _without_alpha(frame.planes)
    pixels = _stored(_fitted(planes, frame, recipe))
    return cast(_coloured(pixels, recipe), recipe)


def _geometry(size: Size, recipe: Recipe) -> tuple[Box, Size, Size]:
    """Return the source box, the size to which it is resized, and the size of the result, which may be padded."""
    left, upper, right, lower = _cropped(size, recipe)
    width, height = right - left, lower - upper
    target = recipe.width, recipe.height
    if recipe.fit == "none":
        return (left, upper, right, lower), (int(width), int(height)), (int(width), int(height))
    if recipe.fit == "contain":
        scale = min(target[0] / width, target[1] / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        return (left, upper, right, lower), inner, target
    if recipe.fit == "cover":
        scale = max(target[0] / width, target[1] / height)
        spare = (width - target[0] / scale) / 2, (height - target[1] / scale) / 2
        left, upper, right, lower = left + spare[0], upper + spare[1], right - spare[0], lower - spare[1]
    return (left, upper, right, lower), target, target


def _cropped(size: Size, recipe: Recipe) -> Box:
    left, upper, right, lower = recipe.crop or (0, 0, *size)
    right, lower = min(right, size[0]), min(lower, size[1])
    if left >= right or upper >= lower:
        raise MemberRefusedError(f"PREPROCESS_CROP={recipe.crop} lies outside the picture of {size[0]} x {size[1]}")
    return left, upper, right, lower


def _fitted(planes: Planes, frame: Frame, recipe: Recipe) -> Planes:
    box, inner, target = _geometry(frame.size, recipe)
    if recipe.fit == "none":
        return planes if inner == planes.size else planes.map(lambda image: image.crop(box))
    left, upper, right, lower = (at * frame.scale + frame.origin[index % 2] for index, at in enumerate(box))
    # Rounding must not move the box outside of the picture.
    scaled = max(left, 0), max(upper, 0), min(right, planes.size[0]), min(lower, planes.size[1])
    gap = None if recipe.resample == "nearest" else max(_GAP, _LEAST / min(inner))
    fitted = planes.map(lambda image: image.resize(inner, _FILTERS[recipe.resample], scaled, gap))
    if frame.scale <= _SHARPENED:
        spare = (scaled[2] - scaled[0]) / inner[0], (scaled[3] - scaled[1]) / inner[1]
        fitted = fitted.map(lambda image: _sharpened(image, spare))
    return fitted if inner == target else fitted.map(lambda image: _padded(image, target))


def _sharpened(image: Pillow.Image, spare: tuple[float, float]) -> Pillow.Image:
    """Sharpen an image to undo the damping by averages. `spare` is the number of averaged pixels per pixel, x and y.

    An average over one unit damps the frequency w to sinc(w/2), about 1 - w²/24. The kernel (-k, 1 + 2k, -k) raises it
    by the same.
    """
    across, down = (1 / (24 * ratio**2) for ratio in spare)
    kernel = np.outer((-down, 1 + 2 * down, -down), (-across, 1 + 2 * across, -across))
    return image.filter(ImageFilter.Kernel((3, 3), kernel.ravel().tolist(), 1))


def _padded(image: Pillow.Image, size: Size) -> Pillow.Image:
    padded = Pillow.new(image.mode, size)
    padded.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return padded


def _without_alpha(planes: Planes) -> Planes:
    """Lay transparent pixels over black, before resizing, so that hidden colours do not bleed into visible pixels."""
    if planes.channels in (1, 3):
        return planes
    if len(planes.images) == 1:
        # Premultiplying by alpha lays the picture over black. `_stored` then drops the alpha channel.
        return planes.map(lambda image: image.convert({"LA": "La", "RGBA": "RGBa"}[image.mode]))
    # Alpha of more than 8 bits occurs with 16-bit values only.
    *colours, opaque = planes.images
    alpha = np.asarray(opaque).astype(np.uint32)
    return replace(planes, images=tuple(_over_black(colour, alpha) for colour in colours))


def _over_black(colour: Pillow.Image, alpha: NDArray[np.uint32]) -> Pillow.Image:
    values = np.asarray(colour).astype(np.uint32)
    # Rounded division: 65,535² plus half of 65,535 fits 32 bits, and no value lies exactly half way.
    values *= alpha
    values += 65_535 // 2
    values //= 65_535
    return Pillow.fromarray(values.view(np.int32))


def _stored(planes: Planes) -> Pixels:
    """Return values in the dtype of the file, clipped because resizing overshoots at sharp edges."""
    pixels = planes.pixels()
    if planes.images[0].mode in ("La", "RGBa"):
        pixels = pixels[..., 0] if planes.channels == 2 else pixels[..., :3]
    if planes.dtype == np.uint16:
        pixels = np.clip(pixels, 0, 65_535)
    return pixels.astype(planes.dtype, copy=False)


def _coloured(pixels: Pixels, recipe: Recipe) -> Pixels:
    if recipe.colour == "RGB" and pixels.ndim == 2:
        return np.repeat(pixels[..., np.newaxis], 3, axis=-1)
    if recipe.colour == "L" and pixels.ndim == 3:
        if pixels.dtype == np.uint8:
            return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L"))
        grey: NDArray[np.float64] = np.rint(np.dot(pixels, _LUMA))
        return grey.astype(pixels.dtype)
    return pixels
