"""Each member is an image, a refusal with its reason, or a known harmless kind."""

import gzip
import lzma
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagefeed.model import State
from preprocess.handlers import handle_archive_created
from preprocess.image.formats import SKIPPED
from preprocess.model import Limits
from tests.unit.preprocess.kinds import CASES, FITS, HDF5, JPEG, PNG, Case
from tests.unit.preprocess.test_child import Isolated
from tests.unit.preprocess.test_handlers import World
from tests.unit.preprocess.zips import zipped

MIB = 2**20


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("decode_workers", [1, 3])
def test_every_member_is_counted_as_what_it_is(case: Case, decode_workers: int) -> None:
    world = World()
    archive = world.raw.add(case.content)
    handle_archive_created(archive.blob, world.process(decode_workers=decode_workers))
    sums = world.sums(archive)
    assert world.ledger.end(archive) == case.state
    assert (sums.images, sums.refused_kinds, sums.skipped) == (case.images, case.refused, case.skipped)
    assert sums.images + sums.refused + sum(sums.skipped.values()) == sums.members == case.members
    assert len(world.results.refusals(archive)) == sums.refused


@pytest.mark.parametrize("case", [case for case in CASES.values() if not case.images])
def test_an_archive_without_an_image_is_never_processed_and_says_why(case: Case) -> None:
    world = World()
    archive = world.raw.add(case.content)
    handle_archive_created(archive.blob, world.process())
    assert world.ledger.end(archive) != State.PROCESSED
    assert all(f"{number} {kind}" in world.reason(archive) for kind, number in case.refused.items())


MEMBERS = {
    "a.jpg": JPEG, "b.png": PNG, "c": PNG, "broken.jpg": JPEG[:99], "d.h5": HDF5, "e.fits": FITS, "f": HDF5,
    "g.jpg.gz": gzip.compress(JPEG), "h.fits.gz": gzip.compress(FITS), "readme.txt": b"notes", "LICENSE": b"MIT",
    "folder/": b"", "__MACOSX/._a.jpg": b"\0\5\x16\7", ".hidden": b"", "Thumbs.db": b"\xd0\xcf", "data.txt": HDF5,
    "inner.zip": zipped(("a.jpg", JPEG)), "empty.png": b"", "flag.done": b"",
}  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(MEMBERS)), max_size=12, unique=True))
def test_images_refused_and_skipped_members_add_up(names: list[str]) -> None:
    world = World()
    archive = world.raw.add(zipped(*((name, MEMBERS[name]) for name in names)))
    handle_archive_created(archive.blob, world.process())
    sums = world.sums(archive)
    assert sums.images + sums.refused + sum(sums.skipped.values()) == sums.members == len(names)
    assert sum(sums.refused_kinds.values()) == sums.refused
    assert {*sums.skipped} <= {*SKIPPED}
    expected = State.PROCESSED if sums.images else State.REFUSED if sums.refused else State.EMPTY
    assert world.ledger.end(archive) == expected


def test_the_reason_of_a_refused_archive_counts_its_members_by_kind_and_quotes_the_commonest() -> None:
    world = World()
    archive = world.raw.add(zipped(*((f"{n}.h5", HDF5) for n in range(12)), ("a.jpg", JPEG[:99]), ("a.txt", b"")))
    handle_archive_created(archive.blob, world.process())
    assert world.reason(archive).startswith(
        r"none of its 14 members gave an image (12 .h5, 1 .jpg, 1 skipped): no format that is read: suffix .h5, begins "
    )


def test_an_image_that_is_packed_is_the_same_as_unpacked() -> None:
    world = World()
    plain = world.raw.add(zipped(("a.jpg", JPEG)))
    packed = world.raw.add(zipped(("a.jpg.gz", gzip.compress(JPEG))), version="0000000b")
    for archive in (plain, packed):
        handle_archive_created(archive.blob, world.process())
    np.testing.assert_array_equal(world.results.of(plain)[0].pixels, world.results.of(packed)[0].pixels)


def test_a_packed_image_is_decoded_in_a_child_too() -> None:
    world = Isolated()
    archive = world.decode(zipped(("a.jpg.gz", gzip.compress(JPEG)), ("a.h5", HDF5), ("a.txt", b"")))
    sums = world.sums(archive)
    assert (sums.images, sums.refused_kinds, sums.skipped) == (1, {".h5": 1}, {"text": 1})


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(member_bytes=4 * MIB), "LIMIT_MEMBER_BYTES=4194304"),
        (Limits(batch_bytes=4 * MIB), "LIMIT_BATCH_BYTES=4194304"),
        (Limits(ratio=100), "LIMIT_RATIO=100"),
    ],
)
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_bomb_within_a_packed_image_is_refused_by_its_limit_in_flat_memory(
    limits: Limits, named: str, compress: object
) -> None:
    bomb = zipped(("a.jpg.gz" if compress is gzip.compress else "a.jpg.xz", compress(JPEG + bytes(40 * MIB))))  # type: ignore[operator]
    world = World()
    archive = world.raw.add(bomb)
    tracemalloc.start()
    handle_archive_created(archive.blob, world.process(limits=limits))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert named in world.results.refusals(archive)[0].reason
    assert most < 20 * MIB
