"""From a file's bytes to frames: an allow-list of formats, limits before decoding, and values as they were stored."""

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

# Ours is judged per frame, by a setting; Pillow's would warn from half of its own limit on.
Pillow.MAX_IMAGE_PIXELS = None
# Blocks of 16 MiB that Pillow keeps for the next picture; to ask the system for each anew takes a tenth of the time.
Pillow.core.set_blocks_max(4)  # type: ignore[attr-defined] # documented, but not told to type checkers

FORMATS = tuple(METHODS)
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)
"""What Pillow's readers raise for broken files."""
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
"""Bytes that decoding takes for each pixel of 8 bits, at most (measured); others count as several."""
_MOST_PIECES = 1_000_000
_MOST_COMMENTS = 1_000
_NOT_A_PAGE = 0b101
"""TIFF's NewSubfileType: a smaller copy of another page, or its mask."""

type Size = tuple[int, int]
type Shrink = Callable[[Size], float]
"""Given a picture's size, the scale at which it may be decoded: 1, or less where all detail is not needed."""
type Admit = Callable[[int], None]
"""Called with an upper bound (bytes) before a frame is decoded; raises to reject it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded picture, upright; its planes last until the next one is decoded."""

    number: int
    format: str
    planes: Planes
    size: Size
    """Before any shrinking."""
    captured_at: datetime | None
    near: Mapping[str, float] = field(default_factory=dict)
    """Shares of the limits that it nearly reached, by the limits' settings."""


def _admit_all(_size: int) -> None:
    return


def frames(
    content: io.BytesIO, name: str, limits: Limits, shrink: Shrink, admit: Admit = _admit_all
) -> Iterator[Frame]:
    """Decode every picture of a file, several files in as many threads. Raises MemberRefusedError."""
    with ExitStack() as opened:
        with _pillow(name):
            image = opened.enter_context(_opened(content))
            _check_end(content, image)
            scanned = _check_scans(content, image, limits)
            _check_comments(content, image)
        # Opened once, when it is first needed, and turned from page to page: to begin anew would read all before it.
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
    """A file that may be read in so many pieces. Made of millions of tiny ones, it would take hours, and all memory."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = _MOST_PIECES + len(content) // 64

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise MemberRefusedError("it is made of too many pieces: no encoder writes so many")
        return super().read(size)


def _opened(content: io.BytesIO) -> ImageFile:
    # This shares the bytes, and copies none.
    return Pillow.open(_Pieces(content.getvalue()), formats=FORMATS)


def _turned(opened: Callable[[], ImageFile], number: int) -> ImageFile:
    image = opened()
    image.seek(number)
    return image


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
"""What Pillow warns of while it is at one file."""


@contextmanager
def warnings_heard() -> Iterator[None]:
    """Let `frames` log what Pillow warns of.

    The interpreter's filters are everybody's, so only one may do this at a time, for all threads.
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
    """Re-raise what Pillow says of broken files as ours, and log its warnings."""
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
    """Refuse files that were cut where Pillow does not look.

    It needs neither PNG's last chunk nor GIF's last byte, and makes grey of an AVIF's zeros.
    """
    # Not getbuffer: it would copy what `_opened` shares.
    end = content.getvalue()[-4096:]
    whole_png = image.format != "PNG" or b"IEND\xaeB`\x82" in end
    whole_gif = image.format != "GIF" or end.rstrip(b"\0\r\n").endswith(b";")
    # A sound WebP may end in zeros, where it is of one colour.
    whole_avif = image.format != "AVIF" or not ends_in_zeros(content.getvalue())
    if not (whole_png and whole_gif and whole_avif):
        raise MemberRefusedError(f"it is cut off: its end is not that of a {image.format} file")


def _turn_to(image: ImageFile, number: int) -> bool:
    """Go to a frame; False if there is none."""
    # Cameras put previews and depth maps behind the picture; Pillow calls such a JPEG an MPO.
    if number and image.format == "MPO":
        return False
    try:
        image.seek(number)
    except EOFError:
        return False
    except SyntaxError:
        # Pillow cannot read masks, nor does anybody want to.
        if not _is_no_page(image):
            raise
    return True


def _is_no_page(image: ImageFile) -> bool:
    kind = tiff_tag(image, Base.NewSubfileType)
    return isinstance(kind, int) and bool(kind & _NOT_A_PAGE)


def _check_scans(content: io.BytesIO, image: ImageFile, limits: Limits) -> int:
    """Refuse a JPEG that draws its picture again and again; return how many pixels it draws in all its scans."""
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
    """Refuse a text that is nothing but comments: Pillow takes them out one by one, seven seconds for a megabyte."""
    if is_text(image) and content.getvalue().count(b"#") > _MOST_COMMENTS:
        raise MemberRefusedError("it is made of too many comments: no encoder writes so many")


def _check_pixels(image: ImageFile, pixels: int, limits: Limits) -> int:
    """Refuse what has too many pixels; return how many a frame counts as."""
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
        # All at once: by Pillow's blocks of 64 KiB, threads that decode would wait for Python's lock before each.
        image.decodermaxblock = -1
        admit(image.width * image.height * BYTES_A_PIXEL)
        planes = load(image, again)
    else:
        admit(image.width * image.height * weight(image) * BYTES_A_PIXEL)
        # EXIF comes later: to look for it may decode the picture, and Pillow turns a TIFF itself when it decodes it.
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
    """EXIF facts; none where they are broken, for the picture may be sound."""
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
