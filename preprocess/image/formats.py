"""Which members are images, and which are passed over: by name, and by their first bytes."""

import re

METHODS = {"JPEG": 1, "PNG": 1, "TIFF": 1, "WEBP": 1, "BMP": 1, "GIF": 1, "JPEG2000": 1, "PPM": 1, "AVIF": 1}
"""Formats that are read, and the version of the way in which each is decoded: it counts up when the same file gives
other pixels than before. Recorded with each result, and no part of a pipeline's name."""
_ACCEPTED = "jpe?g|jpe|jfif|a?png|tiff?|webp|bmp|gif|jp2|j2[kc]|jp[fxc]|p[gpbn]m|avifs?"
_NOT_ACCEPTED = "hei[cf]|hif|jxl|psd|dng|cr[23]|nef|arw|raf|orf|rw2|exr|hdr|tga|ico"
"""Images too: they are refused, not passed over, so that nobody misses them unnoticed."""
_IMAGE_NAME = re.compile(rf".*\.(?:{_ACCEPTED}|{_NOT_ACCEPTED})", re.IGNORECASE | re.DOTALL)

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
