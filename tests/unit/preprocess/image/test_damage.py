"""A damaged file is refused, and bytes that change no value do not count as damage."""

import io
import logging
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image

from imagefeed.errors import MemberRefusedError
from preprocess.model import Limits, Recipe
from tests.unit.preprocess.pictures import (
    PRIMARY,
    chunk,
    decoded,
    encoded,
    image_of,
    images_of,
    mpo,
    noise,
    png16,
    png_of,
    smooth,
)

SMALL = Recipe(width=16, height=16)
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "grey": {},
    "chroma at half": {"subsampling": 2},
    "progressive": {"progressive": True},
    "with restart markers": {"restart_marker_blocks": 8},
}


def jpeg(kind: str = "baseline", height: int = 240, width: int = 320) -> bytes:
    picture = Image.fromarray(noise(height, width, 3))
    return encoded(picture.convert("L") if kind == "grey" else picture, "JPEG", **{"quality": 90} | JPEGS[kind])


def is_refused(content: bytes) -> bool:
    try:
        images_of(content, SMALL)
    except MemberRefusedError as exc:
        return any(reason in str(exc) for reason in ("it is damaged", "cut off", "cannot be decoded: decoder error"))
    return False


def check_refused(content: bytes) -> None:
    """Decoded in full and reduced, which use different code of a decoder."""
    for recipe in (Recipe(fit="none"), SMALL):
        with pytest.raises(MemberRefusedError, match=r"it is damaged|cut off"):
            images_of(content, recipe)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_jpeg_that_was_cut_off_and_ended_is_refused(kind: str, share: float) -> None:
    content = jpeg(kind)
    check_refused(content[: int(len(content) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("length", [4096, 16_384])
@pytest.mark.parametrize("filled", ["zeros", "noise", "left out"])
def test_a_jpeg_with_a_hole_is_refused(kind: str, length: int, filled: str) -> None:
    """Of 300 holes of 4 KiB in photographs one made another valid JPEG, which no program can recognise."""
    content = jpeg(kind)
    recognised = 0
    for at in np.linspace(len(content) * 0.1, len(content) * 0.9 - length, 20).astype(int):
        hole = {"zeros": bytes(length), "noise": noise(length, seed=at).tobytes(), "left out": b""}[filled]
        recognised += is_refused(content[:at] + hole + content[at + length :])
    assert recognised >= 19


def test_a_jpeg_whose_restart_markers_do_not_follow_on_each_other_is_refused() -> None:
    content = jpeg("with restart markers")
    at = content.index(b"\xff\xd3")
    check_refused(content[:at] + b"\xff\xd6" + content[at + 2 :])


def test_damage_that_looks_like_metadata_within_a_scan_is_damage() -> None:
    """Before the picture such a segment is harmless."""
    content = encoded(noise(240, 320, 3) // 4 + smooth(240, 320) // 2, "JPEG", quality=80, progressive=True)
    segment = b"\xff\xe5" + struct.pack(">H", 510) + noise(508).tobytes()
    for at in range(len(content) // 3, len(content) - 600, len(content) // 30):
        assert is_refused(content[:at] + segment + content[at + 512 :])


def scan_starts(content: bytes) -> Iterator[int]:
    at = content.find(b"\xff\xda")
    while at >= 0:
        yield at
        at = content.find(b"\xff\xda", at + 2)


def test_a_progressive_jpeg_that_was_cut_between_its_scans_is_refused() -> None:
    content = jpeg("progressive")
    starts = list(scan_starts(content))
    assert len(starts) == 10
    for start in starts[1:]:
        check_refused(content[:start] + b"\xff\xd9")


def test_a_jpeg_without_the_scan_of_one_channel_is_refused() -> None:
    content = jpeg("progressive")
    starts = [*scan_starts(content), len(content) - 2]
    # The third scan has the first coefficients of one colour channel, with the tables before the fourth.
    check_refused(content[: starts[2]] + content[starts[3] :])


def test_a_damaged_jpeg_is_refused_also_behind_harmless_faults() -> None:
    """Decoders report only the first warning."""
    content = jpeg()
    half = len(content) // 2
    for harmless in HARMLESS.values():
        assert np.array_equal(image_of(harmless(content)), image_of(content))
        check_refused(harmless(content[:half] + content[half + 3000 :]))
        check_refused(harmless(content[:half] + b"\xff\xd9"))


def before_tables(content: bytes, between: bytes) -> bytes:
    at = content.index(b"\xff\xdb")
    return content[:at] + between + content[at:]


def scan_parameters(content: bytes, parameters: bytes) -> bytes:
    at = content.index(b"\xff\xda")
    return content[: at + 11] + parameters + content[at + 14 :]


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "bytes between segments": lambda content: before_tables(content, b"abc"),
    "a broken colour profile": lambda content: before_tables(content, b"\xff\xe2\0\x12ICC_PROFILE\0\5\x09ab"),
    "an unknown version of JFIF": lambda content: content[:11] + b"\x09" + content[12:],
    "a camera's idle parameters": lambda content: scan_parameters(content, bytes(3)),
    "another program's data": lambda content: before_tables(content, b"x\xff\xe5\0\6\xff\xda\xff\xd9"),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_bytes_behind_a_whole_jpeg_are_no_damage(kind: str) -> None:
    content = jpeg(kind)
    for behind in (b"\0", b"trailer", bytes(100_000), content[:5000], b"\xff\xd9"):
        assert np.array_equal(image_of(content + behind), image_of(content))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}, {"subsampling": 1}])
def test_every_kind_of_jpeg_has_the_values_that_pillow_finds(mode: str, options: dict[str, Any]) -> None:
    picture = Image.fromarray(smooth(61, 83)).convert(mode)
    content = encoded(picture, "JPEG", quality=90, **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB") if mode == "CMYK" else image)
    np.testing.assert_array_equal(image_of(content), expected)


def test_a_jpeg_of_unusual_chroma_is_read_and_the_log_says_what_is_not_checked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = bytearray(encoded(smooth(64, 64), "JPEG", subsampling=0))
    at = bytes(content).index(b"\xff\xc0")
    # Three luma samples for each of chroma, horizontally.
    content[at + 11] = 0x31
    assert image_of(bytes(content)).shape == (64, 64, 3)
    assert "damaged values cannot be recognised" in caplog.text


# Other formats


def test_bytes_behind_a_whole_png_or_gif_are_no_damage() -> None:
    frames = [Image.fromarray(smooth(8, 9)), Image.fromarray(smooth(8, 9)[::-1])]
    contents = [
        encoded(smooth(8, 9), "PNG"),
        png16(noise(8, 9, 3, dtype=np.uint16)),
        encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        encoded(frames[0], "GIF"),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"; a comment" * 50),
        encoded(smooth(8, 9), "BMP"),
        encoded(smooth(8, 9), "TIFF"),
        encoded(smooth(8, 9), "WEBP", lossless=True),
        encoded(smooth(8, 9), "JPEG2000"),
    ]
    for content in contents:
        for behind in (b"\0", b"trailer", b"x" * 5000, bytes(36_000)):
            for got, expected in zip(images_of(content + behind), images_of(content), strict=True):
                np.testing.assert_array_equal(got, expected)


def test_a_ppm_of_several_pictures_is_refused_and_one_with_bytes_behind_it_is_read() -> None:
    pictures = {
        "colour": encoded(smooth(5, 9), "PPM"),
        "grey": encoded(smooth(5, 9)[..., 0].copy(), "PPM"),
        "one bit": encoded(Image.new("1", (9, 5)), "PPM"),
        "16 bits": b"P5 9 5 65535\n" + bytes(90),
        "12 bits": b"P5 9 5 4095\n" + bytes(90),
        "16 bits, colour": b"P6 9 5 65535\n" + bytes(270),
    }
    for content in pictures.values():
        assert len(images_of(content + b"\n trailer")) == 1
        for other in pictures.values():
            with pytest.raises(MemberRefusedError, match="several pictures"):
                images_of(content + other)


def test_the_end_of_a_file_is_one_only_where_it_belongs() -> None:
    pictures = [Image.fromarray(noise(40, 40, seed=seed)) for seed in range(3)]
    for form, end in (("PNG", b"\0\0\0\0IEND\xaeB`\x82"), ("GIF", b";")):
        content = encoded(pictures[0], form, save_all=True, append_images=pictures[1:])
        assert content.endswith(end)
        for cut in range(len(content) // 3, len(content) - 20, 97):
            with pytest.raises(MemberRefusedError):
                images_of(content[:cut] + end)


def test_a_png_or_gif_of_countless_pieces_is_refused() -> None:
    still, gif = encoded(smooth(4, 4), "PNG"), encoded(smooth(4, 4), "GIF")
    empty = struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    for content in (still[:-12] + empty * 100_001 + still[-12:], gif[:-1] + bytes(1_100_000) + b";"):
        with pytest.raises(MemberRefusedError, match="too many pieces"):
            images_of(content)


def test_any_error_of_a_decoder_refuses_the_file_quietly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content = encoded(smooth(20, 30), "AVIF")
    caplog.set_level(logging.DEBUG)
    for error in (RuntimeError("Failed to decode image"), AttributeError("x"), AssertionError(), RecursionError()):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(AvifImagePlugin.AvifImageFile, "load", fail)
        with pytest.raises(MemberRefusedError, match="cannot be decoded"):
            images_of(content)
    assert "Traceback" not in caplog.text


# Sets of pictures in one JPEG


UNDEFINED, VGA, FULL_HD = 0, 0x010001, 0x010002


@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003, UNDEFINED])
def test_every_picture_of_a_set_in_a_jpeg_is_an_image(kind: int) -> None:
    pictures = [smooth(40, 60), smooth(40, 60)[::-1], smooth(40, 60)[:, ::-1]]
    content = mpo([PRIMARY, kind, kind], pictures)
    assert [(frame.number, frame.format) for frame in decoded(content)] == [(0, "JPEG"), (1, "JPEG"), (2, "JPEG")]
    for output, picture in zip(images_of(content), pictures, strict=True):
        assert np.abs(output.astype(int) - picture).mean() < 4


def test_views_of_other_sizes_are_images_and_previews_are_not_even_within_a_set() -> None:
    pictures = [smooth(40, 60), smooth(20, 30), smooth(48, 64), smooth(40, 60)]
    content = mpo([PRIMARY, VGA, 0x020003, FULL_HD], pictures)
    assert [(frame.number, frame.size) for frame in decoded(content)] == [(0, (60, 40)), (2, (64, 48))]
    assert len(images_of(mpo([PRIMARY, VGA], pictures[:2]), limits=Limits(frames=1))) == 1
    with pytest.raises(MemberRefusedError, match="LIMIT_FRAMES=1"):
        images_of(content, limits=Limits(frames=1))


def test_a_damaged_picture_of_a_set_refuses_the_file_and_a_lost_preview_does_not() -> None:
    pictures = [noise(40, 60, 3), noise(40, 60, 3, seed=4)]
    length = len(encoded(pictures[1], "JPEG", quality=95))
    for kind, complete in ((0x020002, False), (UNDEFINED, True), (VGA, True)):
        content = mpo([PRIMARY, kind], pictures)
        if complete:
            assert len(images_of(content[:-length])) == 1
        else:
            for end in (content[:-length], content[: -length // 2] + b"\xff\xd9"):
                with pytest.raises(MemberRefusedError):
                    images_of(end)


@pytest.mark.parametrize("between", [b"", bytes(9), encoded(smooth(20, 30), "JPEG")])
def test_another_whole_jpeg_behind_the_first_is_not_lost(between: bytes) -> None:
    """The bytes between them may be another program's padding or a preview."""
    first, second = jpeg(), jpeg("progressive")
    with pytest.raises(MemberRefusedError, match="several JPEGs in one"):
        images_of(first + between + second)


def test_previews_gain_maps_and_videos_behind_a_jpeg_cost_no_picture() -> None:
    first, mark = jpeg(), b'hdrgm:Version="1.0"'
    gain_map = first[:2] + b"\xff\xe1" + struct.pack(">H", len(mark) + 2) + mark + first[2:]
    for behind in (jpeg(width=160), gain_map, b"\0\0\0\x18ftypmp42" + first, first[:-2]):
        assert len(images_of(first + behind)) == 1


def test_the_largest_tiff_page_is_an_image_also_behind_a_trailer() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, noise(9, 11))
    assert len(images_of(stream.getvalue() + b"II*\0")) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_png_is_noticed(seed: int) -> None:
    content = bytearray(encoded(noise(60, 40, 3), "PNG"))
    end = content.index(b"IEND") - 4
    content[8 + seed * (end - 9) // 20] ^= 1 << seed % 8
    with pytest.raises(MemberRefusedError):
        image_of(bytes(content))


@pytest.mark.parametrize("second", [b"P5\n# made by hand\n4 4\n255\n", b"P7\nWIDTH 4\n", b"Pf\n4 4\n-1.0\n"])
def test_a_second_picture_of_a_ppm_stream_is_not_lost(second: bytes) -> None:
    with pytest.raises(MemberRefusedError, match="several"):
        image_of(b"P5\n4 4\n255\n" + bytes(16) + second + bytes(16))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_alpha_that_is_stored_apart_from_grey_is_not_taken_for_transparent(compression: str | None) -> None:
    stream = io.BytesIO()
    values = np.full((2, 16, 16), 200, np.uint8)
    options: dict[str, Any] = {"planarconfig": "separate", "extrasamples": ["unassalpha"], "compression": compression}
    tifffile.imwrite(stream, values, photometric="minisblack", **options)
    with pytest.raises(MemberRefusedError):
        image_of(stream.getvalue())


def test_a_picture_of_a_set_that_cannot_be_read_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray(mpo([PRIMARY, 0, 0], [noise(24, 24, 3, seed=seed) for seed in range(3)]))
    second = content.index(b"\xff\xd9\xff\xd8\xff") + 2
    content[second : second + 2] = b"\0\0"
    assert len(images_of(bytes(content))) == 2
    assert "picture 2 of its set cannot be read, and is skipped" in caplog.text


# Pieces of a TIFF


def tiff(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return stream.getvalue()


def grain(*shape: int) -> NDArray[np.uint8]:
    """Values of which deflate encodes each, so that a changed byte gives other values and no error."""
    return noise(*shape) // 2


DEFLATED: dict[str, Callable[[], bytes]] = {
    "one strip": lambda: tiff(grain(90, 70, 3), photometric="rgb", compression="zlib"),
    "strips": lambda: tiff(grain(90, 70), photometric="minisblack", compression="zlib", rowsperstrip=16),
    "tiles": lambda: tiff(grain(90, 70), photometric="minisblack", compression="zlib", tile=(32, 32)),
    "tiles in planes": lambda: tiff(
        grain(3, 90, 70), photometric="rgb", compression="zlib", tile=(32, 32), planarconfig="separate"
    ),
    "differences": lambda: encoded(grain(90, 70, 3), "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
    "16 bits, differences": lambda: encoded(
        grain(90, 70).astype(np.uint16), "TIFF", compression="tiff_deflate", tiffinfo={317: 2}
    ),
    "floats, big-endian": lambda: tiff(grain(90, 70).astype(np.float32), compression="zlib", byteorder=">"),
    "signed": lambda: tiff(grain(90, 70).astype(np.int16), photometric="minisblack", compression="zlib"),
    "colours of 16 bits": lambda: tiff(grain(90, 70, 3).astype(np.uint16), photometric="rgb", compression="zlib"),
    "white is 0": lambda: tiff(grain(90, 70), photometric="miniswhite", compression="zlib"),
    "a page behind another": lambda: encoded(
        Image.new("L", (1, 1)),
        "TIFF",
        save_all=True,
        append_images=[Image.fromarray(grain(90, 70))],
        compression="tiff_deflate",
    ),
}


@pytest.mark.parametrize("kind", DEFLATED)
def test_wrong_values_of_a_deflated_tiff_are_refused(kind: str) -> None:
    content = DEFLATED[kind]()
    images_of(content)
    middle = len(content) // 2
    for at in range(middle - 500, middle + 500, 100):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        with pytest.raises(MemberRefusedError, match=r"it is damaged|cannot be decoded"):
            images_of(bytes(changed))


def test_a_deflated_tiff_whose_pieces_end_in_other_bytes_is_read() -> None:
    """Its checksum is then not where it is looked for first."""
    content = bytearray(encoded(noise(9, 7), "TIFF", compression="tiff_deflate"))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        page = file.pages.first
        (at,), (length,), count = page.dataoffsets, page.databytecounts, page.tags[279]
        (values,) = (page.asarray(),)
    content += content[at : at + length] + b"\0\0\0"
    struct.pack_into("<I", content, page.tags[273].valueoffset, len(content) - length - 3)
    struct.pack_into("<I" if count.dtype == 4 else "<H", content, count.valueoffset, length + 3)
    np.testing.assert_array_equal(image_of(bytes(content)), values)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("rows", [16, 1000])
def test_a_tiff_with_a_hole_in_a_jpeg_is_refused(mode: str, rows: int) -> None:
    picture = Image.fromarray(noise(160, 160, 3)).convert(mode)
    content = encoded(picture, "TIFF", compression="jpeg", tiffinfo={278: rows})
    assert image_of(content).shape[:2] == (160, 160)
    recognised = 0
    for at in np.linspace(len(content) * 0.2, len(content) * 0.8, 10).astype(int):
        recognised += is_refused(content[:at] + bytes(range(250)) * 2 + content[at + 500 :])
    assert recognised >= 9


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_whose_list_of_pages_is_cut_off_or_leads_back_loses_no_page(big: bool, order: Literal["<", ">"]) -> None:
    pages = [noise(9, 7, seed=seed) for seed in range(4)]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=big, byteorder=order) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None)
    content = stream.getvalue()
    if big and order == ">":
        with pytest.raises(MemberRefusedError, match="a BigTIFF in big-endian order"):
            images_of(content)
        return
    assert len(images_of(content)) == 4
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        first, third, fourth = (file.pages[number].offset for number in (0, 2, 3))
    at = content.index(struct.pack(order + ("Q" if big else "I"), fourth), third)
    for following in (first, third, len(content) + 5, len(content)):
        changed = bytearray(content)
        struct.pack_into(order + ("Q" if big else "I"), changed, at, following)
        with pytest.raises(MemberRefusedError):
            images_of(bytes(changed))
    for length in range(first, len(content) - 1):
        try:
            assert len(images_of(content[:length])) == 4
        except MemberRefusedError:
            continue


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
def test_a_picture_below_a_page_of_a_tiff_is_a_smaller_copy_or_refuses_the_file(kind: int) -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(noise(16, 16), subifds=1, metadata=None)
        writer.write(noise(8, 8) if kind != 4 else noise(8, 8) > 9, subfiletype=kind, metadata=None)
    if kind in (1, 4):
        assert len(images_of(stream.getvalue())) == 1
    else:
        with pytest.raises(MemberRefusedError, match="SubIFDs"):
            images_of(stream.getvalue())


@pytest.mark.parametrize("compression", ["tiff_deflate", "jpeg"])
def test_one_plane_is_read_from_a_tiff_that_does_not_count_its_channels(compression: str) -> None:
    content = encoded(smooth(32, 32)[..., 0], "TIFF", compression=compression, tiffinfo={284: 2})
    assert image_of(content).shape == (32, 32)


def directory(*tags: tuple[int, int, int]) -> bytes:
    """Tags of a TIFF: number, count, and value or where the values are. None follows."""
    entries = (struct.pack("<HHII", number, 4, count, value) for number, count, value in tags)
    return struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)


def tiff_of_rows(piece: bytes, width: int, rows: int) -> bytes:
    """A deflated grey TIFF in which each row is a strip, and all strips are the same bytes."""
    lists = 8 + len(piece)
    tags = [(256, 1, width), (257, 1, rows), (258, 1, 8), (259, 1, 8), (262, 1, 1), (273, rows, lists), (277, 1, 1)]
    page = directory(*tags, (278, 1, 1), (279, rows, lists + 4 * rows))
    offsets, counts = struct.pack("<I", 8) * rows, struct.pack("<I", len(piece)) * rows
    return b"II*\0" + struct.pack("<I", lists + 8 * rows) + piece + offsets + counts + page


def test_strips_of_a_tiff_may_share_their_bytes_unless_a_small_file_costs_hours() -> None:
    row = zlib.compress(bytes(200))
    assert image_of(tiff_of_rows(row, 200, 5_000)).shape == (5_000, 200)
    # Behind a row's values are blocks of none, which libtiff does not read.
    endless = b"\x78\x9c\0" + struct.pack("<HH", 200, 200 ^ 0xFFFF) + bytes(200) + b"\0\0\0\xff\xff" * 200_000
    with pytest.raises(MemberRefusedError, match="no encoder writes so many"):
        image_of(tiff_of_rows(endless, 200, 200))


def test_a_huge_directory_below_each_page_of_a_tiff_costs_no_minutes() -> None:
    """Each of 50 pages lists the same directory of 60,000 tags a hundred times."""
    below = directory((254, 1, 1), *((number, 1, 1) for number in range(1_000, 61_000)))
    content = b"II*\0" + struct.pack("<I", 8 + len(below) + 400) + below + struct.pack("<I", 8) * 100
    tags = [(256, 1, 1), (257, 1, 1), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, 1, 8), (277, 1, 1), (278, 1, 1)]
    page = directory(*tags, (279, 1, 1), (330, 100, 8 + len(below)))
    for _ in range(50):
        content += page[:-4] + struct.pack("<I", len(content) + len(page))
    began = time.process_time()
    assert len(images_of(content[:-4] + bytes(4))) == 50
    assert time.process_time() - began < 10


# Chunks of a PNG


@pytest.mark.parametrize(
    "name", [b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"iCCP", b"tEXt", b"zTXt", b"eXIf", b"tIME", b"prVt"]
)
def test_a_damaged_chunk_that_no_value_depends_on_is_harmless(name: bytes) -> None:
    content = encoded(smooth(8, 9), "PNG")
    wrong = bytearray(chunk(name, b"abc"))
    wrong[-1] ^= 1
    for at in (33, len(content) - 12):
        for damaged in (bytes(wrong), chunk(name, b"")):
            np.testing.assert_array_equal(image_of(content[:at] + damaged + content[at:]), smooth(8, 9))


def test_a_text_of_any_size_costs_no_png_its_picture() -> None:
    content = encoded(smooth(8, 9), "PNG")
    text = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(3_000_000)))
    np.testing.assert_array_equal(image_of(content[:33] + text + content[33:]), smooth(8, 9))


