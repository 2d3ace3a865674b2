"""Decodes a file's bytes to frames: allowed formats only, with limits before decoding, and values as stored."""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache, partial
from itertools import count
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from PIL.ImageFile import ImageFile

from config.near import nearly
from imagefeed.errors import MemberRefusedError
from preprocess.image.formats import METHODS, is_image_content, printable
from preprocess.image.jpeg import decode_jpeg
from preprocess.image.planes import Planes, correct_key, eight_bits, is_text, load, raw_mode, tiff_tag, weight
from preprocess.image.probes import (
    avif_bits,
    check_png_rows,
    count_scans,
    ends_in_zeros,
    is_followed_by_another,
    is_whole_gif,
    jpeg2000_depths,
    tidied_png,
)
from preprocess.image.tiff import COPY_OR_MASK, check_below, check_directories, check_pieces, kind_of_tiff
from preprocess.member_log import member_log
from preprocess.model import Limits

# LIMIT_PIXELS is checked for each frame instead. Pillow would also warn from half of its limit on.
Pillow.MAX_IMAGE_PIXELS = None
# Blocks of 16 MiB that Pillow keeps for the next image: allocating them anew each time takes a tenth of the time.
Pillow.core.set_blocks_max(4)  # type: ignore[attr-defined] # documented, but not told to type checkers

FORMATS = tuple(METHODS)
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error, zlib.error),
    *(RuntimeError, AttributeError, AssertionError, BufferError),
)
"""Errors that decoders raise for broken files."""
_IS_WHOLE: Mapping[str, Callable[[bytes], bool]] = {
    "GIF": is_whole_gif,
    "AVIF": lambda content: not ends_in_zeros(content),
}
"""WebP is not checked: a complete one may end in zeros, if it is of one colour."""
_JPEGS = ("JPEG", "MPO")
_MP_ENTRIES = 0xB002
_PREVIEW = "Large Thumbnail"
_VAGUE = ("Undefined", "Unknown")
"""Kinds of pictures behind the first of a JPEG which are part of a set only if they are as large. Others are previews,
depth maps and gain maps, which nearly every phone writes."""
_LEFT, _UP = (2, 3, 6, 7), (3, 4, 7, 8)
"""Orientations by which the right edge as stored becomes the left one or the upper one, and the lower one likewise."""
_TURNED = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
BYTES_A_PIXEL = 12
"""Most bytes that decoding takes for each 8-bit pixel (measured). Other pixels count as several."""
_MOST_PIECES = 1_000_000
_MOST_COMMENTS = 1_000
_ANOTHER_PPM = re.compile(rb"\s*P(?:[1-7]|[Ff])\s+[0-9#WA-]")
_ANOTHER_TEXT = re.compile(rb"\sP[1-7]\s")
_PNG = b"\x89PNG\r\n\x1a\n"
_WITH_ALPHA_MASK, _BITFIELDS = 56, 3
"""Bytes of the smallest header of a BMP that has a mask of alpha, and the compression that uses masks."""

type Size = tuple[int, int]
type Shrink = Callable[[Size], float]
"""Returns the scale at which a picture of this size may be decoded: 1, or less if not all detail is needed."""
type Admit = Callable[[int], None]
"""Called with an upper bound (bytes) before a frame is decoded. Raises to reject it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded picture, upright. Its planes are valid until the next frame is decoded."""

    number: int
    format: str
    planes: Planes
    size: Size
    """Width and height in pixels, before any shrinking."""
    scale: float
    """At which it was decoded."""
    origin: tuple[float, float]
    """Where the picture begins in the planes, x and y: above 0 if a pixel at the edge is only partly of the picture."""
    captured_at: datetime | None
    near: Mapping[str, float] = field(default_factory=dict)
    """Used shares of the limits that it nearly reached, by setting."""


def _admit_all(_size: int) -> None:
    return


