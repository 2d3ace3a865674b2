"""Counts are added by kind, and stay small whatever the names of members are."""

from hypothesis import given
from hypothesis import strategies as st

from imagefeed.model import OTHER_KINDS, Counts, by_kind


def test_kinds_are_summed_and_told_greatest_first() -> None:
    sums = Counts(refused_kinds={".h5": 1, ".jpg": 2}, skipped={"text": 1}) + Counts(refused_kinds={".h5": 4})
    assert (by_kind(sums.refused_kinds), by_kind(sums.skipped)) == ("5 .h5, 2 .jpg", "1 text")
    assert by_kind({}) == ""


@given(st.lists(st.integers(0, 60), max_size=99))
def test_of_many_kinds_the_rarest_are_counted_together(kinds: list[int]) -> None:
    sums = sum((Counts(refused=1, refused_kinds={f".{kind}": 1}) for kind in kinds), start=Counts())
    assert sum(sums.refused_kinds.values()) == sums.refused == len(kinds)
    assert len(sums.refused_kinds) <= 20
    assert (OTHER_KINDS in sums.refused_kinds) == (len(set(kinds)) > 20)
