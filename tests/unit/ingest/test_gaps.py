"""Gaps: none if archives come as promised, one for each missing archive, none before the first."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingest.gaps import Gap, find_gaps
from ingest.model import Arrival, SourceSpec

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPEC = SourceSpec(name="radar", interval=10 * MINUTE)
# Less than a quarter of an interval to each side: two neighbours are at most 1.5 intervals apart.
JITTER = st.floats(-149, 149).map(lambda seconds: timedelta(seconds=seconds))
RESTS = 2 * MINUTE
"""The time allowed for the end of a host."""
LAG = st.integers(0, 120).map(lambda minutes: timedelta(minutes=minutes))


def at(minutes: float, *, lag: timedelta = timedelta(0)) -> Arrival:
    stamp = NOON + minutes * MINUTE
    return Arrival(stamp=stamp, seen=stamp + lag)


@given(st.lists(JITTER, min_size=2, max_size=40), LAG)
def test_archives_that_come_early_or_late_make_no_gap(jitter: list[timedelta], lag: timedelta) -> None:
    stamps = [NOON + number * SPEC.interval + late for number, late in enumerate(jitter)]
    arrivals = [Arrival(stamp=stamp, seen=stamp + lag) for stamp in stamps]
    next_one = NOON + len(stamps) * SPEC.interval
    # Open until the next archive comes, however long after its stamp that is.
    for now in (stamps[-1] + lag, next_one + lag):
        assert not find_gaps(SPEC, arrivals, now)


@given(st.lists(JITTER, min_size=3, max_size=40), st.data())
def test_an_archive_that_did_not_come_always_shows(jitter: list[timedelta], data: st.DataObject) -> None:
    arrivals = [at(number * 10 + late / MINUTE) for number, late in enumerate(jitter)]
    missing = data.draw(st.integers(1, len(arrivals) - 2))
    kept = [arrival for number, arrival in enumerate(arrivals) if number != missing]
    (gap,) = find_gaps(SPEC, kept, kept[-1].stamp)
    assert (gap.start, gap.end, gap.open) == (arrivals[missing - 1].stamp, arrivals[missing + 1].stamp, False)


@given(st.lists(JITTER, min_size=1, max_size=40), LAG)
def test_archives_that_come_no_more_always_show(jitter: list[timedelta], lag: timedelta) -> None:
    arrivals = [at(number * 10 + late / MINUTE, lag=lag) for number, late in enumerate(jitter)]
    newest = max(arrival.stamp for arrival in arrivals)
    now = newest + 15 * MINUTE + lag + RESTS + timedelta(seconds=1)
    (gap,) = find_gaps(SPEC, arrivals, now)
    assert gap == Gap(start=newest, end=now, open=True, active=now - newest, missing=gap.missing)
    assert gap.missing >= 1


def test_a_source_that_had_no_archive_yet_has_no_gap() -> None:
    assert not find_gaps(SPEC, [], NOON)


def test_the_factor_is_a_setting() -> None:
    spec = SourceSpec(name="radar", interval=10 * MINUTE, gap=3)
    assert not find_gaps(spec, [at(0), at(30)], NOON + 60 * MINUTE)
    assert find_gaps(spec, [at(0), at(31)], NOON + 60 * MINUTE)


def test_a_stamp_of_the_future_hides_no_gap() -> None:
    ahead = Arrival(stamp=NOON + 600 * MINUTE, seen=NOON + 10 * MINUTE)
    (gap,) = find_gaps(SPEC, [at(0), ahead], NOON + 60 * MINUTE)
    assert (gap.start, gap.open) == (NOON + 10 * MINUTE, True)


def test_a_server_that_was_down_does_not_excuse_itself() -> None:
    # An archive right after five hours was late; if the next one is late too, that is still a gap.
    arrivals = [at(number * 10, lag=(300 - number * 10) * MINUTE) for number in range(30)]
    assert find_gaps(SPEC, arrivals, NOON + 316 * MINUTE + RESTS)


def test_timers_that_rest_after_the_end_of_a_host_make_no_gap() -> None:
    """66 s without ticks, and up to 30 s until the next: the archive of that time is there, but not seen yet."""
    often = SourceSpec(name="radar", interval=MINUTE / 2)
    arrivals = [at(number / 2, lag=timedelta(seconds=2)) for number in range(10)]
    newest = arrivals[-1].stamp
    assert not find_gaps(often, arrivals, newest + often.interval + timedelta(seconds=66 + 30 + 2))
    assert find_gaps(often, arrivals, newest + 1.5 * often.interval + RESTS + timedelta(seconds=3))
