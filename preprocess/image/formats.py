"""Selection of members that are images, and of those that are skipped, by name and by their first bytes."""

import re
from collections.abc import Mapping

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
REFUSED_SUFFIXES = (
    *("heic", "heif", "hif", "jxl", "psd", "exr", "hdr", "tga", "ico"),
    *("dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2"),
)
"""Suffixes of image formats that are not read. Such members are refused, not skipped, so that they are reported."""
SKIPPED: Mapping[str, str] = {
    "directory": "a folder's own entry",
    "macos": "`__MACOSX` and everything in it, and `.DS_Store`",
    "hidden": "a file whose name begins with a dot",
    "not an image": "neither the suffix nor the first bytes are those of an image",
    "by the hook": "the hook returned None for each of its images",
}
"""Kinds of skipped members, as counts name them, with their meaning."""
METHODS = {"JPEG": 2, "PNG": 2, "TIFF": 2, "WEBP": 1, "BMP": 1, "GIF": 1, "JPEG2000": 1, "PPM": 1, "AVIF": 1}
"""Version of the decoding of each format, increased when the same file gives other pixels than before. It is recorded
with each result, and is not part of a pipeline's name."""
_IMAGE_NAME = re.compile(
    rf".*\.(?:{'|'.join((*(suffix for group in SUFFIXES.values() for suffix in group), *REFUSED_SUFFIXES))})",
    re.IGNORECASE | re.DOTALL,
)

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


def skip_kind(name: str) -> str | None:
    """Return the kind of a member that is skipped because of its name; None if it is not."""
    parts = re.split(r"[/\\]", name)
    base = name.rpartition("/")[2]
    if parts[-1] == "" and len(parts) > 1:
        return "directory"
    if "__MACOSX" in parts or parts[-1] == ".DS_Store":
        return "macos"
    # A backslash may be part of a character, and a folder's name says nothing of what is in it.
    if base.startswith(".") and base.strip("."):
        return "hidden"
    return None


def is_image_name(name: str) -> bool:
    """Return whether a name has the suffix of an image."""
    return _IMAGE_NAME.fullmatch(name) is not None


def is_image_content(head: bytes) -> bool:
    """Return whether a file begins like one of an accepted format."""
    return _SIGNATURES.match(head) is not None


def printable(name: str, most: int = 200) -> str:
    """Return a name for a log line: control characters escaped, at most `most` characters."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    return safe if len(safe) <= most else safe[: most - 1] + "…"
