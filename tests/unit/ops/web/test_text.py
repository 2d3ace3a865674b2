"""Numbers and times for people."""

from datetime import UTC, datetime, timedelta

import pytest

from ops import text

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-3, "0.0 s"),
        (4.26, "4.3 s"),
        (9.97, "10 s"),
        (89, "89 s"),
        (91, "2 min"),
        (5_300, "88 min"),
        (5_500, "1.5 h"),
        (7_200, "2 h"),
        (48 * 3_600, "48 h"),
        (4 * 86_400, "4 days"),
    ],
)
def test_lengths_of_time(seconds: float, written: str) -> None:
    assert text.span(seconds) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_999, "1.0 MB"), (412_000_000, "412 MB"), (3e12, "3000 GB")],
)
def test_sizes(number: float, written: str) -> None:
    assert text.size(int(number)) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(-9, "just now"), (59, "just now"), (60, "1 min ago"), (179, "2 min ago"), (9_000, "2.5 h ago")],
)
def test_ages_stay_the_same_within_a_minute(seconds: int, written: str) -> None:
    assert text.ago(NOW - timedelta(seconds=seconds), NOW) == written


def test_a_time_of_another_day_names_the_day() -> None:
    assert text.clock(NOW - timedelta(hours=2), NOW) == "10:00"
    assert text.clock(NOW - timedelta(hours=14), NOW) == "28 Feb 22:00"
