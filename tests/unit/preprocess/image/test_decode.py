"""Files become frames: allowed formats only, within limits, every frame, upright, and with unchanged values."""

import io
import struct
import warnings
import zlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from imagefeed.errors import MemberRefusedError
from preprocess.image.decode import FORMATS, warnings_heard
from preprocess.image.formats import is_image_content, printable
from preprocess.model import Limits, Recipe
from tests.unit.preprocess.pictures import decoded, encoded, image_of, images_of, noise, png, png16, smooth

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "BMP": {},
    "JPEG2000": {"irreversible": False},
    "PPM": {},
}


def tiff(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats_keep_every_value(form: str) -> None:
    pixels = noise(20, 30, 3)
    content = encoded(pixels, form, **LOSSLESS[form])
    assert is_image_content(content[:64])
    np.testing.assert_array_equal(image_of(content), pixels)


@pytest.mark.parametrize("form", ["JPEG", "AVIF", "WEBP"])
def test_lossy_formats_come_near(form: str) -> None:
    content = encoded(smooth(60, 80), form, quality=95)
    assert is_image_content(content[:64])
    assert np.abs(image_of(content).astype(int) - smooth(60, 80)).max() < 20


def test_formats_are_told() -> None:
    contents = [encoded(smooth(20, 20), form) for form in FORMATS]
    assert [decoded(content)[0].format for content in contents] == list(FORMATS)


@pytest.mark.parametrize("form", ["ICO", "TGA", "PCX", "SGI", "PDF", "EPS"])
def test_other_formats_that_pillow_knows_are_refused(form: str) -> None:
    with pytest.raises(MemberRefusedError, match="accepted format"):
        images_of(encoded(smooth(32, 32), form))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"no image at all" * 9, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"]
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(MemberRefusedError):
        images_of(content)


# Values


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.uint8, np.int8])
@pytest.mark.parametrize("order", "<>")
def test_grey_tiffs_keep_their_values(dtype: type[np.generic], order: str) -> None:
    values = noise(9, 11, dtype=dtype)
    if np.dtype(dtype).kind != "u":
        values = np.negative(values)
    output = image_of(tiff(values, byteorder=order, photometric="minisblack"))
    np.testing.assert_array_equal(output, values)
    assert output.dtype.isnative


