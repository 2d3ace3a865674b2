"""The recipe decides geometry, colour and values, and no value is lost without an error."""

import io
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imagefeed.errors import MemberRefusedError
from local import photos as scenes
from preprocess.image.decode import frames
from preprocess.image.transform import shrink
from preprocess.model import Colour, DType, Fit, Limits, Recipe, Resample
from tests.unit.preprocess.pictures import encoded, image_of, images_of, noise, png16, smooth


def near(output: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], limit: float) -> None:
    assert output.shape == expected.shape
    assert np.abs(output.astype(float) - expected.astype(float)).max() <= limit


# Geometry


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (20, 10)])
def test_fits_are_what_pillow_calls_them(size: tuple[int, int]) -> None:
    picture = Image.fromarray(smooth(size[1], size[0]))
    content = encoded(picture, "PNG")
    wanted = 64, 48
    lanczos = Image.Resampling.LANCZOS
    expected: dict[Fit, Image.Image] = {
        "stretch": picture.resize(wanted, lanczos),
        "cover": ImageOps.fit(picture, wanted, lanczos),
        "contain": ImageOps.pad(picture, wanted, lanczos),
        "none": picture,
    }
    for fit, image in expected.items():
        near(image_of(content, Recipe(width=64, height=48, fit=fit)), np.asarray(image), 3)


def test_contain_pads_with_zeros_on_both_sides() -> None:
    output = image_of(
        encoded(np.full((10, 20), 200, np.uint8), "PNG"), Recipe(width=40, height=40, fit="contain", colour="L")
    )
    assert (output[:10] == 0).all()
    assert (output[10:30] == 200).all()
    assert (output[30:] == 0).all()


def test_a_crop_is_taken_before_resizing_and_ends_where_the_picture_ends() -> None:
    pixels = noise(40, 60, 3)
    content = encoded(pixels, "PNG")
    np.testing.assert_array_equal(image_of(content, Recipe(fit="none", crop=(10, 5, 30, 25))), pixels[5:25, 10:30])
    np.testing.assert_array_equal(image_of(content, Recipe(fit="none", crop=(50, 30, 99, 99))), pixels[30:, 50:])
    same_size = Recipe(fit="stretch", width=20, height=20, crop=(10, 5, 30, 25))
    np.testing.assert_array_equal(image_of(content, same_size), pixels[5:25, 10:30])


def test_a_crop_outside_the_picture_is_refused() -> None:
    with pytest.raises(MemberRefusedError, match="PREPROCESS_CROP"):
        images_of(encoded(noise(40, 60, 3), "PNG"), Recipe(crop=(60, 0, 70, 10)))


@pytest.mark.parametrize("crop", [None, (400, 300, 1200, 900)])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("fit", ["stretch", "cover", "contain"])
def test_a_jpeg_decoded_smaller_looks_like_one_decoded_whole(
    crop: tuple[int, int, int, int] | None, orientation: int, fit: Fit
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = smooth(1203, 1601)
    recipe = Recipe(width=50, height=40, fit=fit, crop=crop)
    output = image_of(encoded(picture, "JPEG", quality=95, exif=exif), recipe)
    whole = image_of(encoded(picture, "PNG", exif=exif), recipe)
    near(output, whole, 6)


@pytest.mark.parametrize(
    ("form", "size", "side", "limit"),
    # Decoded at 1/8, at 1/4, at 1/2; averaged. Without sharpening the first differs by more.
    [("JPEG", 1600, 120, 0.5), ("JPEG", 1600, 300, 0.7), ("JPEG", 1600, 600, 0.7), ("PNG", 1600, 400, 0.5)],
)
def test_a_photograph_looks_as_if_all_of_it_were_resized(form: str, size: int, side: int, limit: float) -> None:
    photograph = scenes.render(np.random.default_rng(4), "coffee.png", (size, size))
    content = encoded(photograph, form, **({"quality": 90} if form == "JPEG" else {"compress_level": 1}))
    with Image.open(io.BytesIO(content)) as whole:
        expected = np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))
    output = image_of(content, Recipe(width=side, height=side))
    assert np.abs(output.astype(int) - expected).mean() < limit


