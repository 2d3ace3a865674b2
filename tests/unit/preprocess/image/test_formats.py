"""Members that are read, members that are skipped as harmless, and the refusal of all others."""

import bz2
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.image.formats import (
    PACKED,
    SKIPPED,
    SUFFIXES,
    UNREAD,
    UnreadFormatError,
    is_harmless,
    is_image,
    is_image_content,
    is_packed,
    is_skipped_unseen,
    kind_of,
    skip_kind,
    skipped_as,
    suffix_of,
    unpacked_name,
    unread,
)

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
LISTED = [(kind, name) for kind, skipped in SKIPPED.items() for name in (
    *skipped.names, *(f"a.{suffix}" for suffix in skipped.suffixes)
)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("a.jpg", 9, None),
        ("../a.jpg", 9, None),
        ("./a.jpg", 9, None),
        ("", 0, None),
        ("d/", 0, "directory"),
        ("d\\", 0, "directory"),
        ("d/", 9, None),
        ("__MACOSX/._a.jpg", 9, "macos"),
        ("d/.DS_Store", 9, "macos"),
        (".hidden.jpg", 9, "hidden"),
        ("d/.hidden.jpg", 9, "hidden"),
        ("d/Thumbs.db", 9, "windows"),
        ("d\\desktop.ini", 9, "windows"),
        ("d/README", 9, "text"),
        ("Größe.TXT", 9, "text"),
        ("a.tif.aux.xml", 9, "markup"),
        ("META-INF/MANIFEST.MF", 9, "text"),
        ("__MACOSX\\d\\._a.jpg", 9, "macos"),
        ("d\\.DS_Store", 9, "macos"),
    ],
)
def test_members_are_skipped_by_name(name: str, size: int, kind: str | None) -> None:
    assert skip_kind(name, size) == kind


@pytest.mark.parametrize("name", [".git/a.jpg", ".thumbs/sub/a.jpg", "d\\.thumbs\\a.jpg", "\u00f2K\\.jpg"])
def test_an_image_is_hidden_only_if_its_own_name_begins_with_a_dot(name: str) -> None:
    assert skip_kind(name, 9) is None
    assert is_image(name, JPEG)


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_a_listed_name_is_skipped_in_any_case_and_folder(kind: str, name: str) -> None:
    head = b"%PDF-1.7" if kind == "pdf" else b"some text"
    for spelt in (name, name.upper(), f"a.jpg/b/{name}"):
        assert skip_kind(spelt, 9) == kind
        assert is_skipped_unseen(spelt, 9) or is_harmless(spelt, 9, head)


@pytest.mark.parametrize("name", [name for kind, name in LISTED if kind != "windows"])
def test_a_listed_name_does_not_hide_an_image_nor_data(name: str) -> None:
    assert is_image(name, JPEG)
    assert not is_harmless(name, 9, b"\x89HDF\r\n\x1a\n\0\0\0")


DATA = {
    "FITS": b"SIMPLE  =                    T".ljust(512), "an extension of FITS": b"XTENSION= 'IMAGE   '".ljust(512),
    "NRRD": b"NRRD0004\ntype: uchar\nencoding: raw\n", "PAM": b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\n",
    "PFM": b"PF\n640 480\n-1.0\n", "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "GRIB": b"GRIB\7\7\7\1" + b"7" * 500, "BUFR": b"BUFR\7\7\7\4" + b"7" * 500,
    "bzip2": bz2.compress(random.Random(1).randbytes(500)), "a tar": (b"d" * 99).ljust(257, b"\0") + b"ustar",
    "binary data behind a text": b"# vtk DataFile Version 3.0\nBINARY\n".ljust(300, b"x") + b"\0\0\x80\x3f",
    "UTF-16's mark before zeros": b"\xff\xfe" + bytes(500),
    **{f"noise {seed}": random.Random(seed).randbytes(512) for seed in range(20)},
}  # fmt: skip


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "README", "a.md5", "a.tfw", "a.fits.json", "a.pdf"])
def test_no_data_is_skipped_because_it_is_named_like_a_text(data: str, name: str) -> None:
    assert not is_harmless(name, 9999, DATA[data])


