"""Pixels survive their encoding to the bit, and equal pixels always give equal bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imagefeed.codec import decode, encode
from imagefeed.errors import MemberRefusedError
from imagefeed.model import Codec, Pixels

SHAPES = st.one_of(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
)
DTYPES = st.sampled_from(["uint8", "uint16", "int32", "float16", "float32", "float64", "bool"])


@given(hnp.arrays(DTYPES, SHAPES))
def test_npy_keeps_every_type_and_shape(pixels: Pixels) -> None:
    found = decode(encode(pixels, "npy"), "npy")
    assert (found.dtype, found.shape) == (pixels.dtype, pixels.shape)
    assert found.tobytes() == pixels.tobytes()


@given(hnp.arrays(DTYPES, SHAPES))
def test_numpy_reads_the_same(pixels: Pixels) -> None:
    payload = encode(pixels, "npy")
    assert np.load(io.BytesIO(payload)).tobytes() == decode(payload, "npy").tobytes() == pixels.tobytes()


@given(hnp.arrays(DTYPES, SHAPES))
def test_the_bytes_are_those_that_numpy_saves(pixels: Pixels) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(pixels))
    assert encode(pixels, "npy") == stream.getvalue()


def test_pixels_share_the_memory_of_a_bytearray() -> None:
    payload = bytearray(encode(np.zeros((2, 3), np.uint16), "npy"))
    decode(payload, "npy")[1, 2] = 513
    assert payload[-2:] == b"\1\2"


@given(hnp.arrays("uint8", SHAPES))
def test_png_keeps_eight_bits(pixels: Pixels) -> None:
    found = decode(encode(pixels, "png"), "png")
    assert found.dtype == np.uint8
    assert np.array_equal(found.reshape(pixels.shape), pixels)


@given(hnp.arrays("uint16", hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_png_keeps_sixteen_bits_of_grey(pixels: Pixels) -> None:
    found = decode(encode(pixels, "png"), "png")
    assert found.dtype == np.uint16
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("codec", ["npy", "png"])
def test_how_an_array_lies_in_memory_does_not_change_its_bytes(codec: str) -> None:
    plain = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    odd = np.asfortranarray(plain)
    every_second = np.repeat(plain, 2, axis=0)[::2]
    wanted = encode(plain, "png" if codec == "png" else "npy")
    for other in (odd, every_second):
        assert encode(other, "png" if codec == "png" else "npy") == wanted


def test_the_order_of_bytes_does_not_change_them() -> None:
    plain = np.arange(6, dtype="<u2").reshape(2, 3)
    for codec in ("npy", "png"):
        assert encode(plain.astype(">u2"), "png" if codec == "png" else "npy") == encode(
            plain, "png" if codec == "png" else "npy"
        )


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("float32", (2, 2, 3)), ("uint16", (2, 2, 3)), ("int32", (2, 2)), ("uint8", (2, 2, 5)), ("uint8", (0, 2))],
)
def test_what_png_cannot_hold_is_refused_with_what_to_set(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(MemberRefusedError, match="PREPROCESS_CODEC=npy"):
        encode(np.zeros(shape, dtype), "png")


def test_pixels_that_are_not_all_there_are_a_value_error() -> None:
    payload = encode(np.arange(6, dtype=np.uint8), "npy")
    for length in range(len(payload)):
        with pytest.raises(ValueError):  # noqa: PT011 - numpy words it as it likes
            decode(payload[:length], "npy")


@pytest.mark.parametrize("pixels", [np.asfortranarray(np.zeros((2, 3))), np.array(["text", None])])
def test_what_we_never_write_is_not_read(pixels: Pixels) -> None:
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=True)
    with pytest.raises(ValueError, match="a numeric type"):
        decode(stream.getvalue(), "npy")


@pytest.mark.parametrize("codec", ["npy", "png"])
@pytest.mark.parametrize("payload", [b"", b"junk", b"\x93NUMPY", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_payload_is_a_value_error(codec: str, payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - numpy words it as it likes
        decode(payload, "png" if codec == "png" else "npy")


def test_a_pickle_is_never_opened() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a payload was executed",)

    trapped = np.array([Trap()], dtype=object)
    with pytest.raises(MemberRefusedError, match="array of object"):
        encode(trapped, "npy")


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "object"])
@pytest.mark.parametrize("codec", ["npy", "png"])
def test_types_that_cannot_be_stored_are_refused_with_those_that_can(dtype: str, codec: Codec) -> None:
    with pytest.raises(MemberRefusedError, match="only bool, integers and floats"):
        encode(np.zeros((2, 2), dtype), codec)