@pytest.mark.parametrize("name", ["coffee.png", "grass.png"])
@pytest.mark.parametrize(("height", "width"), [(280, 280), (40, 280), (400, 400)])
@pytest.mark.parametrize("side", [1, 3, 8, 15])
def test_a_result_of_a_few_pixels_is_as_if_all_of_the_picture_were_resized(
    name: str, height: int, width: int, side: int
) -> None:
    content = encoded(scenes.photograph(name).convert("RGB").crop((0, 0, width, height)), "JPEG", quality=90)
    with Image.open(io.BytesIO(content)) as whole:
        expected = np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))
    output = image_of(content, Recipe(width=side, height=side, fit="stretch"))
    assert np.abs(output.astype(int) - expected).mean() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_jpeg_decoded_smaller_is_not_shifted_whatever_its_size(orientation: int, scale: int) -> None:
    """The last column of 281 pixels at 1/8 is an eighth of a pixel, and in a turned picture the first one may be."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    fine = np.asarray(scenes.photograph("grass.png").crop((7, 9, 288, 274)))
    content = encoded(fine, "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(content)) as whole:
        upright = ImageOps.exif_transpose(whole)
    size = upright.width * 5 // (scale * 8), upright.height * 5 // (scale * 8)
    expected = np.asarray(upright.resize(size, Image.Resampling.LANCZOS))
    output = image_of(content, Recipe(width=size[0], height=size[1], fit="stretch"))
    assert np.abs(output.astype(int) - expected).mean() < 2.5


def test_a_large_jpeg_is_decoded_smaller_and_a_small_one_is_not() -> None:
    def decoded_size(size: int, recipe: Recipe) -> int:
        content = io.BytesIO(encoded(smooth(size, size), "JPEG"))
        (frame,) = frames(content, "m", Limits(), partial(shrink, recipe=recipe))
        return frame.planes.size[0]

    assert decoded_size(1600, Recipe(width=133, height=133)) == 200
    assert decoded_size(1600, Recipe(width=134, height=134)) == 400
    assert decoded_size(1600, Recipe(width=333, height=333)) == 400
    assert decoded_size(1600, Recipe(width=334, height=334)) == 800
    assert decoded_size(1600, Recipe(width=801, height=801)) == 1600
    assert decoded_size(7, Recipe(width=1, height=1)) == 7
    assert decoded_size(199, Recipe(width=100, height=100)) == 199
    assert decoded_size(1600, Recipe(width=100, height=100, fit="none")) == 1600
    assert decoded_size(1600, Recipe(width=100, height=100, resample="nearest")) == 1600


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["stretch", "contain", "cover"]),
    st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
)
def test_every_fit_gives_the_size_asked_for(
    height: int, width: int, to_height: int, to_width: int, fit: Fit, resample: Resample
) -> None:
    recipe = Recipe(width=to_width, height=to_height, fit=fit, resample=resample)
    for form in ("PNG", "JPEG"):
        assert image_of(encoded(noise(height, width, 3), form), recipe).shape == (to_height, to_width, 3)


def test_16_bits_are_resized_without_clipping() -> None:
    ramp = np.repeat(np.linspace(0, 65_535, 400).astype(np.uint16)[np.newaxis], 300, axis=0)
    output = image_of(encoded(ramp, "PNG"), Recipe(width=40, height=30, fit="stretch", colour="keep", dtype="keep"))
    assert output.dtype == np.uint16
    expected = ramp.reshape(30, 10, 40, 10).mean(axis=(1, 3))
    near(output[:, 2:-2], expected[:, 2:-2], 60)


def test_edges_of_16_bits_do_not_wrap_around() -> None:
    edge = np.zeros((64, 64), np.uint16)
    edge[:, 32:] = 65_535
    output = image_of(encoded(edge, "PNG"), Recipe(width=24, height=24, fit="stretch", colour="keep", dtype="keep"))
    assert (output[:, :11] < 9_000).all()
    assert (output[:, -11:] > 56_000).all()


def test_floats_are_resized_as_floats() -> None:
    values = np.full((50, 50), -1234.5, np.float32)
    output = image_of(encoded(values, "TIFF"), Recipe(width=10, height=10, colour="keep", dtype="keep"))
    np.testing.assert_allclose(output, np.full((10, 10), -1234.5), rtol=1e-6)


# Colour

KEPT = Recipe(fit="none", dtype="keep")


@pytest.mark.parametrize(
    ("colour", "shapes"),
    [
        ("keep", [(4, 5), (4, 5, 2), (4, 5, 3), (4, 5, 4)]),
        ("L", [(4, 5)] * 4),
        ("RGB", [(4, 5, 3)] * 4),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_have_their_shapes(colour: Colour, shapes: list[tuple[int, ...]], dtype: type[Any]) -> None:
    for channels, shape in enumerate(shapes, start=1):
        values = noise(4, 5, channels, dtype=dtype)
        content = png16(values) if dtype is np.uint16 else encoded(np.squeeze(values), "PNG")
        output = image_of(content, Recipe(fit="none", dtype="keep", colour=colour))
        assert output.shape == shape
        assert output.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_the_weighted_sum(dtype: type[Any]) -> None:
    values = noise(9, 9, 3, dtype=dtype)
    content = png16(values) if dtype is np.uint16 else encoded(values, "PNG")
    near(image_of(content, Recipe(fit="none", dtype="keep", colour="L")), values @ np.array([0.299, 0.587, 0.114]), 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("fit", ["none", "cover"])
def test_what_is_transparent_is_black_whatever_hides_below(dtype: type[Any], fit: Fit) -> None:
    top = np.iinfo(dtype).max
    values = np.full((8, 8, 4), top, dtype)
    values[:, :4, 3] = 0
    values[:, 4:, 3] = top // 2 + 1
    content = png16(values) if dtype is np.uint16 else encoded(values, "PNG")
    output = image_of(content, Recipe(width=8, height=8, fit=fit, dtype="keep"))
    assert (output[:, :4] == 0).all()
    near(output[:, 4:], np.full((8, 4, 3), top // 2 + 1), 1)


def test_transparency_of_a_palette_or_a_colour_counts_too() -> None:
    white = Image.new("P", (2, 2))
    white.putpalette([255, 255, 255])
    assert (image_of(encoded(white, "PNG", transparency=0), KEPT) == 0).all()
    assert (image_of(encoded(Image.new("L", (2, 2), 77), "PNG", transparency=77), KEPT) == 0).all()


# Values

GREY8 = encoded(np.array([[0, 1, 128, 255]], np.uint8), "PNG")
GREY16 = encoded(np.array([[0, 128, 129, 257, 65_535]], np.uint16), "PNG")
FLOATS = encoded(np.array([[-1.5, 0.25, 70_000]], np.float32), "TIFF")


def values_of(content: bytes, dtype: DType, **more: Any) -> list[float]:
    output = image_of(content, Recipe(fit="none", colour="keep", dtype=dtype, **more))
    assert output.dtype.name == dtype
    assert output.flags.c_contiguous
    return [float(value) for value in output.ravel()]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_8_bits_keep_their_values_in_every_type(dtype: DType) -> None:
    assert values_of(GREY8, dtype) == [0, 1, 128, 255]


def test_16_bits_become_8_by_their_share() -> None:
    assert values_of(GREY16, "uint8") == [0, 0, 1, 1, 255]


def test_16_bits_keep_their_values_where_they_fit() -> None:
    assert values_of(GREY16, "uint16") == values_of(GREY16, "float32") == [0, 128, 129, 257, 65_535]


@pytest.mark.parametrize(
    ("content", "dtype"), [(GREY16, "float16"), (FLOATS, "uint8"), (FLOATS, "uint16"), (FLOATS, "float16")]
)
def test_a_type_that_cannot_hold_the_values_refuses_them(content: bytes, dtype: DType) -> None:
    with pytest.raises(MemberRefusedError, match=f"PREPROCESS_DTYPE={dtype} cannot hold"):
        values_of(content, dtype)


def test_32_bits_become_fewer_where_they_fit() -> None:
    content = encoded(np.array([[0, 255, 300]], np.int32), "TIFF")
    assert values_of(content, "uint16") == [0, 255, 300]
    with pytest.raises(MemberRefusedError, match="int32"):
        values_of(content, "uint8")


def test_scaled_values_are_rounded_and_clipped_as_documented() -> None:
    assert values_of(FLOATS, "uint8", scale=100) == [0, 25, 255]
    assert values_of(GREY8, "uint8", scale=0.5) == [0, 0, 64, 128]
    assert values_of(FLOATS, "float16", scale=1000) == [-1500, 250, 65_504]
    broken = encoded(np.array([[np.nan, np.inf, -np.inf]], np.float32), "TIFF")
    assert values_of(broken, "uint8", scale=2) == [0, 255, 0]


def test_keep_gives_floats_once_values_are_scaled() -> None:
    output = image_of(GREY8, Recipe(fit="none", colour="keep", dtype="keep", scale=1 / 255))
    np.testing.assert_allclose(output, np.array([[0, 1, 128, 255]]) / 255, rtol=1e-6)
    assert output.dtype == np.float32


def test_mean_and_std_are_per_channel_or_once_for_all() -> None:
    pixels = noise(3, 4, 3)
    recipe = Recipe(fit="none", dtype="float32", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    expected = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3]
    np.testing.assert_allclose(image_of(encoded(pixels, "PNG"), recipe), expected, rtol=1e-4, atol=1e-5)
    once = Recipe(fit="none", dtype="float32", mean=(100,), std=(50,))
    np.testing.assert_allclose(image_of(encoded(pixels, "PNG"), once), (pixels - 100.0) / 50, rtol=1e-5, atol=1e-6)


def test_a_mean_for_other_channels_is_refused() -> None:
    with pytest.raises(MemberRefusedError, match="PREPROCESS_MEAN"):
        images_of(GREY8, Recipe(colour="keep", dtype="float32", mean=(1, 2, 3)))