def frames(
    content: io.BytesIO, name: str, limits: Limits, shrink: Shrink, admit: Admit = _admit_all
) -> Iterator[Frame]:
    """Yield each frame of a file. Several threads may decode different files. Raises MemberRefusedError."""
    with ExitStack() as opened:
        with _pillow(name):
            if content.getvalue().startswith(_PNG):
                content = io.BytesIO(tidied_png(content.getvalue()))
            image = opened.enter_context(_opened(content))
            _check_end(content, image)
            _check_comments(content, image)
            _check_single(content, image)
            _check_alpha(content, image)
            _check_depth(content, image)
            if image.format == "TIFF":
                check_directories(content.getvalue())
        # Opened once, if needed, and moved from page to page: a newly opened file would read all earlier pages again.
        second = cache(lambda: opened.enter_context(_opened(content)))
        first_size, made, pixels, scanned = image.size, 0, 0, 0
        for number in count():
            with _pillow(name):
                turned = _turn_to(image, number, first_size)
                if turned is _Turned.NOWHERE:
                    return
                if turned is _Turned.TO_NO_PICTURE and image.format == "MPO":
                    # It does not count as a frame, because nearly every camera's JPEG has a preview.
                    continue
                if (made if image.format == "MPO" else number) >= limits.frames:
                    raise MemberRefusedError(f"it has more frames than LIMIT_FRAMES={limits.frames}")
                if turned is _Turned.TO_NO_PICTURE:
                    continue
                if image.format == "TIFF":
                    check_below(content.getvalue(), image)
                made += 1
                pixels += image.width * image.height
                weighted = _check_pixels(image, pixels, limits)
                jpeg = memoryview(content.getvalue())[image.tile[0].offset :] if image.format in _JPEGS else None
                if jpeg is not None:
                    scanned += _check_scans(jpeg, image, limits)
                near = nearly(
                    {
                        "LIMIT_FRAMES": (number + 1) / limits.frames,
                        "LIMIT_PIXELS": weighted / limits.pixels,
                        "LIMIT_MEMBER_PIXELS": max(pixels, scanned) / limits.member_pixels,
                    }
                )
                frame = _frame(image, number, jpeg, shrink, admit, partial(_turned, second, number))
                if image.format == "TIFF":
                    check_pieces(memoryview(content.getvalue()), image)
                elif image.format == "PNG" and not number and _may_lack_rows(image):
                    check_png_rows(content.getvalue())
            yield replace(frame, near=near) if near else frame


class _Pieces(io.BytesIO):
    """A file with a limited number of reads. One made of millions of tiny pieces would take hours and all memory."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = _MOST_PIECES + len(content) // 64

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
        return super().read(size)


def _opened(content: io.BytesIO) -> ImageFile:
    # BytesIO shares these bytes; nothing is copied.
    try:
        image = Pillow.open(_Pieces(content.getvalue()), formats=FORMATS)
    except UnidentifiedImageError as exc:
        head = content.getvalue()[:64]
        if not is_image_content(head):
            raise MemberRefusedError(f"it is not an image of an accepted format ({', '.join(FORMATS)})") from exc
        kind = (
            kind_of_tiff(content) if head.startswith((b"II", b"MM")) else "its header is broken or of an unusual kind"
        )
        raise MemberRefusedError(f"it begins like an image, but this kind is not supported: {kind}") from exc
    correct_key(image)
    return image


def _turned(opened: Callable[[], ImageFile], number: int) -> ImageFile:
    image = opened()
    image.seek(number)
    return image


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
"""Pillow's warnings while it reads one file."""


@contextmanager
def warnings_heard() -> Iterator[None]:
    """Make `frames` log Pillow's warnings while the block runs.

    Warning filters are global to the interpreter: the block covers all threads, and only one may run at a time.
    """
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, *where: Any, **more: Any) -> None:
            heard = _heard.get()
            if heard is None:
                others(message, *where, **more)
            else:
                heard.append(str(message))

        warnings.filterwarnings("always", module=r"PIL\.|preprocess\.image\.")
        warnings.showwarning = show
        yield


@contextmanager
def _pillow(name: str) -> Iterator[None]:
    """Re-raise Pillow's errors as MemberRefusedError, and log its warnings."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield
    except _BROKEN as exc:
        raise MemberRefusedError(f"it cannot be decoded: {str(exc) or type(exc).__name__}") from exc
    finally:
        _heard.reset(before)
    for warning in heard:
        member_log.warning("image.warning member=%s warning=%s", printable(name), printable(warning))


def _check_end(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError if the end of a file is missing and Pillow does not notice.

    Pillow needs neither PNG's last chunk nor GIF's last byte, and decodes the zeros of a cut AVIF as grey.
    """
    is_whole = _IS_WHOLE.get(image.format or "")
    # Not getbuffer(), which would copy the bytes that `_opened` shares.
    if is_whole is not None and not is_whole(content.getvalue()):
        raise MemberRefusedError(f"it is cut off: the end of the {image.format} file is missing")


class _Turned(Enum):
    """Content of a file at the number of a frame."""

    NOWHERE = auto()
    TO_PICTURE = auto()
    TO_NO_PICTURE = auto()
    """A mask, a preview, or another picture that belongs to one before it."""


