"""Decodes a file's bytes to frames: allowed formats only, with limits before decoding, and values as stored."""

import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import count
from typing import Any

from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from PIL.ImageFile import ImageFile

from config.near import nearly
from imagefeed.errors import MemberRefusedError
from preprocess.image.formats import METHODS, printable
from preprocess.image.planes import Planes, is_text, load, tiff_tag, weight
from preprocess.image.probes import count_scans, ends_in_zeros
from preprocess.member_log import member_log
from preprocess.model import Limits

# LIMIT_PIXELS is checked for each frame instead. Pillow would also warn from half of its limit on.
Pillow.MAX_IMAGE_PIXELS = None
# Blocks of 16 MiB that Pillow keeps for the next image: allocating them anew each time takes a tenth of the time.
Pillow.core.set_blocks_max(4)  # type: ignore[attr-defined] # documented, but not told to type checkers

FORMATS = tuple(METHODS)
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)
"""Errors that Pillow's readers raise for broken files."""
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
_NOT_A_PAGE = 0b101
"""Bits of TIFF's NewSubfileType: a smaller copy of another page, or its mask."""

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
            image = opened.enter_context(_opened(content))
            _check_end(content, image)
            scanned = _check_scans(content, image, limits)
            _check_comments(content, image)
        # Opened once, if needed, and moved from page to page: a newly opened file would read all earlier pages again.
        second = cache(lambda: opened.enter_context(_opened(content)))
        pixels = 0
        for number in count():
            with _pillow(name):
                if not _turn_to(image, number):
                    return
                if number >= limits.frames:
                    raise MemberRefusedError(f"it has more frames than LIMIT_FRAMES={limits.frames}")
                if number and _is_no_page(image):
                    continue
                pixels += image.width * image.height
                near = nearly(
                    {
                        "LIMIT_FRAMES": (number + 1) / limits.frames,
                        "LIMIT_PIXELS": _check_pixels(image, pixels, limits) / limits.pixels,
                        "LIMIT_MEMBER_PIXELS": max(pixels, scanned) / limits.member_pixels,
                    }
                )
                frame = _frame(image, number, shrink, admit, partial(_turned, second, number))
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
    return Pillow.open(_Pieces(content.getvalue()), formats=FORMATS)


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

        warnings.filterwarnings("always", module=r"PIL\.|preprocess\.decode")
        warnings.showwarning = show
        yield


@contextmanager
def _pillow(name: str) -> Iterator[None]:
    """Re-raise Pillow's errors as MemberRefusedError, and log its warnings."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield
    except UnidentifiedImageError as exc:
        raise MemberRefusedError(f"it is no image of an accepted format ({', '.join(FORMATS)})") from exc
    except _BROKEN as exc:
        raise MemberRefusedError(f"it cannot be decoded: {exc}") from exc
    finally:
        _heard.reset(before)
    for warning in heard:
        member_log.warning("image.warning member=%s warning=%s", printable(name), printable(warning))


def _check_end(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError if the end of a file is missing and Pillow does not notice.

    Pillow needs neither PNG's last chunk nor GIF's last byte, and decodes the zeros of a cut AVIF as grey.
    """
    # Not getbuffer(), which would copy the bytes that `_opened` shares.
    end = content.getvalue()[-4096:]
    whole_png = image.format != "PNG" or b"IEND\xaeB`\x82" in end
    whole_gif = image.format != "GIF" or end.rstrip(b"\0\r\n").endswith(b";")
    # WebP is not checked: a complete one may end in zeros, if it is of one colour.
    whole_avif = image.format != "AVIF" or not ends_in_zeros(content.getvalue())
    if not (whole_png and whole_gif and whole_avif):
        raise MemberRefusedError(f"it is cut off: its end is not that of a {image.format} file")


def _turn_to(image: ImageFile, number: int) -> bool:
    """Move to a frame. Return False if it does not exist."""
    # Cameras append previews and depth maps to the picture. Pillow calls such a JPEG an MPO.
    if number and image.format == "MPO":
        return False
    try:
        image.seek(number)
    except EOFError:
        return False
    except SyntaxError:
        # Pillow cannot read masks, which are skipped anyway.
        if not _is_no_page(image):
            raise
    return True


def _is_no_page(image: ImageFile) -> bool:
    kind = tiff_tag(image, Base.NewSubfileType)
    return isinstance(kind, int) and bool(kind & _NOT_A_PAGE)


def _check_scans(content: io.BytesIO, image: ImageFile, limits: Limits) -> int:
    """Return the pixels of all scans of a JPEG together. Raises MemberRefusedError if they are too many."""
    if image.format not in ("JPEG", "MPO"):
        return 0
    scans = count_scans(content.getvalue())
    if scans * image.width * image.height > limits.member_pixels:
        raise MemberRefusedError(
            f"it draws {image.width} x {image.height} in {scans} scans, more than "
            f"LIMIT_MEMBER_PIXELS={limits.member_pixels} allows together"
        )
    return scans * image.width * image.height


def _check_comments(content: io.BytesIO, image: ImageFile) -> None:
    """Raise MemberRefusedError for a PPM full of comments: Pillow removes them one by one, 7 s per megabyte."""
    if is_text(image) and content.getvalue().count(b"#") > _MOST_COMMENTS:
        raise MemberRefusedError("it is made of too many comments: no encoder writes so many")


def _check_pixels(image: ImageFile, pixels: int, limits: Limits) -> int:
    """Return the weighted pixels of a frame. Raises MemberRefusedError if the frame or the file has too many."""
    counted = weight(image)
    if image.width * image.height * counted > limits.pixels:
        times = "" if counted == 1 else f", and counts {counted} times for what it takes"
        raise MemberRefusedError(
            f"a frame is {image.width} x {image.height}{times}, LIMIT_PIXELS allows {limits.pixels}"
        )
    if pixels > limits.member_pixels:
        raise MemberRefusedError(f"its frames have more pixels than LIMIT_MEMBER_PIXELS={limits.member_pixels}")
    return image.width * image.height * counted


def _frame(image: ImageFile, number: int, shrink: Shrink, admit: Admit, again: Callable[[], ImageFile]) -> Frame:
    if image.format in ("JPEG", "MPO"):
        exif = _exif(image)
        size = _upright(image.size, exif)
        scale = shrink(size)
        image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        # Read at once: with Pillow's blocks of 64 KiB, decoding threads would wait for the GIL before each block.
        image.decodermaxblock = -1
        admit(image.width * image.height * BYTES_A_PIXEL)
        planes = load(image, again)
    else:
        admit(image.width * image.height * weight(image) * BYTES_A_PIXEL)
        # EXIF is read after decoding: reading it may decode the picture, and Pillow rotates a TIFF itself then.
        planes = load(image, again)
        exif = _exif(image)
        size = _upright(image.size, exif)
    turn = _TURNED.get(exif.get(Base.Orientation, 1))
    return Frame(
        number=number,
        format="JPEG" if image.format == "MPO" else image.format or "",
        planes=planes if turn is None else planes.map(lambda plane: plane.transpose(turn)),
        size=size,
        captured_at=_captured_at(exif),
    )


def _upright(size: Size, exif: Pillow.Exif) -> Size:
    return size[::-1] if exif.get(Base.Orientation, 1) in (5, 6, 7, 8) else size


def _exif(image: ImageFile) -> Pillow.Exif:
    """Return EXIF metadata; empty if it is broken, because the picture may still be intact."""
    try:
        exif = image.getexif()
        exif.get_ifd(IFD.Exif)
    except _BROKEN as exc:
        warnings.warn(f"its EXIF facts cannot be read: {exc}", stacklevel=1)
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
