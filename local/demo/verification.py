"""Verify that storage holds every byte and image that was put on the servers, each exactly once."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from local.demo.traffic import Arrival, Drop
from local.samples import ColourGrid, Picture, Sample

TOLERANCE = 4.0
"""Largest mean colour difference, of 255, from lossy formats; two crops of one dark photograph differ by 6."""

type Key = tuple[str, str]
"""Source and version of an archive."""
type Place = tuple[int, int]
"""Member and frame of an image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptImage:
    """An image that was read back from its rows."""

    member: int
    frame: int
    shape: tuple[int, ...]
    colours: ColourGrid | None
    """None if the shape is not a square of three channels that a colour grid needs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """All that storage holds of one archive, read back."""

    blobs: Sequence[tuple[int, str]]
    """Size and SHA-256 of each raw blob; there must be exactly one."""
    images: Sequence[KeptImage]
    refused: Sequence[int]
    counted: tuple[int, int, int]
    """Images, refused members and skipped members, from the ledger."""
    rows: Sequence[str]
    """Row keys from all partitions of the archive; a key that occurs twice is a row that was written twice."""
    sharded: Sequence[Place]
    """Images in the shards."""


NOTHING = Kept(blobs=(), images=(), refused=(), counted=(0, 0, 0), rows=(), sharded=())


def verify(planned: Sequence[Drop], arrivals: Sequence[Arrival], kept: Mapping[Key, Kept]) -> list[str]:
    """Return a line for each problem; none if storage is complete and correct."""
    arrived = {arrival.drop for arrival in arrivals}
    problems = [f"{drop.source} {drop.name}: never put on the server" for drop in planned if drop not in arrived]
    for arrival in arrivals:
        key = (arrival.drop.source, arrival.version)
        name = f"{arrival.drop.source} {arrival.drop.name}"
        problems += [f"{name}: {problem}" for problem in _archive(arrival.drop.sample, kept.get(key, NOTHING))]
    strangers = kept.keys() - {(arrival.drop.source, arrival.version) for arrival in arrivals}
    problems += [f"{source} {version}: in storage, but never put on the server" for source, version in strangers]
    return problems


def _archive(sample: Sample, kept: Kept) -> Iterator[str]:
    yield from _blob(sample, kept)
    wanted = {(picture.member, picture.frame): picture for picture in sample.pictures}
    kept_images = {(image.member, image.frame): image for image in kept.images}
    for where, places in (("rows", [*_places(kept.images)]), ("shards", kept.sharded)):
        yield from _once(places, wanted, where)
    for row, times in _repeated(kept.rows):
        yield f"row {row} is there {times} times"
    for place in sorted(wanted.keys() & kept_images.keys()):
        yield from _image(wanted[place], kept_images[place], (sample.side, sample.side, 3))
    if sorted(kept.refused) != sorted(sample.refused):
        yield f"members refused: {sorted(kept.refused)}, not {sorted(sample.refused)}"
    counts = (len(sample.pictures), len(sample.refused), sample.skipped)
    if kept.counted != counts:
        yield "the ledger counts {} images, {} refused and {} skipped members, not {}, {} and {}".format(
            *kept.counted, *counts
        )


def _blob(sample: Sample, kept: Kept) -> Iterator[str]:
    if len(kept.blobs) != 1:
        yield f"{len(kept.blobs) or 'no'} raw blobs, not 1"
    for size, sha256 in kept.blobs:
        if size != sample.size:
            yield f"the raw blob has {size} bytes, not {sample.size}"
        elif sha256 != sample.sha256:
            yield f"the raw blob's SHA-256 is {sha256}, not {sample.sha256}"


def _once(places: Sequence[Place], wanted: Mapping[Place, Picture], where: str) -> Iterator[str]:
    if not places and len(wanted) > 1:
        yield f"none of the {len(wanted)} images is in the {where}"
        return
    for member, frame in sorted(wanted.keys() - set(places)):
        yield f"{wanted[member, frame].name}, frame {frame}, is missing from the {where}"
    for member, frame in sorted(set(places) - wanted.keys()):
        yield f"member {member}, frame {frame}, is in the {where} and should not be"
    for (member, frame), times in _repeated(places):
        yield f"member {member}, frame {frame}, is in the {where} {times} times"


def _image(picture: Picture, image: KeptImage, shape: tuple[int, ...]) -> Iterator[str]:
    if image.shape != shape or image.colours is None:
        yield f"{picture.name}, frame {picture.frame}, has the shape {image.shape}, not {shape}"
        return
    difference = float(np.abs(image.colours.astype(int) - picture.colours).mean())
    if difference > TOLERANCE:
        yield f"{picture.name}, frame {picture.frame}, looks different: by {difference:.0f} of 255"


def _places(images: Iterable[KeptImage]) -> Iterator[Place]:
    return ((image.member, image.frame) for image in images)


def _repeated[T: Hashable](things: Iterable[T]) -> Iterator[tuple[T, int]]:
    return ((thing, times) for thing, times in Counter(things).items() if times > 1)
