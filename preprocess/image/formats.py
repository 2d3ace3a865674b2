"""Which members are images, and which are skipped: by name, and by their first bytes."""

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
"""Formats that are read, and the suffixes of their files."""
REFUSED_SUFFIXES = (
    *("heic", "heif", "hif", "jxl", "psd", "exr", "hdr", "tga", "ico"),
    *("dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2"),
)
"""Suffixes of images that are not read: such a member is refused, not skipped, so that it is reported."""
SKIPPED: Mapping[str, str] = {
    "directory": "a folder's own entry",
    "macos": "`__MACOSX` and everything in it, and `.DS_Store`",
    "hidden": "a file or folder whose name begins with a dot",
    "not an image": "neither the suffix nor the first bytes are those of an image",
    "by the hook": "the hook returned None for each of its images",
}
"""Why a member is skipped, as counts name it: what that covers."""
METHODS = {"JPEG": 1, "PNG": 1, "TIFF": 1, "WEBP": 1, "BMP": 1, "GIF": 1, "JPEG2000": 1, "PPM": 1, "AVIF": 1}
"""Formats that are read, and the version of the way in which each is decoded: it counts up when the same file gives
other pixels than before. Recorded with each result, and no part of a pipeline's name."""
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
    # "BM" alone begins many a text: the size of the second header tells.
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|\0\0\0\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51"
    rb"|P[1-6]\s+(?:\#[^\n]*\n\s*)*[0-9]+\s+[0-9]+\s"
    rb"|.{4}ftypavi[fs]|.{4}ftypm[is]f1.{4}(?:.{4}){0,8}avi[fs]",
    re.DOTALL,
)


def skip_kind(name: str) -> str | None:
    """Name the kind of a member that is passed over for its name alone."""
    parts = re.split(r"[/\\]", name)
    if parts[-1] == "" and len(parts) > 1:
        return "directory"
    if "__MACOSX" in parts or parts[-1] == ".DS_Store":
        return "macos"
    if any(part.startswith(".") and part.strip(".") for part in parts):
        return "hidden"
    return None


def is_image_name(name: str) -> bool:
    """Tell whether a name's suffix promises an image."""
    return _IMAGE_NAME.fullmatch(name) is not None


def is_image_content(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a format that is accepted."""
    return _SIGNATURES.match(head) is not None


def printable(name: str, most: int = 200) -> str:
    """Write a name for a log line: one line, no control characters, not long."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    return safe if len(safe) <= most else safe[: most - 1] + "…"
