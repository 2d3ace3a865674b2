"""Every band and value of a picture is the same as in the file, or the picture is refused."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imagefeed.errors import MemberRefusedError
from tests.unit.preprocess.pictures import encoded, image_of, noise, png_of


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return stream.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 6, 13])
def test_a_tiff_has_all_its_channels_or_is_refused(
    channels: int, dtype: type[Any], planar: str, compression: str | None
) -> None:
    values = noise(6, 10, channels, dtype=dtype)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    kind = "rgb" if channels > 2 else "minisblack"
    extra = ["unspecified"] * (channels - (3 if kind == "rgb" else 1))
    content = tiff(
        np.ascontiguousarray(stored), photometric=kind, planarconfig=planar, extrasamples=extra, compression=compression
    )
    try:
        image = image_of(content)
    except MemberRefusedError:
        image = None
    if image is None:
        assert channels != 3 or dtype is np.uint16
    else:
        np.testing.assert_array_equal(image, values)


def test_the_channels_that_are_missing_are_counted() -> None:
    content = tiff(noise(6, 10, 4, dtype=np.uint16), photometric="rgb", extrasamples=["unspecified"])
    with pytest.raises(MemberRefusedError, match="it has 4 channels, of which only 3 can be read"):
        image_of(content)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_without_some_of_its_tiles_is_refused(compression: str | None) -> None:
    content = bytearray(tiff(noise(64, 64), tile=(32, 32), photometric="minisblack", compression=compression))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        offsets, counts = (file.pages.first.tags[tag] for tag in (324, 325))
    form = "<I" if counts.dtype == 4 else "<H"
    struct.pack_into("<I", content, offsets.valueoffset + 12, 0)
    struct.pack_into(form, content, counts.valueoffset + 3 * struct.calcsize(form), 0)
    with pytest.raises(MemberRefusedError, match="1 of its 4 tiles have no values"):
        image_of(bytes(content))


@given(st.integers(1, 65_535), st.data(), st.booleans())
def test_grey_of_a_pgm_has_the_values_of_the_file_whatever_is_white(top: int, data: st.DataObject, text: bool) -> None:
    values = data.draw(st.lists(st.integers(0, top), min_size=1, max_size=20))
    if text:
        body = " ".join(map(str, values)).encode()
    else:
        body = b"".join(value.to_bytes(1 if top < 256 else 2) for value in values)
    image = image_of(f"P{2 if text else 5} {len(values)} 1 {top}\n".encode() + body)
    assert image.tolist() == [values]
    assert image.dtype == (np.uint8 if top < 256 else np.uint16)


@given(st.integers(1, 255), st.data(), st.booleans())
def test_colour_of_a_ppm_has_the_values_of_the_file(top: int, data: st.DataObject, text: bool) -> None:
    values = data.draw(st.lists(st.integers(0, top), min_size=3, max_size=3))
    body = " ".join(map(str, values)).encode() if text else bytes(values)
    image = image_of(f"P{3 if text else 6} 1 1 {top}\n".encode() + body)
    assert image.tolist() == [[values]]


@pytest.mark.parametrize("content", [b"P1 3 1\n1 0 1", b"P4 3 1\n\xa0"])
def test_black_and_white_is_0_and_255(content: bytes) -> None:
    assert image_of(content).tolist() == [[0, 255, 0]]


@given(st.integers(1, 65_535), st.data())
def test_colour_of_a_binary_ppm_has_all_bits(top: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, top), min_size=6, max_size=6))
    body = b"".join(value.to_bytes(1 if top < 256 else 2) for value in values)
    image = image_of(f"P6 1 2 {top}\n".encode() + body)
    assert image.reshape(-1).tolist() == values
    assert image.dtype == (np.uint8 if top < 256 else np.uint16)


def test_colours_of_16_bits_as_text_are_refused() -> None:
    with pytest.raises(MemberRefusedError, match="without loss"):
        image_of(b"P3 1 1 1023\n1 256 1023\n")


@pytest.mark.parametrize("head", [b"P5 2 1 100\n\1\x65", b"P5 2 1 4095\n\0\1\x10\0", b"P6 1 1 15\n\1\x10\2"])
def test_a_value_whiter_than_white_is_not_cut_off(head: bytes) -> None:
    with pytest.raises(MemberRefusedError, match="its header declares at most"):
        image_of(head)


@pytest.mark.parametrize(
    "content",
    [
        b"P2 2 1 255\n1 2\nP2 2 1 255\n3 4\n",
        b"P1 2 1\n10\nP1 2 1\n01\n",
        b"P3 1 1 255\n1 2 3\n# next\nP6 1 1 255\nabc",
        b"Pf\n1 1\n-1.0\n" + bytes(4) + b"Pf\n1 1\n-1.0\n" + bytes(4),
    ],
)
def test_a_second_picture_behind_text_or_floats_is_not_lost(content: bytes) -> None:
    with pytest.raises(MemberRefusedError, match="several pictures"):
        image_of(content)


@pytest.mark.parametrize("bits", [1, 4, 7, 9, 10, 12, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_grey_of_a_jpeg_2000_has_the_values_of_the_file_at_any_depth(bits: int, signed: bool) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (9, 11)) - (2 ** (bits - 1) if signed else 0)
    # The encoder knows 8 and 16 bits. All values are stored less half of the depth, unless they are signed.
    dtype = np.uint8 if bits <= 8 else np.uint16
    half = np.iinfo(dtype).max // 2 + 1
    as_stored = (values + half - (0 if signed else 2 ** (bits - 1))).astype(dtype)
    content = bytearray(encoded(Image.fromarray(as_stored), "JPEG2000", irreversible=False, no_jp2=True))
    content[42] = bits - 1 + (0x80 if signed else 0)
    image = image_of(bytes(content))
    np.testing.assert_array_equal(image, values)
    assert image.dtype == (np.int32 if signed else dtype)


def test_grey_of_a_jpeg_2000_with_more_bits_than_can_be_read_is_refused() -> None:
    content = bytearray(encoded(Image.fromarray(noise(9, 11, dtype=np.uint16)), "JPEG2000", no_jp2=True))
    content[42] = 19
    with pytest.raises(MemberRefusedError, match="values of 20 bits"):
        image_of(bytes(content))


def test_a_dark_grey_of_white_is_zero_is_bright_at_any_depth() -> None:
    for dtype in (np.uint8, np.uint16):
        values = noise(6, 10, dtype=dtype)
        content = tiff(values, photometric="miniswhite")
        np.testing.assert_array_equal(image_of(content), np.iinfo(dtype).max - values)
    floats = noise(6, 10, dtype=np.float32)
    np.testing.assert_array_equal(image_of(tiff(floats, photometric="miniswhite")), floats)


@pytest.mark.parametrize("size", [56, 108, 124])
def test_a_bmp_whose_alpha_would_be_dropped_is_refused(size: int) -> None:
    for alpha in (0x8000, 0):
        masks = struct.pack("<4I", 0x7C00, 0x3E0, 0x1F, alpha)
        header = struct.pack("<IiiHHIIiiII", size, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + masks.ljust(size - 40, b"\0")
        content = b"BM" + struct.pack("<IHHI", 18 + size, 0, 0, 14 + size) + header + b"\xff\x7f\0\x80"
        if alpha:
            with pytest.raises(MemberRefusedError, match="its alpha"):
                image_of(content)
        else:
            assert image_of(content).tolist() == [[[255, 255, 255], [0, 0, 0]]]


def test_a_bmp_of_one_pixel_with_the_shortest_header_is_read() -> None:
    content = b"BM" + struct.pack("<IHHIIHHHH", 30, 0, 0, 26, 12, 1, 1, 1, 24) + b"\1\2\3\0"
    assert image_of(content).tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.complex64])
def test_a_tiff_of_a_kind_that_is_not_read_is_named(dtype: type[Any]) -> None:
    kinds = {"f": "float", "i": "signed", "c": "complex"}
    reason = f"{kinds[np.dtype(dtype).kind]} values of {np.dtype(dtype).itemsize * 8} bits"
    for order in "<>":
        with pytest.raises(MemberRefusedError, match=f"not supported: {reason}"):
            image_of(tiff(np.ones((6, 10), dtype), byteorder=order))


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_than_8_bits_is_refused_with_its_depth(bits: int) -> None:
    values = noise(32, 48, 3, dtype=np.uint16) >> 16 - bits
    written, content = cv2.imencode(".avif", values, [cv2.IMWRITE_AVIF_DEPTH, bits])
    assert written
    with pytest.raises(MemberRefusedError, match=f"its values of {bits} bits cannot be read from AVIF without loss"):
        image_of(content.tobytes())


def test_colour_of_a_jpeg_2000_of_more_than_8_bits_is_refused_with_its_depth() -> None:
    written, content = cv2.imencode(".jp2", noise(32, 48, 3, dtype=np.uint16))
    assert written
    with pytest.raises(MemberRefusedError, match="its values of 16 bits cannot be read from JPEG2000 without loss"):
        image_of(content.tobytes())


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_16_bits_in_an_animated_png_is_refused(channels: int) -> None:
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = zlib.compress((b"\0" + bytes(range(8 * channels)) * 2)[: 1 + 16 * channels] * 8)
    control = (8).to_bytes(4) * 2 + bytes(8) + b"\0\1\0\1\0\0"
    content = png_of(
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)),
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"fcTL", bytes(4) + control),
        (b"IDAT", rows),
        (b"fcTL", (1).to_bytes(4) + control),
        (b"fdAT", (2).to_bytes(4) + rows),
    )
    with pytest.raises(MemberRefusedError, match="its values of 16 bits cannot be read from animated PNG without loss"):
        image_of(content)
