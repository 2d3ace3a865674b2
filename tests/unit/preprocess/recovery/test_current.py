"""Readers switch to another pipeline once it is complete, and never while two versions of the app run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from preprocess.recovery.current import Progress, is_ready, switch_pipelines

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(hours=72)


def archive(*, ended: bool = True, processed: bool = True, age: int = 60, other: int | None = 60) -> Progress:
    """Return an archive that became raw, and terminal under the other pipeline, this many minutes ago."""
    return Progress(
        raw_at=NOW - age * MINUTE,
        ended=ended,
        processed=ended and processed,
        other_ended_at=None if other is None else NOW - other * MINUTE,
    )


@pytest.mark.parametrize(
    ("archives", "ready"),
    [
        ([archive(), archive()], True),
        ([archive(other=15)], True),
        ([archive(), archive(other=14)], False),
        ([archive(), archive(ended=False)], False),
        ([archive(), archive(processed=False)], True),
        ([archive(processed=False)], False),
        ([], False),
        ([archive(), archive(ended=False, age=1, other=None)], True),
        ([archive(), archive(ended=False, age=15, other=None)], False),
        ([archive(), archive(ended=False, age=1, other=20)], False),
    ],
)
def test_a_pipeline_is_ready_when_it_has_all_of_the_window_and_no_other_is_at_work(
    archives: list[Progress], ready: bool
) -> None:
    assert is_ready(archives, NOW) is ready


@dataclass
class MemoryCurrent:
    """A CurrentPipelines with one source's record, and the last outcome of each pipeline."""

    record: tuple[str, bool] | None = None
    ends: dict[str, Sequence[datetime]] = field(default_factory=dict)

    def read(self, source: str) -> tuple[str, bool] | None:
        return self.record

    def first(self, source: str) -> str | None:
        return max(self.ends, key=lambda name: max(self.ends[name]), default=None)

    def progress(self, source: str, pipeline: str, since: datetime) -> list[Progress]:
        number = max(map(len, self.ends.values()))
        others = [end for name, ends in self.ends.items() if name != pipeline for end in ends]
        own = self.ends.get(pipeline, ())
        return [
            Progress(raw_at=since, ended=n < len(own), processed=n < len(own), other_ended_at=max(others, default=None))
            for n in range(number)
        ]

    def switch(self, source: str, before: str | None, pipeline: str, now: datetime) -> bool:
        assert before == (self.record and self.record[0])
        self.record = pipeline, False
        return True


def run(current: MemoryCurrent, pipeline: str, now: datetime) -> str | None:
    switch_pipelines(["radar"], pipeline, current, now, WINDOW)
    return current.record and current.record[0]


def test_the_first_results_make_the_first_record() -> None:
    current = MemoryCurrent()
    assert run(current, "old", NOW) is None
    current.ends = {"old": [NOW]}
    assert run(current, "new", NOW) == "old"


def test_in_a_rolling_deployment_readers_stay_until_the_old_app_has_been_quiet() -> None:
    current = MemoryCurrent(("old", False), {"old": [NOW, NOW], "new": [NOW, NOW]})
    for minutes in (0, 5, 14):
        assert run(current, "new", NOW + minutes * MINUTE) == "old"
        assert run(current, "old", NOW + minutes * MINUTE) == "old"
    assert run(current, "new", NOW + 15 * MINUTE) == "new"


def test_after_a_rollback_readers_go_back_once_the_older_pipeline_has_all_again() -> None:
    current = MemoryCurrent(("new", False), {"old": [NOW], "new": [NOW, NOW]})
    later = NOW + 60 * MINUTE
    assert run(current, "old", later) == "new"
    current.ends["old"] = [NOW, later]
    assert run(current, "old", later) == "old"


def test_what_people_pinned_stays() -> None:
    current = MemoryCurrent(("old", True), {"old": [NOW], "new": [NOW]})
    assert run(current, "new", NOW + 60 * MINUTE) == "old"
