"""Which members are read, which are known to be harmless and skipped, and which are refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagefeed.errors import MemberRefusedError

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png", "apng"),
    "TIFF": ("tif", "tiff"),
    "WEBP": ("webp",),
    "BMP": ("bmp",),
    "GIF": ("gif",),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpf", "jpx", "jpc"),
    "PPM": ("pgm", "ppm", "pbm", "pnm"),
    "AVIF": ("avif", "avifs"),
}
"""Suffixes of the formats that are read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A kind of members that are skipped: their lower-case suffixes or names, and what they are."""

    meaning: str
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


SKIPPED: Mapping[str, Skipped] = {
    "directory": Skipped("a folder's own entry, which has no bytes"),
    "macos": Skipped("everything in a folder `__MACOSX`, and `.DS_Store`"),
    "hidden": Skipped("a file whose name begins with a dot"),
    "windows": Skipped("what Windows leaves in folders", names=("thumbs.db", "ehthumbs.db", "desktop.ini")),
    "text": Skipped(
        "text about the images",
        ("txt", "text", "md", "rst", "nfo", "log", "ini", "cfg", "conf", "toml", "mf"),
        ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "manifest"),
    ),
    "markup": Skipped(
        "metadata, tables and pages in text form",
        ("xml", "xsd", "xsl", "json", "jsonl", "csv", "tsv", "yaml", "yml", "html", "htm", "css"),
    ),
    "checksum": Skipped(
        "checksums of the other members",
        ("md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512", "crc", "sfv"),
        ("md5sums", "sha1sums", "sha256sums", "sha512sums"),
    ),
    "world file": Skipped(
        "where a picture lies on the earth",
        ("wld", "prj", "tfw", "tfwx", "tifw", "jgw", "jgwx", "jpgw", "pgw", "pgwx", "pngw", "bpw", "gfw", "j2w"),
    ),
    "pdf": Skipped("a document", ("pdf",)),
    "by the hook": Skipped("an image for which the hook returned None for each frame"),
}
"""All that is skipped, by the kinds that counts name. Anything else that is not read is refused."""
_UNSEEN = ("directory", "macos", "hidden", "windows")
"""Kinds that are skipped by name alone. A member of another kind is skipped if its first bytes fit."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A group of formats that are not read, and what to do about them."""

    suffixes: tuple[str, ...]
    cure: str


