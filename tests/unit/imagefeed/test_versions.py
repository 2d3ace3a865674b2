"""The version of a file that readers use: the newest that is processed, in whichever order the versions came."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefeed.ledger import Entry
from imagefeed.model import RawArchive, Replaces, State, read_replaces, replaces
from imagefeed.versions import is_readable, with_newer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STAMP: Replaces = "stamp"


def archive(modified: int | None = 0, **known: Any) -> RawArchive:
    """Return a version that was modified this many minutes after noon; its stamp is noon."""
    when = None if modified is None else NOON + modified * MINUTE
    values = {"source": "radar", "stamp": NOON, "version": f"{modified or 0:08x}", "path": "a.zip", "replaces": STAMP}
    return RawArchive(**{**values, "blob": "b", "size": 9, "etag": "", "modified": when, **known})


def entry(archive: RawArchive, state: State = State.PROCESSED, pipeline: str | None = "p1") -> Entry:
    return Entry(archive=archive, state=state, times={}, pipeline=pipeline, counts=None, reason=None)


archives = st.builds(
    lambda path, stamp, modified, version, rule: archive(
        modified, path=path, stamp=NOON + stamp * MINUTE, version=f"{version:08x}", replaces=rule
    ),
    st.sampled_from(["a.zip", "b.zip"]),
    st.integers(0, 2),
    st.none() | st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from(["stamp", "path", "never"]),
)


def test_a_corrected_file_replaces_the_older_version() -> None:
    assert replaces(archive(1), archive(0))


@pytest.mark.parametrize(
    "other",
    [{"path": "b.zip"}, {"stamp": NOON + MINUTE}, {"source": "south"}, {"replaces": "never"}, {"replaces": "path"},
     {"modified": None}],
)  # fmt: skip
def test_only_a_version_of_the_same_file_and_stamp_under_the_same_rule_is_replaced(other: dict[str, Any]) -> None:
    assert not replaces(archive(1), replace(archive(0), **other))
    assert not replaces(replace(archive(1), **other), archive(0))


def test_all_stamps_of_a_path_are_one_series_where_the_rule_is_path() -> None:
    older, newer = archive(0, replaces="path"), archive(1, replaces="path", stamp=NOON + MINUTE)
    assert replaces(newer, older)
    assert not replaces(replace(newer, path="b.zip"), older)


def test_of_two_with_the_same_modified_time_the_greater_version_is_the_newer() -> None:
    assert replaces(archive(version="ffff0000"), archive(version="0000ffff"))


@pytest.mark.parametrize(("text", "rule"), [("stamp", "stamp"), ("path", "path"), ("other", "never"), (None, "never")])
def test_what_was_recorded_otherwise_or_not_at_all_replaces_nothing(text: str | None, rule: str) -> None:
    assert read_replaces(text) == rule


@given(archives, archives)
def test_no_two_versions_replace_each_other_and_none_replaces_itself(one: RawArchive, other: RawArchive) -> None:
    assert not (replaces(one, other) and replaces(other, one))
    assert not replaces(one, one)


@given(archives, archives, archives)
def test_what_replaces_a_version_replaces_all_that_this_one_does(a: RawArchive, b: RawArchive, c: RawArchive) -> None:
    if replaces(a, b) and replaces(b, c):
        assert replaces(a, c)


def read(entries: Sequence[Entry]) -> list[RawArchive]:
    return [found.archive for found, newer in with_newer(entries) if is_readable(found, newer)]


def test_however_late_an_older_version_came_the_newest_is_read() -> None:
    versions = [entry(archive(minute)) for minute in range(4)]
    for arrived in permutations(versions):
        assert read(arrived) == [archive(3)]


@pytest.mark.parametrize("state", [state for state in State if state is not State.PROCESSED])
def test_the_older_version_is_read_until_the_newer_one_is_processed(state: State) -> None:
    assert read([entry(archive(1), state), entry(archive(0))]) == [archive(0)]
    assert read([entry(archive(1)), entry(archive(0), state)]) == [archive(1)]


def test_what_another_pipeline_processed_replaces_nothing() -> None:
    assert read([entry(archive(1), pipeline="p2"), entry(archive(0))]) == [archive(1), archive(0)]


def ordered(versions: Sequence[RawArchive]) -> list[Entry]:
    """Order versions as the ledger does: newest stamp first, then by version."""
    return [entry(one) for one in sorted(versions, key=lambda one: (NOON - one.stamp, one.version))]


@given(st.lists(archives, max_size=12), st.integers(0, 3))
def test_a_range_leaves_out_just_what_a_version_in_it_or_behind_it_replaces(
    versions: list[RawArchive], minutes: int
) -> None:
    end = NOON + minutes * MINUTE
    listed = ordered([one for one in versions if one.stamp < end])
    behind = ordered([one for one in versions if one.stamp >= end])
    kept = [found.archive for found, newer in with_newer(listed, iter(behind)) if newer is None]
    assert kept == [e.archive for e in listed if not any(replaces(other, e.archive) for other in versions)]


def test_the_newest_of_a_path_need_not_have_the_latest_stamp() -> None:
    # Of the same file under another STAMP, or of a server whose clock was set back.
    first, newest, last = (
        archive(modified, replaces="path", stamp=NOON + stamp * MINUTE) for stamp, modified in ((2, 1), (1, 3), (0, 2))
    )
    assert read(ordered([first, newest, last])) == [first, newest]


@pytest.mark.parametrize(("rule", "taken"), [("stamp", 0), ("never", 0), ("path", 1)])
def test_behind_a_range_no_more_is_looked_at_than_is_needed(rule: Replaces, taken: int) -> None:
    later = iter([entry(archive(number, replaces=rule, stamp=NOON + number * MINUTE)) for number in (9, 8, 7)])
    list(with_newer([entry(archive(minute, replaces=rule)) for minute in (1, 0)], later))
    assert len(list(later)) == 3 - taken
