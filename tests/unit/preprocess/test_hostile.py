"""Hostile files and archives: refused in little time and memory, and never half a picture."""

import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from imagefeed.errors import MemberRefusedError
from preprocess.handlers import handle_archive_created
from preprocess.model import Limits
from preprocess.zip.reader import Archive
from tests.fakes.preprocessing import MemoryReader
from tests.unit.preprocess.pictures import encoded, images_of, noise, smooth
from tests.unit.preprocess.test_handlers import World
from tests.unit.preprocess.zips import by_hand, read_all, zipped

PROJECT = Path(__file__).parents[3]
MIB = 2**20
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg"}),
    "webp": ("WEBP", {}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {}),
    "jpeg 2000": ("JPEG2000", {}),
    "jpeg 2000 in layers": ("JPEG2000", {"quality_layers": [40, 10, 2], "irreversible": True}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_that_was_cut_off_at_any_of_twenty_places_is_never_half_a_picture(form: str) -> None:
    name, options = FORMS[form]
    content = encoded(noise(120, 160, 3), name, **options)
    assert images_of(content)
    for cut in np.linspace(len(content) * 0.05, len(content) - 3, 20).astype(int):
        with pytest.raises(MemberRefusedError):
            images_of(content[:cut])


@pytest.mark.parametrize("form", ["jpeg", "progressive jpeg", "png", "jpeg 2000", "tiff lzw", "gif", "avif"])
def test_a_picture_whose_rest_is_zeros_is_refused(form: str) -> None:
    """As a disk leaves a file that got its length before its content. In WebP zeros may be a picture too."""
    name, options = FORMS[form]
    content = encoded(smooth(120, 160), name, **options)
    half = len(content) // 2
    with pytest.raises(MemberRefusedError):
        images_of(content[:half] + bytes(len(content) - half))


@pytest.mark.parametrize("seed", range(4))
def test_a_sound_avif_is_no_cut_one_whatever_it_ends_in(seed: int) -> None:
    flat = np.full((200, 300, 3), seed * 80, dtype=np.uint8)
    assert images_of(encoded(flat, "AVIF", quality=1 + seed * 30))


@pytest.mark.parametrize("metadata", [True, False])
def test_zeros_behind_an_avifs_picture_are_no_loss_where_they_may_be_there(metadata: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a camera"
    content = encoded(smooth(40, 60), "AVIF", **({"exif": exif} if metadata else {}))
    assert images_of(content + struct.pack(">I4s", 208, b"free") + bytes(200))
    at = content.index(b"mdat") - 4
    longer = struct.pack(">I", struct.unpack_from(">I", content, at)[0] + 200)
    padded = content[:at] + longer + content[at + 4 :] + bytes(200)
    unknown = content[:at] + struct.pack(">I", 0) + content[at + 4 :] + bytes(200)
    for each in (padded, unknown):
        if metadata:
            assert images_of(each)
        else:
            with pytest.raises(MemberRefusedError, match="cut off"):
                images_of(each)


def scans(count: int, side: int = 10_000) -> bytes:
    """Return a progressive JPEG whose scans change no block, in some hundred bytes a scan."""
    table = struct.pack(">HB", 67, 0) + bytes([1] * 64)
    frame = struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0])
    dc, ac = (struct.pack(">HB", 20, kind) + bytes([1] + [0] * 15 + [value]) for kind, value in ((0, 0), (16, 0xE0)))
    blocks = (side // 8) ** 2
    first = struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 0, 0]) + bytes(blocks // 8 + 1)
    more = struct.pack(">HB", 8, 1) + bytes([1, 0, 1, 63, 0]) + bytes((blocks // 16384 + 1) * 15 // 8 + 1)
    parts = (b"\xdb", table), (b"\xc2", frame), (b"\xc4", dc), (b"\xc4", ac), (b"\xda", first)
    head = b"".join(b"\xff" + marker + part for marker, part in parts)
    return b"\xff\xd8" + head + (b"\xff\xda" + more) * count + b"\xff\xd9"


def test_a_jpeg_of_ten_thousand_scans_is_refused_before_it_is_decoded() -> None:
    """Two megabytes that take minutes."""
    began = time.process_time()
    with pytest.raises(
        MemberRefusedError, match="10001 scans of 10000 x 10000 have more pixels than LIMIT_MEMBER_PIXELS"
    ):
        images_of(scans(10_000))
    assert time.process_time() - began < 2


def test_a_jpeg_of_countless_markers_is_refused() -> None:
    """Half a gigabyte of them, which a zip makes of two megabytes, would take minutes."""
    content = encoded(smooth(16, 16), "JPEG")
    with pytest.raises(MemberRefusedError, match="too many pieces"):
        images_of(content[:-2] + b"\xff\xe0\x00\x02" * 100_000 + content[-2:])
    assert images_of(content[:-2] + b"\xff\x01" * 100_000 + content[-2:])


def test_an_avif_of_countless_boxes_is_refused() -> None:
    content = encoded(smooth(16, 16), "AVIF")
    first = struct.unpack_from(">I", content)[0]
    with pytest.raises(MemberRefusedError, match="too many pieces"):
        images_of(content[:first] + struct.pack(">I4s", 8, b"free") * 100_000 + content[first:])


def test_scans_are_counted_within_the_picture_alone() -> None:
    complete, preview = (encoded(smooth(*size), "JPEG", progressive=True) for size in ((40, 60), (30, 50)))
    limits = Limits(member_pixels=40 * 60 * 12)
    assert len(images_of(complete + preview * 9, limits=limits)) == 1
    assert images_of(scans(3, 64), limits=Limits(member_pixels=64 * 64 * 4))
    with pytest.raises(MemberRefusedError, match="4 scans"):
        images_of(scans(3, 64), limits=Limits(member_pixels=64 * 64 * 4 - 1))


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_a_text_of_comments_is_refused_and_one_of_numbers_counts_for_its_time(kind: bytes) -> None:
    """A megabyte of comments takes seconds, half a gigabyte an hour; the zip of that has three megabytes."""
    head, row = kind + b"\n8 8\n" + (b"" if kind == b"P1" else b"9\n"), b"# by hand\n" + b"1 " * 24
    assert images_of(head + row * 8)
    with pytest.raises(MemberRefusedError, match="too many comments"):
        images_of(head + b"#\n" * 1_001 + row * 8)
    assert images_of(head + row * 8, limits=Limits(pixels=20 * 64))
    with pytest.raises(MemberRefusedError, match="counted 20 times"):
        images_of(head + row * 8, limits=Limits(pixels=20 * 64 - 1))


def test_a_file_of_countless_pieces_is_refused() -> None:
    began = time.process_time()
    with pytest.raises(MemberRefusedError, match="too many pieces"):
        images_of(b"\xff\xd8" + b"\xff\xe0\0\2" * MIB)
    assert time.process_time() - began < 20


def test_pages_that_are_no_images_count_as_frames() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for page in range(4):
            writer.write(noise(8, 8), subfiletype=int(page > 0))
    assert len(images_of(stream.getvalue(), limits=Limits(frames=4))) == 1
    with pytest.raises(MemberRefusedError, match="LIMIT_FRAMES=3"):
        images_of(stream.getvalue(), limits=Limits(frames=3))


def test_sixteen_bit_pages_are_each_read_once_more_and_not_all_before_them() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for page in range(300):
            writer.write(np.full((4, 4, 3), page * 200, np.uint16), photometric="rgb")
    began = time.process_time()
    assert [int(pixels[0, 0, 0]) for pixels in images_of(stream.getvalue())] == [page * 200 for page in range(300)]
    assert time.process_time() - began < 5


PEAK = """
import sys
from tests.unit.preprocess.pictures import images_of
from preprocess.model import Limits, Recipe
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
content = open(sys.argv[1], "rb").read()
before = peak()
assert images_of(content, Recipe(), Limits(pixels=int(sys.argv[2])))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process's memory")
@pytest.mark.parametrize("heavy", ["deep alpha", "deep", "palette", "grey", "webp", "jpeg 2000"])
def test_decoding_takes_at_most_twelve_bytes_for_each_pixel_that_is_allowed(heavy: str, tmp_path: Path) -> None:
    side, counts = {"deep": (2000, 4), "deep alpha": (2000, 4), "webp": (2828, 2), "jpeg 2000": (2828, 2)}.get(
        heavy, (4000, 1)
    )
    allowed = side * side * counts
    kinds = {"deep alpha": (16, 6, 8), "deep": (16, 2, 6), "palette": (8, 3, 1), "grey": (16, 0, 2)}
    if heavy in kinds:
        bits, kind, pixel = kinds[heavy]
        content = flat_png(side, bits, kind, side * pixel + 1)
    else:
        content = encoded(Image.new("RGB", (side, side)), FORMS[heavy][0])
    file = tmp_path / "picture"
    file.write_bytes(content)
    command = [sys.executable, "-c", PEAK, str(file), str(allowed)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    # A quarter more for variations of the interpreter, and for libraries that are loaded late.
    assert int(done.stdout) < 12 * allowed * 1.25 + 16 * MIB
    with pytest.raises(MemberRefusedError, match="LIMIT_PIXELS"):
        images_of(content, limits=Limits(pixels=allowed - 1))


def flat_png(side: int, bits: int, kind: int, row: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) + chunk(b"tRNS", bytes(256)) if kind == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(bytes(row * side))) + chunk(b"IEND", b"")
    )


# Archives


def overlapping(entries: int, inflated: int) -> bytes:
    """A zip whose every entry is the same member: few bytes that claim to be many."""
    archive = by_hand(zlib.compress(bytes(inflated), 9, -15), bytes(inflated), 8)
    start, end = archive.index(b"PK\1\2"), archive.index(b"PK\5\6")
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, (end - start) * entries, start, 0)
    return archive[:start] + archive[start:end] * entries + record


def test_two_megabytes_that_declare_546_gigabytes_are_refused_in_no_time() -> None:
    content = overlapping(30_000, 19 * MIB)
    assert len(content) < 2_000_000
    began = time.process_time()
    archive = Archive(MemoryReader(content), Limits())
    assert sum(member.size for member in archive.members) > 546e9
    contents = read_all(content)
    assert len(contents) == 30_000
    assert sum(not isinstance(member, str) for member in contents) == 1, "its bytes are read once, for one entry"
    assert time.process_time() - began < 10


def test_zips_within_a_zip_are_refused_and_one_that_contains_itself_is_refused() -> None:
    inner = zipped(("a.jpg", encoded(smooth(20, 20), "JPEG")))
    world = World()
    archive = world.raw.add(
        zipped(("inner.zip", zipped(("more.zip", inner))), ("a.jpg", encoded(smooth(9, 9), "JPEG")))
    )
    handle_archive_created(archive.blob, world.process())
    assert world.ledger.end(archive) == "processed"
    assert world.sums(archive).refused_kinds == {".zip": 1}
    # Its only member consists of all bytes of the zip, from its first header on.
    whole = bytearray(by_hand(b"x" * 50, b"x" * 50, 0, name=b"self.png"))
    entry = whole.index(b"PK\1\2")
    struct.pack_into("<2L", whole, entry + 20, len(whole), len(whole))
    (refused,) = read_all(bytes(whole))
    assert "overlaps" in str(refused)


@pytest.mark.parametrize("date", [0, 0xFFFF, 0b0101110_0000_00001, 0b0101110_1101_11111])
def test_dates_that_are_none_cost_nothing(date: int) -> None:
    content = bytearray(zipped(("a", b"1")))
    struct.pack_into("<2H", content, 10, 0xFFFF, date)
    struct.pack_into("<2H", content, content.index(b"PK\1\2") + 12, 0xFFFF, date)
    assert read_all(bytes(content)) == [b"1"]


MANY = """
import sys, time
from preprocess.zip.reader import Archive
from preprocess.plan import divide
from preprocess.model import BatchSizes, Limits
from tests.fakes.preprocessing import STAMP, MemoryRawArchives
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
content = open(sys.argv[1], "rb").read()
before, began = peak(), time.process_time()
raw = MemoryRawArchives()
archive = raw.add(content)
members = Archive(raw.open(archive), Limits()).members
batches = divide(archive, "p", [(member.compressed, member.size) for member in members], BatchSizes())
print(len(members), len(batches), peak() - before, time.process_time() - began)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process's memory")
def test_a_hundred_thousand_members_are_planned_in_little_time_and_memory(tmp_path: Path) -> None:
    entry = zipped(("000000.jpg", b"x"))
    start, end = entry.index(b"PK\1\2"), entry.index(b"PK\5\6")
    count = 100_000
    local, central = bytearray(entry[:start] * count), bytearray(entry[start:end] * count)
    for number in range(count):
        struct.pack_into("<L", central, number * (end - start) + 42, number * start)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(central), len(local))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(local) + len(central), 1)
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    file = tmp_path / "many.zip"
    file.write_bytes(local + central + wide + locator + record)
    with zipfile.ZipFile(file) as archive:
        assert len(archive.infolist()) == count
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(file)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    members, batches, memory, seconds = (float(part) for part in done.stdout.split())
    assert (members, batches) == (count, -(-count // 64))
    assert memory < 150 * MIB
    assert seconds < 15