@pytest.mark.parametrize("name", [b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"CgBI"])
def test_a_damaged_or_unknown_chunk_that_values_depend_on_is_not(name: bytes) -> None:
    content = encoded(smooth(8, 9), "PNG")
    wrong = bytearray(chunk(name, bytes(8)))
    wrong[-1] ^= 1
    with pytest.raises(
        MemberRefusedError, match="its critical chunk at 33" if name == b"CgBI" else "chunk at 33 is wrong"
    ):
        image_of(content[:33] + bytes(wrong) + content[33:])


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("bits", "kind"), [(1, 0), (8, 0), (16, 2), (8, 3), (8, 6)])
def test_a_png_whose_compressed_values_end_early_is_refused(bits: int, kind: int, interlaced: int) -> None:
    values = bits * {0: 1, 2: 3, 3: 1, 6: 4}[kind]
    palette = [(b"PLTE", bytes(range(256)) * 3)] if kind == 3 else []
    # The seven passes of an interlaced picture: pixels of each of their rows.
    sizes = [1, 1, 2, 2, 2, *[4] * 6, *[8] * 4] if interlaced else [8] * 8
    rows = [b"\0" + b"\x55" * -(-columns * values // 8) for columns in sizes]
    header = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, kind, 0, 0, interlaced))
    assert len(images_of(png_of(header, *palette, (b"IDAT", zlib.compress(b"".join(rows)))))) == 1
    for kept in (len(rows) - 1, 1):
        with pytest.raises(MemberRefusedError, match="its last rows are missing"):
            images_of(png_of(header, *palette, (b"IDAT", zlib.compress(b"".join(rows[:kept])))))


