"""The archive of the smoke test: pictures that any valid settings accept, or that they refuse on purpose."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np
import pytest

from config.settings import read_limits, read_pipeline
from ops.health.doctor.smoke_archive import make

type Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("settings", "dtype", "shape"),
    [
        ({}, "uint8", (224, 224, 3)),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_MEAN": "1,2,3,4"}, "uint8", (224, 224, 4)),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_STD": "1,2", "PREPROCESS_DTYPE": "keep"}, "float32", (224, 224, 2)),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_CODEC": "png", "PREPROCESS_DTYPE": "uint16"}, "uint16", (224, 224)),
        ({"PREPROCESS_COLOUR": "L", "PREPROCESS_CODEC": "png"}, "uint8", (224, 224)),
        ({"PREPROCESS_CROP": "1000,700,1100,800", "PREPROCESS_FIT": "none"}, "uint8", (16, 16, 3)),
        ({"PREPROCESS_FIT": "contain", "PREPROCESS_WIDTH": "9", "PREPROCESS_HEIGHT": "5"}, "uint8", (5, 9, 3)),
        ({"LIMIT_PIXELS": "1", "LIMIT_BATCH_PIXELS": "1", "LIMIT_RATIO": "1"}, "uint8", (224, 224, 3)),
    ],
)  # fmt: skip
def test_pictures_suit_the_settings(settings: Mapping[str, str], dtype: str, shape: Shape) -> None:
    recipe, _ = read_pipeline(settings)
    made = make(recipe, read_limits(settings))
    images = [outcome for outcome in made.outcomes if not isinstance(outcome, str)]
    assert [(image.dtype.name, image.shape) for image in images] == [(dtype, shape)] * 3
    # A picture in another's place would be noticed.
    assert len({image.tobytes() for image in images}) == 3
    assert len(made.content) < 20_000


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"LIMIT_MEMBER_BYTES": "10"}, "LIMIT_MEMBER_BYTES=10"),
        ({"LIMIT_BATCH_BYTES": "1"}, "LIMIT_BATCH_BYTES=1"),
        ({"LIMIT_PIXELS": "1", "PREPROCESS_CROP": "3,2,5,7"}, "LIMIT_PIXELS allows 1"),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_MEAN": "1,2,3", "PREPROCESS_STD": "1,2,3,4"}, "PREPROCESS_STD"),
    ],
)
def test_where_settings_refuse_every_picture_that_is_what_must_come_of_it(
    settings: Mapping[str, str], reason: str
) -> None:
    recipe, _ = read_pipeline(settings)
    made = make(recipe, read_limits(settings))
    assert made.images == 0
    assert [reason in str(outcome) for outcome in made.outcomes] == [True] * 3


@pytest.mark.parametrize("allowed", [1, 2, 3, 100])
def test_there_are_as_many_members_as_the_limits_allow_and_no_more_than_three(allowed: int) -> None:
    recipe, _ = read_pipeline({})
    made = make(recipe, read_limits({"LIMIT_ARCHIVE_MEMBERS": str(allowed)}))
    with zipfile.ZipFile(io.BytesIO(made.content)) as file:
        assert len(file.namelist()) == len(made.outcomes) == min(allowed, 3)
    assert all(isinstance(outcome, np.ndarray) for outcome in made.outcomes)
