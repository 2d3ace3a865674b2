"""Benchmarks without measuring: what is judged, written, read again and shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.child import Child, Side
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Row, Timing, ratio, row
from benchmarks.rows import ROWS

MEASURED = Measured({"pace": Figure(2.5, 2, 3), "memory": Figure(0.7, 0.6, 0.8)}, notes=["a note"])


def a_row(**goals: Goal) -> Row:
    return row("a-row", what="what", against="peer", goals=goals, why="it waits")(lambda _bench: MEASURED)


def test_every_row_has_a_name_of_its_own_and_a_goal_or_a_reason_to_have_none() -> None:
    assert len({each.name for each in ROWS}) == len(ROWS)
    assert all(each.what and each.against for each in ROWS)


def test_a_figure_is_held_against_its_goal() -> None:
    result = results.of(a_row(pace=Goal(least=2), memory=Goal(most=0.6)), MEASURED)
    assert [number.met for number in result.numbers] == [True, False]
    with pytest.raises(BenchmarkError, match="latency"):
        results.of(a_row(latency=Goal(most=1)), MEASURED)


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = (Timing(seconds=seconds, cpu=(), peak=()) for seconds in ([1, 10, 2], [2, 20, 6]))
    assert ratio({"ours": ours, "theirs": theirs}, "ours", "theirs") == Figure(2, 2, 3)


def test_what_is_written_is_read_again_and_other_rows_stay(tmp_path: Path) -> None:
    # No figure is called speed: there is nothing to draw, and what draws is not installed for the tests.
    first = results.of(a_row(pace=Goal(least=2), memory=Goal(most=0.6)), MEASURED)
    begun = results.begin(datetime(2026, 1, 1, tzinfo=UTC))
    for each in (first, replace(first, name="b-row"), replace(first, name="b-row", what="newer")):
        run = results.with_row(begun, each)
        results.write(run, tmp_path, keep_others=True, order=["b-row", "a-row"])
    found = results.read(tmp_path / "latest.json")
    assert [(each.name, each.what) for each in found.rows] == [("b-row", "newer"), ("a-row", "what")]
    assert found.rows[1] == first
    assert (
        "| `a-row` | what | peer | pace ≥ 2, memory ≤ 0.6 | **pace 2.50×**, memory 0.70×; it waits |"
        in results.table(found)
    )
    assert results.table(found) in (tmp_path / "latest.md").read_text()


@contextmanager
def working() -> Iterator[Callable[[], object]]:
    yield lambda: 42


@contextmanager
def failing() -> Iterator[Callable[[], object]]:
    yield lambda: 1 // 0


def test_a_side_runs_in_a_process_of_its_own_and_tells_what_went_wrong() -> None:
    with Child("works", Side(working)) as child:
        sample = child.run()
        assert sample.outcome == 42
        assert sample.peak > 2**20
    with Child("fails", Side(failing)) as child, pytest.raises(BenchmarkError, match="ZeroDivisionError"):
        child.run()
