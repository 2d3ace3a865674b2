"""Builds a small zip of pictures that an app's settings accept, with the expected results."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import product

from PIL import Image

from imagefeed.codec import encode
from imagefeed.errors import MemberRefusedError
from imagefeed.layout import SMOKE
from imagefeed.model import Pixels, RawArchive
from preprocess.image.maker import ImageMaker, MemoryBudget
from preprocess.model import Limits, Recipe
from preprocess.zip.directory import Member
from preprocess.zip.reader import Archive

_PICTURES = 3
_SIDES = (16, 1)
_MODES = ("RGB", "L", "RGBA", "LA")
"""The channels of PREPROCESS_MEAN and _STD decide which of these modes are accepted."""
_OPAQUE = 255

type Outcome = Pixels | str
"""Expected image, or the reason for which the member must be refused."""


@dataclass(frozen=True, slots=True)
class SmokeArchive:
    """A zip and the expected outcome of each member without a hook."""

    content: bytes
    outcomes: Sequence[Outcome]

    @property
    def images(self) -> int:
        """Return how many images the archive must yield."""
        return sum(not isinstance(outcome, str) for outcome in self.outcomes)


def make(recipe: Recipe, limits: Limits) -> SmokeArchive:
    """Return the first archive with pictures that these settings accept; else one whose members are all refused.

    Each picture has one colour, so that every library version resizes it to the same pixels.
    """
    samples = (_build(recipe, limits, side, mode) for side, mode in product(_SIDES, _MODES))
    first = next(samples)
    return first if first.images else next((sample for sample in samples if sample.images), first)


def _build(recipe: Recipe, limits: Limits, side: int, mode: str) -> SmokeArchive:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(min(_PICTURES, limits.archive_members)):
            file.writestr(f"smoke-{number}.png", _picture(recipe, side, mode, number))
    return SmokeArchive(content.getvalue(), list(_outcomes(content.getvalue(), recipe, limits)))


def _picture(recipe: Recipe, side: int, mode: str, number: int) -> bytes:
    # The region of PREPROCESS_CROP must lie within the picture.
    left, upper = recipe.crop[:2] if recipe.crop else (0, 0)
    colour = [40 + 60 * number + 10 * channel for channel in range(len(mode))]
    if mode.endswith("A"):
        colour[-1] = _OPAQUE
    image = Image.new(mode, (left + side, upper + side), tuple(colour) if len(colour) > 1 else colour[0])
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _outcomes(content: bytes, recipe: Recipe, limits: Limits) -> Iterator[Outcome]:
    """Yield the outcome of each member, preprocessed as a batch of its own by the app's code."""
    archive = Archive(_InMemory(content), limits)
    for member in archive.members:
        try:
            yield _image(archive, member, recipe, limits)
        except MemberRefusedError as exc:
            yield str(exc)


def _image(archive: Archive, member: Member, recipe: Recipe, limits: Limits) -> Pixels:
    maker = ImageMaker(_DESCRIBED, recipe, None, limits)
    with archive.batch(member.number, member.number + 1) as reader:
        content = maker.content(reader, member)
        if content is None:
            raise MemberRefusedError("it is not recognised as a picture")
        (image,) = maker.finish(maker.decode(content, member, MemoryBudget()))
    # Raises MemberRefusedError if the codec does not support the dtype.
    encode(image.pixels, recipe.codec)
    return image.pixels


_DESCRIBED = RawArchive(
    source=SMOKE, stamp=datetime.fromtimestamp(0, UTC), version="", blob="", size=0, path="", etag=""
)


class _InMemory:
    """Bytes in memory; implements RangeReader."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def read_range(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on."""
        return self._content[offset : offset + length]