def test_a_png_that_ends_in_black_is_whole() -> None:
    for values in (np.zeros((9, 7), np.uint8), np.zeros((9, 7, 4), np.uint8), np.zeros((9, 7, 3), np.uint8)):
        np.testing.assert_array_equal(image_of(encoded(values, "PNG")), values)
    assert image_of(png16(np.zeros((9, 7, 3), np.uint16))).shape == (9, 7, 3)


@pytest.mark.parametrize("declared", [1, 3])
def test_an_animated_png_has_as_many_frames_as_it_declares(declared: int) -> None:
    pictures = [Image.fromarray(noise(8, 9, 3, seed=seed)) for seed in range(2)]
    content = encoded(pictures[0], "PNG", save_all=True, append_images=pictures[1:])
    at = content.index(b"acTL")
    changed = chunk(b"acTL", struct.pack(">II", declared, 0))
    with pytest.raises(MemberRefusedError, match=f"it declares {declared} frames and has 2"):
        images_of(content[: at - 4] + changed + content[at + 16 :])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_value_beyond_a_palette_is_damage(bits: int) -> None:
    width = 8 // bits
    for colours in range(1, min(2**bits, 4)):
        row = colours.to_bytes(1) if bits == 8 else (colours << 8 - bits).to_bytes(1)
        header = (b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, 3, 0, 0, 0))
        palette = (b"PLTE", bytes(3 * colours))
        with pytest.raises(MemberRefusedError, match=f"its palette has only {colours} colours"):
            images_of(png_of(header, palette, (b"IDAT", zlib.compress(b"\0" + row))))
        assert len(images_of(png_of(header, palette, (b"IDAT", zlib.compress(b"\0\0"))))) == 1
    short = bytearray(encoded(Image.fromarray(smooth(8, 9)).quantize(8), "BMP"))
    struct.pack_into("<I", short, 46, 2)
    with pytest.raises(MemberRefusedError, match="its palette has only 2 colours"):
        images_of(bytes(short))
