"""From one member of an archive to its images."""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from imagefeed.errors import MemberRefusedError
from imagefeed.model import ImageMetadata, Pixels, RawArchive
from preprocess.image.decode import Frame, Size, frames
from preprocess.image.formats import is_image_content, is_image_name
from preprocess.image.transform import shrink, transform
from preprocess.model import Hook, Image, Limits, Recipe
from preprocess.zip.directory import Member
from preprocess.zip.reader import MemberReader


class TooLargeError(Exception):
    """A member takes more memory than it was given."""


class MemoryBudget:
    """Bytes of memory that one member may take: for its decoded frames, and for what is made of them."""

    def __init__(self, most: float = math.inf) -> None:
        self._left = most

    def take(self, count: int) -> None:
        """Take some of it. Raises TooLargeError."""
        self._left -= count
        if self._left < 0:
            raise TooLargeError


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame as the recipe asks for it, before the hook has seen it."""

    metadata: ImageMetadata
    pixels: Pixels
    size: Size
    """Of the frame as it was stored."""


class ImageMaker:
    """Makes images of one batch's members."""

    def __init__(self, archive: RawArchive, recipe: Recipe, hook: Hook | None, limits: Limits) -> None:
        self._archive = archive
        self._recipe = recipe
        self._hook = hook
        self._limits = limits
        self._pixels = 0

    def content(self, reader: MemberReader, member: Member) -> io.BytesIO | None:
        """Inflate a member; None if it is an image neither by name nor by content. Raises MemberRefusedError."""
        named = is_image_name(member.name)
        return reader.read(member, wanted=lambda head: named or is_image_content(head))

    def made(self, content: io.BytesIO, member: Member, room: MemoryBudget) -> Iterator[DecodedFrame]:
        """Decode and transform each frame; any thread may do so. Raises MemberRefusedError and TooLargeError."""
        for frame in frames(content, member.name, self._limits, partial(shrink, recipe=self._recipe), room.take):
            pixels = transform(frame, self._recipe)
            room.take(pixels.nbytes)
            yield DecodedFrame(self._metadata(member, frame), pixels, frame.size)

    def images(self, made: Iterable[DecodedFrame]) -> Iterator[Image]:
        """Count a member's frames, and leave out those that the hook does not want: one member after the other.

        Raises MemberRefusedError.
        """
        for frame in made:
            self._count(frame.size)
            pixels = self._hooked(frame.pixels, frame.metadata)
            if pixels is not None:
                yield Image(metadata=frame.metadata, pixels=pixels)

    def _count(self, size: Size) -> None:
        self._pixels += size[0] * size[1]
        if self._pixels > self._limits.batch_pixels:
            raise MemberRefusedError(f"its batch has more pixels than LIMIT_BATCH_PIXELS={self._limits.batch_pixels}")

    def _metadata(self, member: Member, frame: Frame) -> ImageMetadata:
        return ImageMetadata(
            source=self._archive.source,
            archive=self._archive.path,
            stamp=self._archive.stamp,
            member=member.number,
            frame=frame.number,
            name=member.name,
            format=frame.format,
            captured_at=frame.captured_at,
        )

    def _hooked(self, pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
        made: object = pixels
        if self._hook is not None:
            # Pillow's arrays are read-only; a hook may well work in place.
            made = self._hook(pixels if pixels.flags.writeable else pixels.copy(), metadata)
        if made is None:
            return None
        if not isinstance(made, np.ndarray):
            raise MemberRefusedError(f"PREPROCESS_HOOK gave {type(made).__name__}: it must give an array or None")
        if made.dtype.kind not in "biufc" or made.ndim == 0:
            raise MemberRefusedError(f"PREPROCESS_HOOK gave an array of {made.dtype}: it must give one of numbers")
        return made