TEXTS = [
    b"", b"\xef\xbb\xbfnote", b"\x1b[31mred\x1b[0m \a\b\f\v", b"a DOS file\r\n\x1a", b"SIMPLE formats", b"P7 was",
    *("天気図表,1\r\n".encode(code) for code in ("utf-8", "cp932", "euc-jp", "iso2022-jp", "utf-16")),
    "功能,1".encode("big5"), "誠".encode("gb18030"), "사진".encode("cp949"), "фото".encode("koi8-r"), b"\xc4\x85",
    "\ufeffnote".encode("utf-16-le"), "\ufeffnote".encode("utf-16-be"),
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_any_encoding_is_text(text: bytes) -> None:
    assert is_harmless("a.txt", len(text), text)


@given(st.text(max_size=30), st.binary(max_size=64), st.integers(0, 9))
def test_nothing_outside_of_the_list_is_skipped(stem: str, head: bytes, size: int) -> None:
    """Any name that is not hidden, with a suffix that is on no list."""
    name = f"a{stem.replace('/', '').replace('__MACOSX', '')}.dat"
    assert not is_skipped_unseen(name, size)
    assert not is_harmless(name, size, head)


@given(st.from_regex(r"[0-9]{0,2}[a-z][a-z0-9]{0,2}", fullmatch=True), st.binary(max_size=64))
def test_a_suffix_is_read_skipped_or_refused_with_its_name(suffix: str, head: bytes) -> None:
    name = f"a.{suffix}"
    listed = {end for skipped in SKIPPED.values() for end in skipped.suffixes}
    if suffix not in listed:
        assert not is_harmless(name, 9, head)
    error = unread(name, head)
    assert isinstance(error, UnreadFormatError)
    assert (error.kind, suffix in str(error)) == (f".{suffix}", True)


def test_the_lists_do_not_overlap() -> None:
    read = [suffix for group in SUFFIXES.values() for suffix in group]
    lists = [*read, *PACKED]
    lists += [suffix for skipped in SKIPPED.values() for suffix in skipped.suffixes]
    lists += [suffix for group in UNREAD.values() for suffix in group.suffixes]
    assert len(set(lists)) == len(lists)
    assert all(is_image(f"a.{suffix.upper()}", b"") for suffix in read)
    assert not any(is_image(f"a.{suffix}", b"") for suffix in lists if suffix not in read)


def test_names_promise_images() -> None:
    assert all(is_image(name, b"") for name in ("a.JPG", "d/b.jpeg", "c.tiff", "x\n.png"))
    assert not any(is_image(name, b"") for name in ("a.txt", "jpg", "a.jpg.txt", "a.mp4", "", "Thumbs.db", "a.jpg/b"))


def test_the_preview_in_a_raw_file_of_a_camera_is_not_taken_for_its_picture() -> None:
    assert not is_image("a.NEF", b"MM\0*" + bytes(60))
    assert is_image("a.nef", JPEG), "a wrong suffix does no harm"
    assert not is_image("a.tif", b"II*\0\x10\0\0\0CR\2\0" + bytes(50)), "nor does it make a picture of a preview"


@pytest.mark.parametrize(
    "head", [b"", b"BM is how this text begins, and goes on", b"P5 report", b"II. Chapter", b"%PDF-1.7"]
)
def test_texts_are_no_images(head: bytes) -> None:
    assert not is_image_content(head)


@pytest.mark.parametrize(
    ("name", "head", "kind", "reason"),
    [
        ("d/a.FITS", b"SIMPLE  =                    T", ".fits", "suffix .fits, begins with 'SIMPLE  ='"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", ".h5", r"suffix .h5, begins with '\x89HDF\r\n\x1a\n'"),
        ("a", b"\x89HDF\r\n\x1a\n", "HDF5", r"no suffix, begins with '\x89HDF\r\n\x1a\n'"),
        ("a.b/noise", b"?", "no suffix", "no suffix, begins with '?'"),
        ("a.h5", b"", ".h5", "suffix .h5, empty"),
        ("1.2.840.113619.604688119", b"?" * 128 + b"DICM", "DICOM", "no suffix, begins with '????????????'"),
        ("scan.0001.gz", b"?", ".gz", "suffix .gz, begins with '?'"),
        ("scan.20261129", b"?", "no suffix", "no suffix, begins with '?'"),
        ("video", b"\0\0\0\x18ftypisom", "MP4", r"no suffix, begins with '\x00\x00\x00\x18ftypisom'"),
    ],
)
def test_a_refusal_names_the_suffix_and_the_first_bytes(name: str, head: bytes, kind: str, reason: str) -> None:
    error = unread(name, head)
    assert (error.kind, str(error)) == (kind, f"no format that is read: {reason}")


@pytest.mark.parametrize("name", ["inner.zip", "a.tar.gz", "A.TGZ", "a.7z", "a.tar"])
def test_an_archive_in_the_archive_is_refused_with_what_to_do(name: str) -> None:
    assert re.search(r"^it is an archive in the archive \(\.[a-z0-9.]+\): put its members ", str(unread(name, b"PK")))


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("d/photo.jpg.gz", "d/photo.jpg"), ("A.TIF.XZ", "A.TIF"), ("photo.bz2", "photo"),
        ("a.tar.gz", None), ("a.tgz", None), ("a.jpg", None), ("gz", None), (".gz", None),
    ],
)  # fmt: skip
def test_single_files_that_are_packed_are_known_by_name(name: str, inner: str | None) -> None:
    assert unpacked_name(name) == inner


def test_a_name_alone_does_not_make_a_packed_file() -> None:
    assert is_packed("a.jpg.gz", b"\x1f\x8b\x08")
    assert not is_packed("a.jpg.gz", JPEG)
    assert not is_packed("a.jpg.gz", b"BZh9")
    assert not is_packed("a.jpg", b"\x1f\x8b\x08")


def test_a_text_that_is_packed_counts_as_text() -> None:
    assert skipped_as("readme.txt.gz", 9) == skipped_as("readme.txt", 9) == "text"


@given(st.text(max_size=40))
def test_a_suffix_is_short_and_plain_whatever_the_name(name: str) -> None:
    assert re.fullmatch(r"((\.[a-z0-9_+-]{1,12})?\.[a-z0-9_+-]{1,12})?", suffix_of(name))
    assert kind_of(name)
