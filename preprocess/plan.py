"""How an archive is divided into batches."""

from collections.abc import Iterable, Iterator, Sequence

from imagefeed.model import RawArchive
from preprocess.model import Batch, BatchSizes


def divide(archive: RawArchive, pipeline: str, compressed: Sequence[int], sizes: BatchSizes) -> tuple[Batch, ...]:
    """Make runs of members, given each one's compressed bytes, that keep to the sizes or have a single member.

    An archive without members has one batch without members: it ends like any other, with no images.
    """
    ends = [*_ends(compressed, sizes), len(compressed)]
    return tuple(
        Batch(archive=archive, pipeline=pipeline, number=number, first=first, end=end, batches=len(ends))
        for number, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    )


def _ends(compressed: Iterable[int], sizes: BatchSizes) -> Iterator[int]:
    """Tell where each batch but the last one ends."""
    members = taken = 0
    for index, size in enumerate(compressed):
        if members and (members == sizes.members or taken + size > sizes.bytes):
            yield index
            members = taken = 0
        members += 1
        taken += size
