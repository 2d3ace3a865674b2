"""From one member of an archive to its images."""

import io
from collections.abc import Iterator
from functools import partial

import numpy as np

from errors import MemberRefusedError
from preprocess.archive import MemberReader
from preprocess.decode import Frame, frames
from preprocess.directory import Member
from preprocess.kinds import is_image_content, is_image_name
from preprocess.model import Hook, Image, Limits, MemberFacts, Pixels, RawArchive, Recipe
from preprocess.transform import shrink, transform


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

    def images(self, content: io.BytesIO, member: Member) -> Iterator[Image]:
        """Decode and transform each frame, but those that the hook leaves out. Raises MemberRefusedError."""
        for frame in frames(content, member.name, self._limits, partial(shrink, recipe=self._recipe)):
            self._count(frame)
            facts = self._facts(member, frame)
            pixels = self._hooked(transform(frame, self._recipe), facts)
            if pixels is not None:
                yield Image(facts=facts, pixels=pixels)

    def _count(self, frame: Frame) -> None:
        self._pixels += frame.size[0] * frame.size[1]
        if self._pixels > self._limits.batch_pixels:
            raise MemberRefusedError(f"its batch has more pixels than LIMIT_BATCH_PIXELS={self._limits.batch_pixels}")

    def _facts(self, member: Member, frame: Frame) -> MemberFacts:
        return MemberFacts(
            source=self._archive.source,
            archive=self._archive.path,
            stamp=self._archive.stamp,
            member=member.number,
            frame=frame.number,
            name=member.name,
            format=frame.format,
            captured_at=frame.captured_at,
        )

    def _hooked(self, pixels: Pixels, facts: MemberFacts) -> Pixels | None:
        made: object = pixels
        if self._hook is not None:
            # Pillow's arrays are read-only; a hook may well work in place.
            made = self._hook(pixels if pixels.flags.writeable else pixels.copy(), facts)
        if made is None:
            return None
        if not isinstance(made, np.ndarray):
            raise MemberRefusedError(f"PREPROCESS_HOOK gave {type(made).__name__}: it must give an array or None")
        if made.dtype.kind not in "biufc" or made.ndim == 0:
            raise MemberRefusedError(f"PREPROCESS_HOOK gave an array of {made.dtype}: it must give one of numbers")
        return made