def test_unsigned_32_bits_are_kept_as_far_as_they_fit() -> None:
    np.testing.assert_array_equal(image_of(tiff(np.array([[0, 2**31 - 1]], np.uint32))), [[0, 2**31 - 1]])
    with pytest.raises(MemberRefusedError, match="32-bit"):
        images_of(tiff(np.array([[0, 2**31]], np.uint32)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_16_bits_in_all_channels(channels: int) -> None:
    values = noise(9, 11, channels, dtype=np.uint16)
    output = image_of(png16(values))
    assert output.dtype == np.uint16
    np.testing.assert_array_equal(output, values[..., 0] if channels == 1 else values)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", "<>")
def test_tiff_keeps_16_bits_in_all_channels(channels: int, compression: str | None, order: str) -> None:
    values = noise(9, 11, channels, dtype=np.uint16)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    content = tiff(values, photometric="rgb", byteorder=order, compression=compression, **extra)
    np.testing.assert_array_equal(image_of(content), values)


def test_16_bits_that_pillow_cannot_read_whole_are_refused() -> None:
    planar = tiff(noise(3, 9, 11, dtype=np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(MemberRefusedError, match="without loss"):
        images_of(planar)


def test_pgm_of_16_bits_keeps_its_values() -> None:
    values = np.array([[0, 1, 300], [65534, 65535, 2]], np.uint16)
    output = image_of(b"P5 3 2 65535\n" + values.astype(">u2").tobytes())
    assert output.dtype == np.uint16
    np.testing.assert_array_equal(output, values)


def test_one_bit_is_black_and_white() -> None:
    picture = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    np.testing.assert_array_equal(image_of(encoded(picture, "PNG")), [[0, 255], [255, 0]])


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(image_of(encoded(red, "JPEG"))[8, 8], [254, 0, 0], atol=3)
    np.testing.assert_allclose(image_of(encoded(red, "TIFF"))[8, 8], [255, 0, 0], atol=1)


def test_a_palette_gives_its_colours_and_its_transparency() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    np.testing.assert_array_equal(image_of(encoded(picture, "PNG")), [[[10, 20, 30], [200, 100, 50]]])
    transparent = image_of(encoded(picture, "PNG", transparency=1))
    np.testing.assert_array_equal(transparent, [[[10, 20, 30, 255], [200, 100, 50, 0]]])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_value_that_a_png_names_is_transparent(bits: int) -> None:
    top, width = 2**bits - 1, 8
    values = [value % (top + 1) for value in (0, 1, 2, 3, top, 1, top - 1, 0)]
    row = sum(value << bits * (width - 1 - place) for place, value in enumerate(values)).to_bytes(bits)
    output = image_of(png(width, bits, 0, [row], struct.pack(">H", 1)))
    spread = 1 if bits == 16 else 255 // top
    assert output.dtype == (np.uint16 if bits == 16 else np.uint8)
    np.testing.assert_array_equal(output[0, :, 0], [value * spread for value in values])
    np.testing.assert_array_equal(
        output[0, :, 1], [0 if value == 1 else np.iinfo(output.dtype).max for value in values]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_colour_that_a_png_names_is_transparent_if_all_of_it_is_the_same(dtype: type[Any]) -> None:
    values = np.array([[[1, 2, 300], [1, 2, 3], [1, 2, 301], [0, 2, 300]]]).astype(dtype)
    key = struct.pack(">3H", *(int(value) for value in values[0, 0]))
    content = png16(values, key) if dtype is np.uint16 else png(4, 8, 2, [values.tobytes()], key)
    output = image_of(content)
    np.testing.assert_array_equal(output[..., :3], values)
    np.testing.assert_array_equal(output[0, :, 3], np.array([0, 1, 1, 1]) * np.iinfo(dtype).max)
    assert image_of(content, Recipe(fit="none", dtype="keep"))[0, 0].tolist() == [0, 0, 0]


def test_bits_of_a_transparent_value_that_no_pixel_has_do_not_count() -> None:
    output = image_of(png(4, 2, 0, [b"\x1b"], b"\xff\x01"))
    np.testing.assert_array_equal(output[0, :, 1], [255, 0, 255, 255])
    for key, alpha in ((b"\xff\0", [0, 255]), (b"\xff\1", [255, 0]), (b"\xff\xfe", [0, 255])):
        assert image_of(png(2, 1, 0, [b"\x40"], key))[0, :, 1].tolist() == alpha
    output = image_of(png(1, 8, 2, [b"\1\2\3"], b"\xff\1\xff\2\xff\3"))
    assert output.tolist() == [[[1, 2, 3, 0]]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept_as_the_last_channel(mode: str) -> None:
    values = noise(5, 6, len(mode))
    np.testing.assert_array_equal(image_of(encoded(Image.fromarray(values, None), "PNG")), values)


# Frames


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_every_frame_is_an_image(form: str) -> None:
    shades = [np.full((24, 32, 3), shade, np.uint8) for shade in (10, 90, 170)]
    first, *others = (Image.fromarray(shade) for shade in shades)
    content = encoded(first, form, save_all=True, append_images=others)
    assert [frame.number for frame in decoded(content)] == [0, 1, 2]
    for pixels, shade in zip(images_of(content), shades, strict=True):
        assert np.abs(pixels[..., :3].astype(int) - shade).max() < 5


def test_pages_of_a_tiff_may_differ() -> None:
    pages = [
        Image.fromarray(noise(5, 6)),
        Image.fromarray(noise(7, 8, dtype=np.uint16)),
        Image.fromarray(noise(3, 2, 3)),
    ]
    output = images_of(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    for pixels, page in zip(output, pages, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(page))


def test_smaller_copies_and_masks_in_a_tiff_are_no_images() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(noise(16, 16), subfiletype=0)
        writer.write(noise(8, 8), subfiletype=1)
        writer.write(noise(16, 16) > 99, subfiletype=4)
        writer.write(noise(12, 12), subfiletype=2)
    assert [(frame.number, frame.size) for frame in decoded(stream.getvalue())] == [(0, (16, 16)), (3, (12, 12))]


def raw_of_camera(*, dng: bool, tagged: bool) -> bytes:
    """A TIFF of a preview, with the sensor's values in a directory below it."""
    stream, version = io.BytesIO(), [(50706, 1, 4, b"\1\4\0\0", True)]
    with tifffile.TiffWriter(stream) as writer:
        writer.write(
            smooth(40, 60), photometric="rgb", subfiletype=int(tagged), subifds=1, extratags=version if dng else []
        )
        writer.write(noise(80, 120, dtype=np.uint16), photometric=32803)
    return stream.getvalue()


@pytest.mark.parametrize(("dng", "tagged"), [(True, True), (True, False), (False, True)])
def test_the_preview_in_a_raw_file_of_a_camera_is_no_image_whatever_its_suffix(dng: bool, tagged: bool) -> None:
    with pytest.raises(MemberRefusedError, match="camera's raw file, of which only a preview can be read"):
        decoded(raw_of_camera(dng=dng, tagged=tagged))
    with pytest.raises(MemberRefusedError, match="SubIFDs"):
        decoded(raw_of_camera(dng=False, tagged=False))


def test_previews_in_a_camera_jpeg_are_no_images() -> None:
    first, preview = Image.fromarray(smooth(40, 60)), Image.fromarray(smooth(10, 15))
    (frame,) = decoded(encoded(first, "MPO", save_all=True, append_images=[preview]))
    assert (frame.format, frame.size) == ("JPEG", (60, 40))


# Orientation and time


def with_exif(form: str, **tags: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tags.pop("orientation", 1)
    numbers = {"taken": 0x9003, "offset": 0x9011, "fraction": 0x9291}
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in tags.items()})
    return encoded(smooth(48, 64), form, exif=exif.tobytes())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(form: str, orientation: int) -> None:
    content = with_exif(form, orientation=orientation)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    (frame,) = decoded(content)
    assert frame.size == expected.shape[1::-1]
    assert np.abs(frame.planes.pixels().astype(int) - expected).max() < 3
    # The first pixel is the darkest; EXIF says in which corner it belongs.
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}[(orientation - 1) % 4 + 1]
    assert expected[corner].sum() < 120


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_the_time_of_capture_is_told(form: str) -> None:
    (frame,) = decoded(with_exif(form, taken="2026:05:01 12:30:00", offset="+02:00", fraction="25"))
    assert frame.captured_at == datetime(2026, 5, 1, 10, 30, 0, 250_000, tzinfo=UTC)


def test_a_camera_that_knows_no_offset_tells_its_own_time() -> None:
    (frame,) = decoded(with_exif("JPEG", taken="2026:05:01 12:30:00"))
    assert frame.captured_at == datetime(2026, 5, 1, 12, 30)  # noqa: DTZ001 # that is the point


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "yesterday", "", "2026:13:01 12:30:00"])
def test_a_time_that_is_none_costs_nothing(taken: str) -> None:
    (frame,) = decoded(with_exif("JPEG", taken=taken))
    assert frame.captured_at is None


def test_broken_exif_costs_a_warning_in_the_log_and_not_the_picture(caplog: pytest.LogCaptureFixture) -> None:
    content = with_exif("JPEG", orientation=1, taken="2026:05:01 12:30:00")
    at = content.index(b"Exif\0\0") + 6
    broken = content[: at + 4] + struct.pack(">L", 9_999_999) + content[at + 8 :]
    (frame,) = decoded(broken)
    assert frame.captured_at is None
    assert len(image_of(broken)) == 48
    assert "image.warning" in caplog.text


# Refusals


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000", "PPM", "AVIF"])
def test_a_file_that_was_cut_off_is_refused_wherever_that_was(form: str) -> None:
    content = encoded(noise(16, 16, 3), form)
    padding = 2 if form == "BMP" else 0
    cuts = sorted({len(content) - 1 - padding, len(content) - 5 - padding, *range(0, len(content) - padding, 37)})
    for cut in cuts:
        with pytest.raises(MemberRefusedError):
            images_of(content[:cut])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_file_that_was_cut_off_is_refused_also_when_it_is_made_smaller(form: str) -> None:
    content = encoded(noise(400, 400, 3), form)
    with pytest.raises(MemberRefusedError):
        images_of(content[: len(content) // 2], Recipe(width=20, height=20))


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    """Eighty million pixels in a few kilobytes."""
    content = bytearray(encoded(Image.new("1", (32, 32)), "PNG"))
    struct.pack_into(">II", content, 16, 10_000, 8_000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    with pytest.raises(MemberRefusedError, match="10000 x 8000 pixels, but LIMIT_PIXELS allows 79999999"):
        images_of(bytes(content), limits=Limits(pixels=79_999_999))


def test_frames_are_limited_in_number_and_in_pixels_together() -> None:
    page = Image.new("L", (10, 10))
    content = encoded(page, "TIFF", save_all=True, append_images=[page, page])
    assert len(images_of(content, limits=Limits(frames=3, member_pixels=300))) == 3
    with pytest.raises(MemberRefusedError, match="LIMIT_FRAMES=2"):
        images_of(content, limits=Limits(frames=2))
    with pytest.raises(MemberRefusedError, match="LIMIT_MEMBER_PIXELS=299"):
        images_of(content, limits=Limits(member_pixels=299))


def test_later_pages_are_held_to_the_limit_too() -> None:
    content = encoded(Image.new("L", (10, 10)), "TIFF", save_all=True, append_images=[Image.new("L", (200, 10))])
    with pytest.raises(MemberRefusedError, match="LIMIT_PIXELS"):
        images_of(content, limits=Limits(pixels=1000))


def test_warnings_of_pillow_reach_the_log_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    # Tag 0x0131, the software, claims more text than the file has.
    content = bytearray(encoded(smooth(20, 20), "TIFF", software="x" * 40))
    at = content.index(struct.pack("<HHL", 0x0131, 2, 41))
    struct.pack_into("<L", content, at + 4, 9_999)
    np.testing.assert_array_equal(image_of(bytes(content)), smooth(20, 20))
    assert "image.warning member=m" in caplog.text


def test_warnings_of_others_go_where_they_would_have_gone(caplog: pytest.LogCaptureFixture) -> None:
    def at_a_picture() -> None:
        with warnings_heard():
            image_of(encoded(smooth(20, 20), "PNG"))
            warnings.warn("not of a picture", stacklevel=1)

    with pytest.warns(UserWarning, match="not of a picture"):
        at_a_picture()
    assert "image.warning" not in caplog.text


def test_names_are_harmless_in_logs() -> None:
    assert printable("a\nb\x1b[31m\u202e.jpg") == "a\\nb\\x1b[31m\\u202e.jpg"
    assert len(printable("n" * 999)) == 200
