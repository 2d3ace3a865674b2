"""Times in which a source could not be listed: few, merged, and the reason of gaps within them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.gaps import find_gaps
from ingest.model import Arrival, Outage, Promises, SourceState
from ingest.outages import begun, ended, unlisted

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minutes(number: float) -> datetime:
    return NOON + number * MINUTE


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=300))
def test_outages_are_few_apart_and_in_order_and_at_most_the_last_goes_on(polls: list[tuple[bool, int]]) -> None:
    outages: tuple[Outage, ...] = ()
    at, failed = NOON, False
    for failed, pause in polls:
        at += pause * MINUTE
        outages = begun(outages, at, "down", refused=False) if failed else ended(outages, at)
        assert (bool(outages) and outages[-1].end is None) is failed
        assert not failed or outages[-1].start <= at
    assert len(outages) <= 50
    edges = [edge for outage in outages for edge in (outage.start, outage.end or at)]
    assert edges == sorted(edges)
    assert all(outage.end is not None for outage in outages[:-1])


def test_an_outage_has_the_reason_of_its_last_poll() -> None:
    outages = begun(begun((), NOON, "refused", refused=False), minutes(5), "wrong password", refused=True)
    assert outages == (Outage(start=NOON, end=None, error="wrong password", refused=True),)
    assert ended(outages, minutes(9))[0].end == minutes(9)


def at(*numbers: float) -> list[Arrival]:
    return [Arrival(stamp=minutes(number), seen=minutes(number)) for number in numbers]


DOWN = Outage(start=minutes(50), end=minutes(63), error="down")


@pytest.mark.parametrize(
    ("stamps", "outages", "explained"),
    [
        ([40, 70], [], None),
        ([40, 70], [DOWN], DOWN),
        ([40, 100], [DOWN], None),
        ([10, 70], [DOWN], None),
        ([200, 230], [DOWN], None),
        (
            [40, 90],
            [DOWN, Outage(start=minutes(70), end=minutes(80), error="down again")],
            Outage(start=minutes(50), end=minutes(80), error="down again"),
        ),
    ],
    ids=["none", "within", "long after it", "long before it", "elsewhere", "two"],
)
def test_a_gap_is_explained_where_nobody_could_know_better(
    stamps: list[float], outages: list[Outage], explained: Outage | None
) -> None:
    (gap,) = find_gaps(Promises(), at(*stamps), minutes(stamps[-1]), outages)
    assert gap.outage == explained


def test_while_a_source_cannot_be_listed_the_wait_for_its_next_archive_says_so() -> None:
    goes_on = Outage(start=minutes(5), end=None, error="down")
    (gap,) = find_gaps(Promises(), at(0), minutes(60), [goes_on])
    assert (gap.open, gap.outage) == (True, goes_on)


def test_while_nobody_polls_nobody_knows() -> None:
    source_state = SourceState(source="radar", promises=Promises(budget=25 * MINUTE), listed_at=NOON, outages=(DOWN,))
    assert unlisted(source_state, minutes(35)) == (DOWN,)
    assert unlisted(source_state, minutes(36))[-1] == Outage(start=NOON, end=None, error="it was not polled")
