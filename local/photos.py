"""Make large pictures from the photographs in scikit-image's wheel, by crops, rotations and enlargements."""

from functools import cache
from importlib.util import find_spec
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops

COLOUR = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
GREY = ("brick.png", "camera.png", "cell.png", "coins.png", "grass.png", "gravel.png", "moon.png")

_DETAIL = 900
"""Longest side of a crop in pixels, before it is enlarged."""
_LARGEST_TURN = 12.0
"""Largest rotation in degrees."""
_GRAIN = 5
"""Largest deviation of the noise, in 8-bit brightness levels."""


def photographs_folder() -> Path:
    """Return the folder of the photographs, without importing scikit-image, which takes a second.

    Raises FileNotFoundError if it is not installed.
    """
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError("scikit-image is not installed: run `make demo`, or install requirements-dev.txt")
    return Path(package.origin).parent / "data"


@cache
def photograph(name: str) -> Image.Image:
    """Return one photograph in RGB."""
    with Image.open(photographs_folder() / name) as picture:
        return picture.convert("RGB")


def render(rng: Generator, name: str, size: tuple[int, int]) -> Image.Image:
    """Return a rotated crop of a photograph, enlarged to `size` (width, height), with noise like a camera's."""
    cut = _cut(rng, photograph(name), size)
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _grainy(rng, cut.resize(size, Image.Resampling.BICUBIC))


def _cut(rng: Generator, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a rotated crop with the proportions of `size` that lies within the photograph."""
    turn = radians(rng.uniform(-_LARGEST_TURN, _LARGEST_TURN))
    across, along = abs(cos(turn)), abs(sin(turn))
    width, height = size
    # Largest scale at which the bounding box of the rotated crop fits.
    fits = min(photo.width / (width * across + height * along), photo.height / (width * along + height * across))
    scale = fits * rng.uniform(0.7, 0.98)
    box_width, box_height = width * scale, height * scale
    free_x = photo.width - (box_width * across + box_height * along)
    free_y = photo.height - (box_width * along + box_height * across)
    centre_x = photo.width / 2 + rng.uniform(-0.5, 0.5) * free_x
    centre_y = photo.height / 2 + rng.uniform(-0.5, 0.5) * free_y
    shrink = min(1.0, _DETAIL / max(size))
    out = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    step_x, step_y = box_width / out[0], box_height / out[1]
    a, b = step_x * cos(turn), -step_y * sin(turn)
    d, e = step_x * sin(turn), step_y * cos(turn)
    c, f = centre_x - a * out[0] / 2 - b * out[1] / 2, centre_y - d * out[0] / 2 - e * out[1] / 2
    return photo.transform(out, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)


def _grainy(rng: Generator, picture: Image.Image) -> Image.Image:
    """Add noise, because a smooth enlargement compresses much better than a real photograph."""
    noise = rng.integers(0, 2 * _GRAIN + 1, size=(picture.height, picture.width), dtype=np.uint8)
    grain = Image.fromarray(noise)
    return ImageChops.add(picture, Image.merge("RGB", (grain, grain, grain)), offset=-_GRAIN)
