"""Active hours of a source: the same by the clocks of its zone all year, and nothing is missing outside of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.active import active_between, parse_active
from ingest.gaps import find_gaps
from ingest.model import Arrival, SourceSpec

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SPEC = SourceSpec(name="camera", active="Mo-Su 06:00-20:00 Europe/Berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


# No clock changes between these hours, so the time on a clock is enough.
QUIET_HOURS = st.integers(4, 23)
MOMENTS = st.integers(0, 365 * 24 * 60).map(lambda number: datetime(2026, 1, 1, tzinfo=UTC) + number * MINUTE)


@given(QUIET_HOURS, QUIET_HOURS, st.sets(st.sampled_from(DAYS), min_size=1), MOMENTS)
def test_a_moment_is_active_if_the_clocks_of_the_zone_say_so(
    start: int, end: int, days: set[str], moment: datetime
) -> None:
    text = f"{','.join(days)} {start:02}:00-{end:02}:00 Europe/Berlin"
    clock = moment.astimezone(BERLIN)
    today, yesterday = DAYS[clock.weekday()] in days, DAYS[clock.weekday() - 1] in days
    if start < end:
        expected = today and start <= clock.hour < end
    else:
        expected = (today and clock.hour >= start) or (yesterday and clock.hour < end)
    spans = active_between(text, moment - 50 * HOUR, moment + 50 * HOUR)
    assert any(begin <= moment < finish for begin, finish in spans) is expected


@given(MOMENTS, st.integers(0, 400), st.integers(0, 400))
def test_spans_are_in_order_within_bounds_and_the_same_however_time_is_cut(
    start: datetime, first: int, second: int
) -> None:
    middle, end = start + first * HOUR, start + (first + second) * HOUR
    spans = active_between(SPEC.active, start, end)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(set(edges))
    assert not edges or (start <= edges[0] and edges[-1] <= end)

    def length(*parts: tuple[datetime, datetime]) -> timedelta:
        return sum((b - a for part in parts for a, b in active_between(SPEC.active, *part)), timedelta(0))

    assert length((start, end)) == length((start, middle), (middle, end))


@pytest.mark.parametrize(
    ("day", "hours", "seconds"),
    [
        ("2026-03-28", "01:00-04:00", 3 * 3600),
        ("2026-03-29", "01:00-04:00", 2 * 3600),
        ("2026-03-29", "02:30-04:00", 1 * 1800),
        ("2026-10-25", "01:00-04:00", 4 * 3600),
        ("2026-10-25", "02:30-02:45", 3600 + 900),
    ],
)
def test_on_the_days_that_clocks_are_changed_hours_are_those_on_the_clock(day: str, hours: str, seconds: int) -> None:
    noon = local(f"{day}T12:00")
    ((start, end),) = active_between(f"Mo-Su {hours} Europe/Berlin", noon - 12 * HOUR, noon)
    assert (end - start).total_seconds() == seconds


def test_whole_days_are_one_span() -> None:
    noon = local("2026-03-27T12:00")
    assert active_between("Mo-Su 00:00-24:00 Europe/Berlin", noon, noon + 100 * HOUR) == [(noon, noon + 100 * HOUR)]


@pytest.mark.parametrize(
    "text",
    ["", "06:00-20:00", "Mo-Su 06:00-20:00", "Mo-Su 6-20 UTC", "Mo-Xx 06:00-20:00 UTC", "Mo-Su 06:60-20:00 UTC",
     "Mo-Su 24:00-06:00 UTC", "Mo-Su 06:00-24:01 UTC", "Mo-Su 06:00-20:00 Mars/Olympus", "Mo-We-Fr 06:00-20:00 UTC"],
)  # fmt: skip
def test_what_names_no_hours_is_refused(text: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse_active(text)


def arrivals(*texts: str) -> list[Arrival]:
    return [Arrival(stamp=local(text), seen=local(text)) for text in texts]


@pytest.mark.parametrize(
    ("stamps", "now", "gaps"),
    [
        (["2026-03-28T19:50", "2026-03-29T06:10"], "2026-03-29T06:20", 0),
        (["2026-03-28T19:50", "2026-03-29T06:20"], "2026-03-29T06:20", 1),
        (["2026-03-28T19:50"], "2026-03-29T05:00", 0),
        (["2026-03-28T19:50"], "2026-03-29T06:14", 0),
        (["2026-03-28T19:50"], "2026-03-29T06:18", 1),
        (["2026-03-28T19:40"], "2026-03-29T05:00", 1),
    ],
)
def test_nothing_is_missing_while_nothing_is_expected(stamps: list[str], now: str, gaps: int) -> None:
    assert len(find_gaps(SPEC, arrivals(*stamps), local(now))) == gaps


def test_of_a_gap_over_nights_only_the_days_count() -> None:
    (gap,) = find_gaps(SPEC, arrivals("2026-03-28T12:00", "2026-03-30T12:00"), local("2026-03-30T12:00"))
    assert gap.active == 28 * HOUR