def _turn_to(image: ImageFile, number: int, first_size: Size) -> _Turned:
    """Move to a frame, and return what it is."""
    kind = _kind_in_set(image, number)
    if kind.startswith(_PREVIEW):
        return _Turned.TO_NO_PICTURE
    try:
        image.seek(number)
    except EOFError:
        return _Turned.NOWHERE
    except (SyntaxError, ValueError):
        # Pillow cannot read masks, which are skipped anyway. Programs that edit a JPEG drop its previews but may leave
        # the index of them.
        if not (_is_no_page(image) or kind in _VAGUE):
            raise
        if kind in _VAGUE:
            warnings.warn(f"picture {number + 1} of its set cannot be read, and is skipped", stacklevel=1)
        return _Turned.TO_NO_PICTURE
    if not number and _is_raw(image):
        raise MemberRefusedError("it is a camera's raw file, of which only a preview can be read: develop it to TIFF")
    if number and (_is_no_page(image) or (kind in _VAGUE and image.size != first_size)):
        return _Turned.TO_NO_PICTURE
    return _Turned.TO_PICTURE


def _kind_in_set(image: ImageFile, number: int) -> str:
    """Return what a JPEG's index of pictures (MPO) says of one; empty if there is no such picture or no index."""
    index: Sequence[Mapping[str, Any]] = getattr(image, "mpinfo", {}).get(_MP_ENTRIES, ())
    return str(index[number]["Attribute"]["MPType"]) if number < len(index) else ""


def _is_no_page(image: ImageFile) -> bool:
    kind = tiff_tag(image, Base.NewSubfileType)
    return isinstance(kind, int) and bool(kind & COPY_OR_MASK)


def _is_raw(image: ImageFile) -> bool:
    """Return whether a file is a camera's, whatever its suffix: a TIFF whose first page is a preview."""
    is_preview = _is_no_page(image) and tiff_tag(image, Base.SubIFDs) is not None
    return is_preview or tiff_tag(image, Base.DNGVersion) is not None


def _check_scans(jpeg: memoryview, image: ImageFile, limits: Limits) -> int:
    """Return the pixels of all scans of a JPEG together. Raises MemberRefusedError if they are too many."""
    scans, end = count_scans(jpeg)
    if scans * image.width * image.height > limits.member_pixels:
        raise MemberRefusedError(
            f"its {scans} scans of {image.width} x {image.height} have more pixels than "
            f"LIMIT_MEMBER_PIXELS={limits.member_pixels} together"
        )
    # The pictures of an MPO are those of its index.
    if image.format == "JPEG" and end < len(jpeg) and is_followed_by_another(jpeg, end, image.size):
        raise MemberRefusedError(
            "it is several JPEGs in one without an index, which is not supported: send them singly"
        )
    return scans * image.width * image.height


