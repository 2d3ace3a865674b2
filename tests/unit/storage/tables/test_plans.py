"""A plan fits into the one row that stores it, however many batches it has."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ArchiveRefusedError
from imagefeed.model import RawArchive
from preprocess.model import Batch
from storage.tables.plans import Plan, plan_properties, read_plan

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ARCHIVE = RawArchive(source="s", stamp=NOW, version="0123abcd", blob="s/a.zip", size=1, path="a.zip", etag="1")


def batches_of(ranges: list[tuple[int, int]]) -> list[Batch]:
    return [
        Batch(archive=ARCHIVE, pipeline="p", number=number, first=first, end=end)
        for number, (first, end) in enumerate(ranges)
    ]


@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)), max_size=50))
def test_a_plan_comes_back_as_it_was_written(ranges: list[tuple[int, int]]) -> None:
    row = plan_properties("name", batches_of(ranges), NOW)
    assert read_plan(row) == Plan(name="name", ranges=ranges, next_drive=NOW)


def test_a_hundred_thousand_batches_of_all_sizes_fit_well() -> None:
    bounds = [number * 40 + (number * number) % 37 for number in range(100_001)]
    row = plan_properties("name", batches_of(list(pairwise(bounds))), NOW)
    pieces = [piece for piece in row.values() if isinstance(piece, bytes)]
    assert max(map(len, pieces)) <= 64 * 1024
    assert sum(map(len, pieces)) < 300_000
    plan = read_plan(row)
    assert plan is not None
    assert plan.ranges[-1] == (bounds[-2], bounds[-1])


def test_what_no_row_can_hold_is_refused_with_what_to_do() -> None:
    # Differences in random order, which no real archive has.
    bounds = np.random.default_rng(0).integers(0, 2**31, 130_000).tolist()
    with pytest.raises(ArchiveRefusedError, match="BATCH_MEMBERS"):
        plan_properties("name", batches_of(list(pairwise(bounds))), NOW)


def test_a_row_without_a_plan_has_none() -> None:
    assert read_plan(None) is None
    assert read_plan({"refused_at": NOW}) is None


def test_a_damaged_plan_is_an_error() -> None:
    row = plan_properties("name", batches_of([(0, 1), (1, 2)]), NOW)
    with pytest.raises(ValueError, match="damaged"):
        read_plan({**row, "batches": 3})
