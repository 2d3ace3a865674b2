"""Limits are noticed in advance: values near a limit are noted with their batch, and no others."""

import zipfile
from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from preprocess.handlers import handle_archive_created
from preprocess.image.formats import METHODS
from preprocess.model import BatchSizes, Limits
from preprocess.notes import BATCH_TIME
from preprocess.run_batch import run_batch
from tests.unit.preprocess.pictures import encoded, noise
from tests.unit.preprocess.test_handlers import World, pictures
from tests.unit.preprocess.zips import zipped

ONE = len(pictures(1))


def near(world: World, content: bytes, limits: Limits, **changes: object) -> Mapping[str, float]:
    archive = world.raw.add(content)
    handle_archive_created(archive.blob, world.process(limits=limits, **changes))
    (state,) = world.ledger.plan(archive, "p-test") or ()
    return state.notes.near


@pytest.fixture
def world() -> World:
    return World()


# Of three JPEGs of 40 x 60 pixels.
@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(archive_members=3), "LIMIT_ARCHIVE_MEMBERS"),
        (Limits(pixels=2_500), "LIMIT_PIXELS"),
        (Limits(frames=1), "LIMIT_FRAMES"),
        (Limits(member_pixels=2_900), "LIMIT_MEMBER_PIXELS"),
        (Limits(batch_pixels=8_000), "LIMIT_BATCH_PIXELS"),
    ],
)
def test_what_comes_near_a_limit_is_noted_with_its_batch(world: World, limits: Limits, name: str) -> None:
    shares = near(world, pictures(3), limits)
    assert set(shares) == {name}
    assert 0.8 <= shares[name] <= 1


def test_nothing_is_noted_far_from_all_limits(world: World) -> None:
    assert near(world, pictures(3), Limits(archive_members=4)) == {}


def test_inflated_bytes_of_a_member_and_of_a_batch_are_noted(world: World) -> None:
    picture = encoded(noise(40, 60), "BMP")
    content = zipped(("a.bmp", picture), ("b.bmp", picture))
    assert set(near(world, content, Limits(member_bytes=int(len(picture) * 1.1)))) == {"LIMIT_MEMBER_BYTES"}
    assert set(near(World(), content, Limits(batch_bytes=int(len(picture) * 2.2)))) == {"LIMIT_BATCH_BYTES"}


def test_a_ratio_is_noted_from_a_mebibyte_on(world: World) -> None:
    content = zipped(("a.bmp", encoded(np.zeros((700, 700, 3), np.uint8), "BMP")), method=zipfile.ZIP_DEFLATED)
    shares = near(world, content, Limits(ratio=1_032))
    assert set(shares) == {"LIMIT_RATIO"}


def test_deflate_is_never_near_a_ratio_that_it_cannot_reach(world: World) -> None:
    picture = encoded(np.zeros((700, 700, 3), np.uint8), "BMP")
    assert near(world, zipped(("a.bmp", picture), method=zipfile.ZIP_DEFLATED), Limits()) == {}


def test_a_batch_that_takes_nearly_all_of_its_time_is_noted_and_one_of_a_single_member_is_not(world: World) -> None:
    times = iter(range(1_000))
    for members, noted in ((2, {BATCH_TIME}), (1, set())):
        archive = world.raw.add(pictures(members), version=f"0000000{members}")
        ctx = world.process(sizes=BatchSizes(inline_bytes=0))
        handle_archive_created(archive.blob, ctx)
        (state,) = world.ledger.plan(archive, "p-test") or ()
        slow = world.process(clock=lambda: world.now + timedelta(minutes=2.8) * next(times))
        run_batch(state.batch, slow)
        (state,) = world.ledger.plan(archive, "p-test") or ()
        assert state.done_at is not None
        assert set(state.notes.near) == noted


def test_the_formats_and_decoders_of_an_archives_images_are_counted_with_it(world: World) -> None:
    content = zipped(
        ("a.png", encoded(noise(4, 4), "PNG")), ("b.gif", b"GIF89a broken"), ("c.jpg", encoded(noise(8, 8), "JPEG"))
    )
    archive = world.raw.add(content)
    handle_archive_created(archive.blob, world.process())
    assert world.sums(archive).methods == {"JPEG": METHODS["JPEG"], "PNG": METHODS["PNG"]}