UNREAD: Mapping[str, Unread] = {
    "other images": Unread(
        ("heic", "heif", "hif", "jxl", "psd", "exr", "hdr", "tga", "ico", "svg"), "ask the owner for PNG, TIFF or JPEG"
    ),
    "raw files of cameras": Unread(
        ("dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "pef", "srw"),
        "develop them to TIFF before they are zipped",
    ),
    "scientific data": Unread(
        ("fits", "fit", "h5", "hdf5", "hdf", "nc", "grb", "grb2", "grib", "grib2", "bufr", "dcm", "nii", "npy", "npz"),
        "convert their arrays to TIFF, which holds integers and floats of up to 32 bits without loss",
    ),
    "geodata": Unread(("shp", "shx", "dbf", "gpkg", "las", "laz"), "nothing if only the images matter"),
    "videos": Unread(("mp4", "mov", "avi", "mkv", "mpg", "webm", "ts"), "extract their frames to PNG or JPEG"),
    "archives": Unread(
        ("zip", "tar", "tgz", "tbz2", "txz", "7z", "rar", "tar.gz", "tar.bz2", "tar.xz"),
        "put their members into the zip itself, or send each as a zip of its own",
    ),
}
"""Well-known formats that are refused. The list is for people: a suffix that is on no list is refused too."""
PACKED: Mapping[str, bytes] = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0"}
"""Suffixes of compressed single files, which are unpacked, and their first bytes."""
METHODS = {"JPEG": 3, "PNG": 3, "TIFF": 4, "WEBP": 2, "BMP": 2, "GIF": 2, "JPEG2000": 3, "PPM": 4, "AVIF": 2}
"""Version of the decoding of each format, increased when the same file gives other pixels than before. It is recorded
with each result, and is not part of a pipeline's name."""
_IMAGE_SUFFIXES = frozenset(suffix for group in SUFFIXES.values() for suffix in group)
_CAMERA = frozenset(UNREAD["raw files of cameras"].suffixes)
_ARCHIVES = frozenset(UNREAD["archives"].suffixes)
_KIND_OF_SUFFIX = {suffix: kind for kind, skipped in SKIPPED.items() for suffix in skipped.suffixes}
_KIND_OF_NAME = {name: kind for kind, skipped in SKIPPED.items() for name in skipped.names}
_ONE_SUFFIX = r"\.(?=[^.]*[a-z])[a-z0-9_+-]{1,12}"
_SUFFIX = re.compile(rf"(?:{_ONE_SUFFIX})?\.(?:gz|bz2|xz)\Z|{_ONE_SUFFIX}\Z")
"""A suffix has a letter: a number, such as the last part of a DICOM file's name, differs from member to member."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NAMED_SIGNATURES: Mapping[str, tuple[int, tuple[bytes, ...]]] = {
    "HDF5": (0, (b"\x89HDF",)), "HDF4": (0, (b"\x0e\3\x13\1",)), "NetCDF": (0, (b"CDF\1", b"CDF\2", b"CDF\5")),
    "GRIB": (0, (b"GRIB",)), "BUFR": (0, (b"BUFR",)), "npy": (0, (b"\x93NUMPY",)), "DICOM": (128, (b"DICM",)),
    "FITS": (0, (b"SIMPLE  =", b"XTENSION=")), "NRRD": (0, (b"NRRD000",)), "PAM": (0, (b"P7\n",)),
    "PFM": (0, (b"PF\n", b"Pf\n")), "HDR": (0, (b"#?RADIANCE\n", b"#?RGBE\n")),
    "HEIF": (4, (b"ftyphe", b"ftypmif1")), "JPEG XL": (0, (b"\xff\n", b"\0\0\0\x0cJXL ")), "MP4": (4, (b"ftyp",)),
    "zip": (0, (b"PK\3\4",)), "7z": (0, (b"7z\xbc\xaf",)), "rar": (0, (b"Rar!",)), "tar": (257, (b"ustar",)),
    **{suffix: (0, (signature,)) for suffix, signature in PACKED.items()}, "zst": (0, (b"\x28\xb5\x2f\xfd",)),
}  # fmt: skip
"""Signatures that refused members are counted by, and where they are."""
_TEXT_HEADERS = ("FITS", "NRRD", "PAM", "PFM", "HDR")
"""Formats of images whose first bytes are text."""
_CONTROL = re.compile(r"[\0-\6\x10-\x19\x1c-\x1f]")
"""Characters that no text has. Logs have bells, tabs, colours and ends of files."""

_SIGNATURES = re.compile(
    rb"\xff\xd8\xff"
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|II[*+]\0|MM\0[*+]"
    rb"|RIFF.{4}WEBP"
    # Many texts begin with "BM" too, so the size of the second header is checked as well.
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|\0\0\0\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51"
    rb"|P[1-6]\s+(?:\#[^\n]*\n\s*)*[0-9]+\s+[0-9]+\s"
    rb"|.{4}ftypavi[fs]|.{4}ftypm[is]f1.{4}(?:.{4}){0,8}avi[fs]",
    re.DOTALL,
)


class UnreadFormatError(MemberRefusedError):
    """A member is of no format that is read. `kind` is its suffix, or the name of its signature if it has none."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


def skip_kind(name: str, size: int) -> str | None:
    """Return the kind of harmless member by a name and an inflated size; None if it is none.

    A backslash does not make a name hidden: it may be half of a character of an East Asian code page.
    """
    *folders, last = name.replace("\\", "/").split("/")
    if name and not size and not last:
        return "directory"
    if "__MACOSX" in folders or last == ".DS_Store":
        return "macos"
    base = name.rpartition("/")[2]
    if base.startswith(".") and base.strip("."):
        return "hidden"
    last = last.lower()
    return _KIND_OF_NAME.get(last) or _KIND_OF_SUFFIX.get(last.rpartition(".")[2] if "." in last else "")


def skipped_as(name: str, size: int) -> str:
    """Return the kind that a member counts as, which is skipped for its name or for that of the file packed in it."""
    kinds = (skip_kind(known, size) for known in (name, unpacked_name(name)) if known)
    return next(kind for kind in kinds if kind)


def is_skipped_unseen(name: str, size: int) -> bool:
    """Return whether a member is skipped whatever its bytes are."""
    return skip_kind(name, size) in _UNSEEN


def is_image(name: str, head: bytes) -> bool:
    """Return whether to decode a member with this name and these first bytes."""
    suffix = name.lower().rpartition(".")[2]
    if head.startswith(_TIFF) and (suffix in _CAMERA or head.startswith(b"CR\2", 8)):
        # What a TIFF reader finds in such a file is its preview.
        return False
    return ("." in name and suffix in _IMAGE_SUFFIXES) or is_image_content(head)


def is_harmless(name: str, size: int, head: bytes) -> bool:
    """Return whether a member that is no image is skipped: its name is on the list, and its first bytes fit."""
    kind = skip_kind(name, size)
    if kind == "pdf":
        return b"%PDF" in head
    return kind is not None and _is_text(head)


def _is_text(head: bytes) -> bool:
    """Return whether first bytes are text in any 8-bit encoding, or in UTF-16 with its mark, and not an image's."""
    text = head.decode("utf-16" if head.startswith(_UTF_16) else "latin-1", "ignore")
    return not _CONTROL.search(text) and _signature(head) not in _TEXT_HEADERS


def unpacked_name(name: str) -> str | None:
    """Return the name of the single file in a compressed one; None if the name shows no compression, or an archive."""
    stem, _, suffix = name.rpartition(".")
    packed = suffix.lower() in PACKED and suffix_of(name).removeprefix(".") not in _ARCHIVES
    return stem if packed and stem else None


def is_packed(name: str, head: bytes) -> bool:
    """Return whether a member is a single file that is compressed, by its name and its first bytes."""
    return unpacked_name(name) is not None and head.startswith(PACKED[name.lower().rpartition(".")[2]])


def suffix_of(name: str) -> str:
    """Return a name's suffix in lower case, such as ".h5" or ".fits.gz"; empty if it has none."""
    match = _SUFFIX.search(name.lower(), 1)
    return match[0] if match else ""


def kind_of(name: str, head: bytes = b"") -> str:
    """Return what a refused member is counted as: its suffix, or the name of its signature if it has none."""
    return suffix_of(name) or _signature(head) or "no suffix"


def _signature(head: bytes) -> str | None:
    """Return the name of a file's signature; None if it is none of a format that is refused."""
    named = _NAMED_SIGNATURES.items()
    return next((name for name, (at, signatures) in named if head.startswith(signatures, at)), None)


def unread(name: str, head: bytes) -> UnreadFormatError:
    """Return the error of a member that is neither an image nor harmless."""
    suffix, kind = suffix_of(name), kind_of(name, head)
    if suffix.removeprefix(".") in _ARCHIVES:
        return UnreadFormatError(
            f"it is an archive in the archive ({suffix}): put its members into the zip itself, or send it as a zip of "
            "its own",
            kind,
        )
    named = f"suffix {suffix}" if suffix else "no suffix"
    begins = f"begins with {repr(head[:12].rstrip(b' '))[1:]}" if head else "empty"
    return UnreadFormatError(f"no format that is read: {named}, {begins}", kind)


def is_image_content(head: bytes) -> bool:
    """Return whether a file begins like one of an accepted format."""
    return _SIGNATURES.match(head) is not None


def printable(name: str, most: int = 200) -> str:
    """Return a name for a log line: control characters escaped, at most `most` characters."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    return safe if len(safe) <= most else safe[: most - 1] + "…"
