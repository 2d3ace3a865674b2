"""Every band and value of a picture is the same as in the file, or the picture is refused."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagefeed.errors import MemberRefusedError
from tests.unit.preprocess.pictures import image_of, noise


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
