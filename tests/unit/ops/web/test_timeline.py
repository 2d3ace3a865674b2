"""Positions in the timeline."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from imagefeed.model import State
from ops.web import timeline
from tests.unit.ops.web.made import MINUTE, NOW, entry, regular, status_of


def test_the_newest_is_at_the_right_and_heights_go_with_the_square_root_of_size() -> None:
    (source,) = status_of([entry(3, size=100), entry(13, size=400), entry(23, size=0)]).sources
    drawn = timeline.draw(source, NOW)
    xs = [bar.x for bar in drawn.bars]
    assert xs == sorted(xs)
    lowest, highest, middle = (bar.height for bar in drawn.bars)
    assert (lowest, highest, middle) == (7, 58, (58 + 7) / 2)
    assert drawn.largest == 400


def test_what_went_wrong_stands_above_a_high_bar_beside_it() -> None:
    (source,) = status_of([entry(2.98, size=10**9), entry(3, State.REFUSED, size=1), *regular(3, newest=13)]).sources
    refused, high = timeline.draw(source, NOW).bars[-2:]
    assert refused.mark.state.value == "refused"
    assert refused.top > high.top > refused.symbol


def test_a_hole_lies_between_its_neighbours_and_an_open_one_reaches_to_now() -> None:
    (source,) = status_of([entry(33), entry(43), entry(103), entry(113)]).sources
    drawn = timeline.draw(source, NOW)
    closed, open_ = drawn.gaps
    left, right = drawn.bars[1].x, drawn.bars[2].x
    assert left < closed.x < closed.x + closed.width < right
    assert drawn.bars[-1].x < open_.x
    assert abs(open_.x + open_.width - timeline.WIDTH) < 20
    assert closed.label == "5 missing"


def test_the_line_of_lags_breaks_at_a_hole_and_leaves_out_what_is_not_readable() -> None:
    (source,) = status_of([entry(3), entry(13, State.REFUSED), entry(53), entry(63)]).sources
    path = timeline.draw(source, NOW).lags
    assert [letter for letter in path if letter in "ML"] == ["M", "L", "M"]
    assert not timeline.draw(status_of([entry(3, State.SEEN)]).sources[0], NOW).lags


def test_a_quiet_picture_stays_the_same_within_a_minute() -> None:
    (source,) = status_of(regular()).sources
    assert timeline.draw(source, NOW) == timeline.draw(source, NOW + timedelta(seconds=29))


@given(st.lists(st.floats(0, 4_000), max_size=40), st.sampled_from(list(State)))
def test_everything_lies_within_the_picture(ages: list[float], state: State) -> None:
    (source,) = status_of([entry(age, state, version=f"{n:08x}") for n, age in enumerate(sorted(ages))]).sources
    drawn = timeline.draw(source, NOW)
    assert all(0 <= bar.x <= timeline.WIDTH and 0 < bar.top <= timeline.BASE for bar in drawn.bars)
    assert all(gap.x >= 0 and gap.width > 0 for gap in drawn.gaps)
    assert len(drawn.ticks) <= 10
    assert all(0 < tick.x < timeline.WIDTH for tick in drawn.ticks)


def test_ticks_name_days_where_they_begin() -> None:
    (source,) = status_of([entry(minutes) for minutes in range(3, 2_880, 10)]).sources
    ticks = timeline.draw(source, NOW + MINUTE).ticks
    assert [tick.label for tick in ticks if tick.strong] == ["28 Feb", "01 Mar"]
    assert {tick.label for tick in ticks} >= {"06:00", "18:00"}
