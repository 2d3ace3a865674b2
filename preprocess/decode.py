"""From a file's bytes to frames: an allow-list of formats, limits before decoding, and values as they were stored."""

import io
import logging
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from PIL.ImageFile import ImageFile

from errors import MemberRefusedError
from preprocess.kinds import printable
from preprocess.model import Limits
from preprocess.planes import Planes, load

log = logging.getLogger(__name__)

# Ours is judged per frame, by a setting; Pillow's would warn from half of its own limit on.
Pillow.MAX_IMAGE_PIXELS = None

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
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
_NOT_A_PAGE = 0b101
"""TIFF's NewSubfileType: a smaller copy of another page, or its mask."""

type Size = tuple[int, int]
type Shrink = Callable[[Size], float]
"""Given a picture's size, the scale at which it may be decoded: 1, or less where all detail is not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded picture, upright."""

    number: int
    format: str
    planes: Planes
    size: Size
    """Before any shrinking."""
    captured_at: datetime | None


def frames(content: io.BytesIO, name: str, limits: Limits, shrink: Shrink) -> Iterator[Frame]:
    """Decode every picture of a file. Raises MemberRefusedError."""
    with _pillow(name):
        image = Pillow.open(content, formats=FORMATS)
    with image:
        with _pillow(name):
            # Pillow's n_frames reads on through the file, so the first frame is judged before.
            _check_pixels(image, 0, limits)
            _check_end(content, image)
            numbers = _numbers(image, limits)
        pixels = 0
        for number in numbers:
            with _pillow(name):
                if number:
                    image.seek(number)
                if number and _is_no_page(image):
                    continue
                pixels += image.width * image.height
                _check_pixels(image, pixels, limits)
                frame = _frame(image, number, shrink, partial(_opened, content, number))
            yield frame


@contextmanager
def _pillow(name: str) -> Iterator[None]:
    """Re-raise what Pillow says of broken files as ours, and log its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except UnidentifiedImageError as exc:
            raise MemberRefusedError(f"it is no image of an accepted format ({', '.join(FORMATS)})") from exc
        except _BROKEN as exc:
            raise MemberRefusedError(f"it cannot be decoded: {exc}") from exc
    for warning in caught:
        log.warning("image.warning member=%s warning=%s", printable(name), printable(str(warning.message)))


def _check_end(content: io.BytesIO, image: ImageFile) -> None:
    """Refuse files that were cut where Pillow does not look: it needs neither PNG's last chunk nor GIF's last byte."""
    with content.getbuffer() as whole:
        end = bytes(whole[-4096:])
    whole_png = image.format != "PNG" or b"IEND\xaeB`\x82" in end
    whole_gif = image.format != "GIF" or end.rstrip(b"\0\r\n").endswith(b";")
    if not (whole_png and whole_gif):
        raise MemberRefusedError(f"it is cut off: its end is not that of a {image.format} file")


def _numbers(image: ImageFile, limits: Limits) -> range:
    # Cameras put previews and depth maps behind the picture; Pillow calls such a JPEG an MPO.
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count > limits.frames:
        raise MemberRefusedError(f"it has {count} frames, LIMIT_FRAMES allows {limits.frames}")
    return range(count)


def _is_no_page(image: ImageFile) -> bool:
    return image.format == "TIFF" and bool(image.tag_v2.get(Base.NewSubfileType, 0) & _NOT_A_PAGE)  # type: ignore[attr-defined] # only a TIFF has it


def _check_pixels(image: ImageFile, together: int, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise MemberRefusedError(f"a frame is {image.width} x {image.height}, LIMIT_PIXELS allows {limits.pixels}")
    if together > limits.member_pixels:
        raise MemberRefusedError(f"its frames have more pixels than LIMIT_MEMBER_PIXELS={limits.member_pixels}")


def _opened(content: io.BytesIO, number: int) -> ImageFile:
    image = Pillow.open(io.BytesIO(content.getbuffer()), formats=FORMATS)
    image.seek(number)
    return image


def _frame(image: ImageFile, number: int, shrink: Shrink, again: Callable[[], ImageFile]) -> Frame:
    exif = _exif(image)
    # Pillow turns a TIFF itself when it loads it.
    turn = None if image.format == "TIFF" else _TURNED.get(exif.get(Base.Orientation, 1))
    size = image.size
    if exif.get(Base.Orientation, 1) >= 5 and turn is not None:
        size = image.height, image.width
    if image.format in ("JPEG", "MPO"):
        scale = shrink(size)
        image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    planes = load(image, again)
    return Frame(
        number=number,
        format="JPEG" if image.format == "MPO" else image.format or "",
        planes=planes if turn is None else planes.map(lambda plane: plane.transpose(turn)),
        size=size,
        captured_at=_captured_at(exif),
    )


def _exif(image: ImageFile) -> Pillow.Exif:
    """EXIF facts; none where they are broken, for the picture may be sound."""
    try:
        exif = image.getexif()
        exif.get_ifd(IFD.Exif)
    except _BROKEN as exc:
        warnings.warn(f"its EXIF facts cannot be read: {exc}", stacklevel=2)
        return Pillow.Exif()
    return exif


def _captured_at(exif: Pillow.Exif) -> datetime | None:
    facts = exif.get_ifd(IFD.Exif)
    taken, offset, fraction = (
        str(facts.get(tag, "")).strip("\0 ")
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
