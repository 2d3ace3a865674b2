"""Makes the images of one member of an archive."""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from imagefeed.errors import MemberRefusedError, PipelineError
from imagefeed.model import ImageMetadata, Pixels, RawArchive
from preprocess.hook_errors import hook_failed, name_of
from preprocess.image.decode import Frame, frames
from preprocess.image.formats import METHODS, is_harmless, is_image, is_packed, unpacked_name, unread
from preprocess.image.transform import shrink, transform
from preprocess.model import Hook, Image, Limits, Recipe
from preprocess.zip.directory import Member
from preprocess.zip.reader import HEAD, MemberReader


class TooLargeError(Exception):
    """A member takes more memory than its budget."""


class MemoryBudget:
    """Bytes of memory that one member may take for its decoded frames and the images made of them."""

    def __init__(self, limit: float = math.inf) -> None:
        self._left = limit

    def take(self, count: int) -> None:
        """Take `count` bytes. Raises TooLargeError if fewer are left."""
        self._left -= count
        if self._left < 0:
            raise TooLargeError


class ImageMaker:
    """Makes the images of one batch's members."""

    def __init__(self, archive: RawArchive, recipe: Recipe, hook: Hook | None, limits: Limits) -> None:
        self._archive = archive
        self._recipe = recipe
        self._hook = hook
        self._limits = limits
        self.pixels = 0
        """Pixels of all frames so far."""

    def content(self, reader: MemberReader, member: Member) -> io.BytesIO | None:
        """Return an image's bytes; None if the member is harmless. Raises MemberRefusedError for all other members."""
        content = reader.read(member, lambda head: is_packed(member.name, head) or _is_read(member.name, member, head))
        name = unpacked_name(member.name)
        if content is None or name is None or not is_packed(member.name, content.getbuffer()[:HEAD].tobytes()):
            return content
        return reader.unpack(content, member, lambda head: _is_read(name, member, head))

    def decode(self, content: io.BytesIO, member: Member, memory: MemoryBudget) -> Iterator[Image]:
        """Yield an image per frame, before the hook. Safe in any thread. Raises MemberRefusedError, TooLargeError."""
        for frame in frames(content, member.name, self._limits, partial(shrink, recipe=self._recipe), memory.take):
            pixels = transform(frame, self._recipe)
            memory.take(pixels.nbytes)
            width, height = frame.size
            metadata = self._metadata(member, frame)
            yield Image(metadata=metadata, pixels=pixels, source_pixels=width * height, near=frame.near)

    def finish(self, images: Iterable[Image]) -> Iterator[Image]:
        """Count a member's images, and yield what the hook makes of them; it may drop some.

        Must be called for one member after the other. Raises MemberRefusedError.
        """
        for image in images:
            self._count(image.source_pixels)
            pixels = self._hooked(image.pixels, image.metadata)
            if pixels is not None:
                yield replace(image, pixels=pixels)

    def _count(self, pixels: int) -> None:
        self.pixels += pixels
        if self.pixels > self._limits.batch_pixels:
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
            method=METHODS.get(frame.format, 1),
        )

    def _hooked(self, pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
        if self._hook is None:
            return pixels
        # Pillow's arrays are read-only, but a hook may work in place.
        try:
            output: object = self._hook(pixels if pixels.flags.writeable else pixels.copy(), metadata)
        except (PipelineError, MemoryError):
            raise
        except Exception as exc:
            raise hook_failed(self._hook, exc) from exc
        if output is None:
            return None
        if not isinstance(output, np.ndarray):
            kind = type(output).__name__
            raise MemberRefusedError(f"{name_of(self._hook)} returned {kind}: it must return an array or None")
        if output.dtype.kind not in "biufc" or output.ndim == 0:
            raise MemberRefusedError(
                f"{name_of(self._hook)} returned an array of {output.dtype}: it must return an array of numbers"
            )
        return output


def _is_read(name: str, member: Member, head: bytes) -> bool:
    """Return whether to decode a file; False if it is harmless. Raises UnreadFormatError if it is neither."""
    if is_image(name, head):
        return True
    if is_harmless(name, member.size, head):
        return False
    raise unread(member.name, head)
