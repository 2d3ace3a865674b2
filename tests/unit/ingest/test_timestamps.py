"""An archive's stamp: from its name, else its modified time, and never far ahead."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SettingsError
from ingest.timestamps import Stamp, decide_stamp, read_stamp

MODIFIED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SEEN = datetime(2026, 3, 4, 6, 0, 0, 123456, tzinfo=UTC)


years = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001 - Hypothesis wants none


@pytest.mark.parametrize(
    ("pattern", "name", "stamp"),
    [
        ("radar_%Y%m%d_%H%M%S", "radar_20260304_050607.zip", MODIFIED),
        ("%Y%m%d%H%M%S", "x-20260304050607-v2.zip", MODIFIED),
        ("%Y%m%d%H%M%S", "120260304050607.zip", MODIFIED),
        ("%Y-%j-%H.%M", "2026-063-05.06.zip", MODIFIED.replace(second=0)),
        ("%d%b%y_%I%M%p", "04MAR26_0506AM.zip", MODIFIED.replace(second=0)),
        ("%Y%m%dT%H%M%S%z", "20260304T070607+0200.zip", MODIFIED),
        ("%Y%m%dT%H%M%S%z", "20260304T050607Z.zip", MODIFIED),
        ("%Y%m%d%H%M%S.%f", "20260304050607.999.zip", MODIFIED),
        ("100%%_%Y%m%d", "100%_20260304.zip", MODIFIED.replace(hour=0, minute=0, second=0)),
        ("[%Y](%m)+%d?", "[2026](03)+04?.zip", MODIFIED.replace(hour=0, minute=0, second=0)),
        ("radar_%Y%m%d", "RADAR_20260304.zip", None),
        ("%Y%m%d", "20261345.zip", None),
        ("%Y%m%d", "00010101.zip", None),
        ("%Y%m%d", "", None),
        ("%Y%m%d", "²0260304.zip", None),
    ],
)
def test_the_time_is_read_from_the_name(pattern: str, name: str, stamp: datetime | None) -> None:
    assert read_stamp(pattern, name) == stamp


@pytest.mark.parametrize("pattern", ["radar", "%m%d", "%Q%Y", "%Y%Y", "%Y%", "%-d%Y", "%c", ""])
def test_a_pattern_that_cannot_work_is_an_error_that_says_so(pattern: str) -> None:
    with pytest.raises(SettingsError, match="STAMP"):
        read_stamp(pattern, "radar_20260304.zip")


@given(st.text(), years, st.text(alphabet="ab_-. %[]{}*\\"))
def test_what_strftime_writes_is_read_again(before: str, time: datetime, prefix: str) -> None:
    time = time.replace(microsecond=0, tzinfo=UTC)
    pattern = prefix.replace("%", "%%") + "_%Y-%m-%d %H:%M:%S"
    name = f"{before}{prefix}_{time:%Y-%m-%d %H:%M:%S}.zip"
    stamp = read_stamp(pattern, name)
    assert stamp is not None
    assert stamp == time or len(before) > 19


def test_without_a_pattern_or_a_match_the_modified_time_stands() -> None:
    path = "2020/20200101.zip"
    assert decide_stamp(None, path, MODIFIED, SEEN) == Stamp(MODIFIED)
    assert decide_stamp("other_%Y%m%d", path, MODIFIED, SEEN) == Stamp(MODIFIED)


def test_only_the_name_counts_not_its_folder() -> None:
    assert decide_stamp("%Y%m%d", "20200101/a.zip", MODIFIED, SEEN) == Stamp(MODIFIED)


@pytest.mark.parametrize(("ahead", "replaced"), [(timedelta(days=1), False), (timedelta(days=1, seconds=1), True)])
def test_a_stamp_more_than_a_day_ahead_is_replaced_by_the_time_first_seen(ahead: timedelta, replaced: bool) -> None:
    seen = SEEN.replace(microsecond=0)
    modified = seen + ahead
    assert decide_stamp(None, "a.zip", modified, seen) == Stamp(seen if replaced else modified, replaced=replaced)


def test_a_replaced_stamp_has_whole_seconds() -> None:
    assert decide_stamp("%Y%m%d", "29990101.zip", MODIFIED, SEEN) == Stamp(SEEN.replace(microsecond=0), replaced=True)
