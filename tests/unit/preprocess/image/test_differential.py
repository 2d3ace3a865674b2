"""Some hundred files are decoded by an independent library too: the same frames, sizes, bands, bits and values.

OpenCV and tifffile share no code with Pillow. The results are compared with theirs if they can read a file, otherwise
with known values.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from imagefeed.errors import MemberRefusedError
from local.photos import photographs_folder
from tests.unit.preprocess.pictures import encoded, images_of, noise, png, png16, smooth

type Values = NDArray[Any]

PACKAGED = sorted(
    path for path in photographs_folder().iterdir() if path.suffix in (".png", ".jpg", ".tif", ".gif", ".bmp")
)


def same(outputs: Sequence[Values], expected: Sequence[Values], tolerance: float = 0) -> None:
    assert [(output.shape, output.dtype) for output in outputs] == [(each.shape, each.dtype) for each in expected]
    for output, each in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.astype(float), each.astype(float), rtol=0, atol=tolerance)


def by_opencv(content: bytes) -> list[Values]:
    """Return what OpenCV reads: its colours are in the other order, and it knows no grey with alpha."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert values is not None
    if values.ndim == 3:
        values = np.concatenate([values[..., 2::-1], values[..., 3:]], axis=-1)
    return [values]


def by_tifffile(content: bytes) -> list[Values]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return [np.asarray(page.asarray()) for page in file.pages]


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_packaged_files_are_what_another_library_reads(path: Path) -> None:
    content = path.read_bytes()
    if path.name == "multipage_rgb.tif":
        with pytest.raises(MemberRefusedError, match=r"not supported: float values of 64\+64\+64 bits"):
            images_of(content)
        return
    outputs = images_of(content)
    if path.suffix == ".tif":
        same(outputs, by_tifffile(content))
    elif path.suffix == ".gif":
        with Image.open(path) as image:
            assert len(outputs) == getattr(image, "n_frames", 1)
    else:
        lossy = path.suffix == ".jpg"
        with Image.open(path) as image:
            # OpenCV returns a palette's colours, and spreads grey, as we do; it turns grey with alpha into colours.
            expected = [np.asarray(image)] if image.mode == "LA" else by_opencv(content)
        same(outputs, expected, tolerance=3 if lossy else 0)


TIFFS = [
    {"dtype": dtype, "byteorder": order, "compression": compression, "shape": shape, "tile": tile}
    for dtype, order, compression, (shape, tile) in itertools.product(
        ["uint8", "uint16", "int16", "int32", "float32"],
        "<>",
        [None, "zlib", "lzma"],
        [((33, 47), None), ((33, 47), (16, 16)), ((2, 33, 47), None), ((33, 47, 3), None)],
    )
]


@pytest.mark.parametrize("kind", TIFFS, ids=lambda kind: "-".join(str(value) for value in kind.values()))
def test_tiffs_have_the_values_that_tifffile_wrote_or_are_refused(kind: dict[str, Any]) -> None:
    shape, dtype = kind["shape"], np.dtype(kind["dtype"])
    values = (noise(*shape, dtype=np.uint16).astype(np.int64) - (20_000 if dtype.kind != "u" else 0)).astype(dtype)
    options = {name: kind[name] for name in ("byteorder", "compression", "tile")}
    colour = shape[-1] == 3
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="rgb" if colour else "minisblack", **options)
    content = stream.getvalue()
    if colour and dtype.kind != "u":
        with pytest.raises(MemberRefusedError, match="this kind is not supported"):
            images_of(content)
    else:
        # Signed 16 bits are read as 32.
        same([output.astype(dtype) for output in images_of(content)], by_tifffile(content))


def others() -> Iterator[tuple[str, bytes, list[Values], float]]:
    """Yield files of other formats: a name, the content, the values, and how much a lossy format may change them."""
    for height, width in ((1, 1), (1, 9), (7, 1), (8, 8), (15, 17), (64, 48)):
        colour, size = smooth(height, width), f"{width}x{height}"
        grey, alpha = colour[..., 0].copy(), np.dstack([colour, colour[..., 1]])
        for form in ("PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"):
            lossless: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
            yield f"{form} {size}", encoded(colour, form, **lossless), [colour], 0
            if form != "WEBP":
                yield f"{form} grey {size}", encoded(grey, form), [grey], 0
            if form in ("PNG", "TIFF", "JPEG2000"):
                yield f"{form} alpha {size}", encoded(alpha, form), [alpha], 0
        for channels in (1, 2, 3, 4):
            values = noise(height, width, channels, dtype=np.uint16)
            yield f"PNG 16 bits {channels} {size}", png16(values), [values[..., 0] if channels == 1 else values], 0
        for subsampling, progressive in itertools.product(range(3), (False, True)):
            content = encoded(colour, "JPEG", quality=95, subsampling=subsampling, progressive=progressive)
            yield f"JPEG {subsampling} {progressive} {size}", content, by_opencv(content), 4
        content = encoded(grey, "JPEG", quality=95)
        yield f"JPEG grey {size}", content, by_opencv(content), 1
    for bits in (1, 2, 4):
        top, row = 2**bits - 1, noise(8, seed=bits)
        values = np.unpackbits(row).reshape(-1, bits) @ (1 << np.arange(bits)[::-1])
        expected = (values * (255 // top)).astype(np.uint8)[np.newaxis]
        yield f"PNG of {bits} bits", png(len(values), bits, 0, [row.tobytes()]), [expected], 0
    pages = [noise(9, 11, 3, seed=seed) for seed in range(4)]
    for form in ("TIFF", "PNG", "WEBP"):
        pictures = [Image.fromarray(page) for page in pages]
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        content = encoded(pictures[0], form, save_all=True, append_images=pictures[1:], **options)
        yield f"{form} of four", content, pages, 0


def test_files_of_every_format_have_the_values_that_were_written() -> None:
    count = 0
    for name, content, expected, tolerance in others():
        outputs = images_of(content)
        if name.endswith("of four"):
            # Animations may have alpha, which is opaque.
            outputs = [output[..., :3] for output in outputs]
        try:
            same(outputs, expected, tolerance)
        except AssertionError as exc:
            raise AssertionError(name) from exc
        count += 1
    assert count > 150


@pytest.mark.parametrize("orientation", range(1, 9))
def test_opencv_turns_a_picture_the_same_way(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(smooth(48, 64), "JPEG", quality=95, exif=exif)
    turned: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    same(images_of(content), [turned[..., ::-1]], tolerance=4)
