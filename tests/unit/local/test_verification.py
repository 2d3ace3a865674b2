"""The demo's verification names everything that is missing, wrong or stored twice."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from local.demo.traffic import Arrival, Drop
from local.demo.verification import Kept, KeptImage, verify
from local.samples import ColourGrid, Picture, Sample


def grid(value: int) -> ColourGrid:
    return np.full((32, 32, 3), value, np.uint8)


def picture(member: int, frame: int = 0) -> Picture:
    return Picture(member=member, frame=frame, name=f"IMG_{member}.jpg", colours=grid(40 * member))


SAMPLE = Sample(
    path=Path("a.zip"), size=1000, sha256="ab", pictures=(picture(0), picture(1), picture(3)), refused=(2,), skipped=1
)
ARRIVAL = Arrival(
    drop=Drop(source="north", name="a.zip", sample=SAMPLE, after=0),
    arrived=datetime(2026, 1, 1, tzinfo=UTC),
    version="v1",
)
KEY = ("north", "v1")
GOOD = Kept(
    blobs=[(1000, "ab")],
    images=[
        KeptImage(member=p.member, frame=p.frame, shape=(224, 224, 3), colours=p.colours + 2) for p in SAMPLE.pictures
    ],
    refused=[2],
    counted=(3, 1, 1),
    rows=["000000~0000~00", "000001~0000~00", "000002~refused", "000003~0000~00"],
    sharded=[(0, 0), (1, 0), (3, 0)],
)


def problems(kept: Kept) -> str:
    return "\n".join(verify([ARRIVAL.drop], [ARRIVAL], {KEY: kept}))


def test_all_that_arrived_and_nothing_else_is_well() -> None:
    assert verify([ARRIVAL.drop], [ARRIVAL], {KEY: GOOD}) == []


def test_an_archive_that_storage_does_not_know_is_named() -> None:
    (first, *_) = verify([ARRIVAL.drop], [ARRIVAL], {})

    assert first == "north a.zip: no raw blobs, not 1"


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (replace(GOOD, blobs=[]), "no raw blobs"),
        (replace(GOOD, blobs=[(1000, "ab"), (1000, "ab")]), "2 raw blobs, not 1"),
        (replace(GOOD, blobs=[(999, "ab")]), "has 999 bytes, not 1000"),
        (replace(GOOD, blobs=[(1000, "cd")]), "SHA-256 is cd, not ab"),
        (replace(GOOD, images=[]), "none of the 3 images is in the rows"),
        (replace(GOOD, images=GOOD.images[1:]), "IMG_0.jpg, frame 0, is missing from the rows"),
        (replace(GOOD, images=[*GOOD.images, GOOD.images[1]]), "member 1, frame 0, is in the rows 2 times"),
        (replace(GOOD, rows=[*GOOD.rows, GOOD.rows[0]]), "row 000000~0000~00 is there 2 times"),
        (replace(GOOD, sharded=GOOD.sharded[:2]), "IMG_3.jpg, frame 0, is missing from the shards"),
        (replace(GOOD, sharded=[*GOOD.sharded, (0, 0)]), "member 0, frame 0, is in the shards 2 times"),
        (replace(GOOD, sharded=[*GOOD.sharded, (2, 0)]), "member 2, frame 0, is in the shards and should not be"),
        (replace(GOOD, refused=[]), "members refused: [], not [2]"),
        (replace(GOOD, refused=[2, 2]), "members refused: [2, 2], not [2]"),
        (
            replace(GOOD, counted=(2, 1, 1)),
            "the ledger counts 2 images, 1 refused and 1 skipped members, not 3, 1 and 1",
        ),
        (
            replace(GOOD, counted=(3, 1, 0)),
            "the ledger counts 3 images, 1 refused and 0 skipped members, not 3, 1 and 1",
        ),
    ],
)
def test_each_thing_that_is_not_right_is_named(kept: Kept, problem: str) -> None:
    assert problem in problems(kept)


def test_an_image_that_shows_something_else_is_named() -> None:
    swapped = replace(GOOD, images=[replace(GOOD.images[0], colours=GOOD.images[1].colours), *GOOD.images[1:]])

    assert "IMG_0.jpg, frame 0, looks different: by 42 of 255" in problems(swapped)


def test_an_image_of_another_shape_is_named() -> None:
    small = replace(GOOD, images=[replace(GOOD.images[0], shape=(100, 224, 3), colours=None), *GOOD.images[1:]])

    assert "IMG_0.jpg, frame 0, has the shape (100, 224, 3)" in problems(small)


def test_what_nobody_put_on_a_server_is_named() -> None:
    named = verify([ARRIVAL.drop], [ARRIVAL], {KEY: GOOD, ("north", "v2"): GOOD})

    assert named == ["north v2: in storage, but never put on the server"]


def test_what_was_planned_and_never_came_is_named() -> None:
    later = replace(ARRIVAL.drop, name="later.zip")

    assert verify([ARRIVAL.drop, later], [ARRIVAL], {KEY: GOOD}) == ["north later.zip: never put on the server"]
