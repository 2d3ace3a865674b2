"""Stored arrays as small pictures: every array that a hook may return is visible."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imagefeed.model import Pixels
from ops.web.thumbnail import LARGEST, thumbnail


def drawn(pixels: Pixels) -> NDArray[np.uint8]:
    with Image.open(BytesIO(thumbnail(pixels)), formats=["PNG"]) as image:
        return np.asarray(image, np.uint8)


def test_eight_bits_are_shown_as_they_are() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(drawn(pixels), pixels)


def test_the_longer_side_is_bounded() -> None:
    assert drawn(np.zeros((300, 1_200, 3), np.uint8)).shape == (64, LARGEST, 3)


def test_twelve_bits_in_sixteen_are_not_black() -> None:
    pixels = np.linspace(0, 4_095, 64, dtype=np.uint16).reshape(8, 8)
    assert drawn(pixels).max() > 250


def test_floats_from_nought_to_one_keep_their_brightness() -> None:
    np.testing.assert_array_equal(drawn(np.array([[0.0, 0.5], [0.6, 1.0]], np.float32)), [[0, 128], [153, 255]])


def test_normalised_floats_are_spread_and_what_is_no_number_is_left_out() -> None:
    pixels = np.linspace(-2, 2, 100, dtype=np.float16).reshape(10, 10).copy()
    pixels[0, 0], pixels[0, 1] = np.nan, np.inf
    samples = drawn(pixels)
    assert {int(samples.min()), int(samples.max())} == {0, 255}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), (1, 1)),
        ((7,), (1, 7)),
        ((5, 7), (5, 7)),
        ((3, 50, 70), (50, 70, 3)),
        ((50, 70, 2), (50, 70)),
        ((50, 70, 4), (50, 70, 4)),
        ((50, 70, 9), (50, 70, 3)),
        ((2, 2, 50, 70, 3), (50, 70, 3)),
        ((0, 9), (1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "float32", "complex64"])
def test_every_shape_and_type_can_be_seen(shape: tuple[int, ...], expected: tuple[int, ...], dtype: str) -> None:
    assert drawn(np.ones(shape, dtype)).shape == expected