def _check_comments(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError for a PPM full of comments: Pillow removes them one by one, 7 s per megabyte."""
    if is_text(image) and content.getvalue().count(b"#") > _MOST_COMMENTS:
        raise MemberRefusedError("it is made of too many comments: no encoder writes so many")


def _check_single(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError for a PPM of several pictures, of which Pillow reads only the first."""
    if image.format != "PPM":
        return
    (_, _, offset, args), bands = image.tile[0], len(image.getbands())
    if is_text(image):
        several = _ANOTHER_TEXT.search(content.getvalue(), offset)
    else:
        wide = str(args).startswith("I;16") or (isinstance(args, tuple) and args[1] > 255)
        depth = 4 if image.mode == "F" else 2 if wide else 1
        row = -(-image.width // 8) if image.mode == "1" else image.width * bands * depth
        several = _ANOTHER_PPM.match(content.getvalue(), offset + row * image.height)
    if several:
        raise MemberRefusedError("it is a PPM of several pictures, which is not supported")


def _check_alpha(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError for a BMP of 16 bits per pixel with alpha, which Pillow drops."""
    if image.format == "BMP" and image.mode == "RGB":
        # Older headers are shorter, and so may be the file.
        header = content.getvalue()[14:70].ljust(56, b"\0")
        size, bits, compression = struct.unpack_from("<I10xHI", header)
        if size >= _WITH_ALPHA_MASK and bits == 16 and compression == _BITFIELDS and any(header[52:]):
            raise MemberRefusedError("its alpha of a few bits cannot be read without loss")


def _check_depth(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError for values of more than 8 bits that Pillow reduces to 8."""
    bits, colour = 8, len(image.getbands()) > 1
    if image.format == "AVIF":
        bits = avif_bits(content.getvalue())
    elif image.format == "JPEG2000" and colour:
        bits = max(bits for bits, _ in jpeg2000_depths(content.getvalue()))
    elif image.format == "PNG" and colour and getattr(image, "n_frames", 1) > 1 and ";16" in raw_mode(image):
        bits = 16
    if bits > 8:
        form = "animated PNG" if image.format == "PNG" else image.format
        raise MemberRefusedError(
            f"its values of {bits} bits cannot be read from {form} without loss: send them as TIFF or single PNGs"
        )


def _may_lack_rows(image: ImageFile) -> bool:
    """Return whether the last row that a PNG stores, once decoded, looks as if it were missing."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return "interlace" in image.info or not np.asarray(last).any()


def _check_pixels(image: ImageFile, pixels: int, limits: Limits) -> int:
    """Return the weighted pixels of a frame. Raises MemberRefusedError if the frame or the file has too many."""
    counted = weight(image)
    if image.width * image.height * counted > limits.pixels:
        times = "" if counted == 1 else f", each counted {counted} times because of the memory or time it takes"
        raise MemberRefusedError(
            f"a frame has {image.width} x {image.height} pixels{times}, but LIMIT_PIXELS allows {limits.pixels}"
        )
    if pixels > limits.member_pixels:
        raise MemberRefusedError(f"its frames have more pixels than LIMIT_MEMBER_PIXELS={limits.member_pixels}")
    return image.width * image.height * counted


def _frame(
    image: ImageFile,
    number: int,
    jpeg: memoryview | None,
    shrink: Shrink,
    admit: Admit,
    again: Callable[[], ImageFile],
) -> Frame:
    scale = 1.0
    if jpeg is not None:
        exif = _exif(image)
        size = _upright(image.size, exif)
        scale = shrink(size)
        decoded = math.ceil(image.width * scale), math.ceil(image.height * scale)
        admit(math.prod(decoded) * BYTES_A_PIXEL)
        planes = _jpeg_planes(image, jpeg, decoded if scale < 1 else (0, 0), again)
    else:
        admit(image.width * image.height * weight(image) * BYTES_A_PIXEL)
        # EXIF is read after decoding: reading it may decode the picture, and Pillow rotates a TIFF itself then.
        planes = load(image, again)
        exif = _exif(image)
        size = _upright(image.size, exif)
    orientation = exif.get(Base.Orientation, 1)
    turn = _TURNED.get(orientation)
    planes = planes if turn is None else planes.map(lambda plane: plane.transpose(turn))
    spare = planes.size[0] - size[0] * scale, planes.size[1] - size[1] * scale
    return Frame(
        number=number,
        format="JPEG" if image.format == "MPO" else image.format or "",
        planes=planes,
        size=size,
        scale=scale,
        origin=(spare[0] * (orientation in _LEFT), spare[1] * (orientation in _UP)),
        captured_at=_captured_at(exif),
    )


def _jpeg_planes(image: ImageFile, jpeg: memoryview, least: Size, again: Callable[[], ImageFile]) -> Planes:
    decoded = decode_jpeg(jpeg, image.mode, least)
    if decoded is None:
        image.draft(None, least if any(least) else image.size)
        # Read at once: with Pillow's blocks of 64 KiB, decoding threads would wait for the GIL before each block.
        image.decodermaxblock = -1
        return load(image, again)
    return Planes((eight_bits(decoded),), np.dtype(np.uint8))


def _upright(size: Size, exif: Pillow.Exif) -> Size:
    return size[::-1] if exif.get(Base.Orientation, 1) in (5, 6, 7, 8) else size


def _exif(image: ImageFile) -> Pillow.Exif:
    """Return EXIF metadata; empty if it is broken, because the picture may still be intact."""
    try:
        exif = image.getexif()
        exif.get_ifd(IFD.Exif)
    except _BROKEN as exc:
        warnings.warn(f"its EXIF metadata cannot be read: {exc}", stacklevel=1)
        return Pillow.Exif()
    return exif


def _captured_at(exif: Pillow.Exif) -> datetime | None:
    metadata = exif.get_ifd(IFD.Exif)
    taken, offset, fraction = (
        str(metadata.get(tag, "")).strip("\0 ")
        for tag in (Base.DateTimeOriginal, Base.OffsetTimeOriginal, Base.SubsecTimeOriginal)
    )
    try:
        at = datetime.strptime(taken, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 # cameras seldom know their zone
        if fraction.isdecimal():
            at = at.replace(microsecond=int(fraction[:6].ljust(6, "0")))
        zone = datetime.strptime(offset, "%z").tzinfo if offset else None
    except ValueError:
        return None
    return at if zone is None else at.replace(tzinfo=zone).astimezone(UTC)
