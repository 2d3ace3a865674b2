"""Numbers and times for people."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.web import text as words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
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
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_999, "1.0 MB"), (412_000_000, "412 MB"), (3e12, "3000 GB")],
)
def test_sizes(number: float, text: str) -> None:
    assert words.size(int(number)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-9, "just now"), (59, "just now"), (60, "1 min ago"), (179, "2 min ago"), (9_000, "2.5 h ago")],
)
def test_ages_stay_the_same_within_a_minute(seconds: int, text: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_time_of_another_day_names_the_day() -> None:
    assert words.clock(NOW - timedelta(hours=2), NOW) == "10:00"
    assert words.clock(NOW - timedelta(hours=14), NOW) == "28 Feb 22:00"
