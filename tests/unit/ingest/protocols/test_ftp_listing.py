"""What FTP servers say of their files."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.protocols.ftp_listing import Entry, Kind, parse_list, parse_mdtm, parse_mlsd

GREENWICH = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year to minute, no zone


FIVE_SIX = utc(2026, 3, 4, 5, 6)


def folder(name: str, size: int | None, modified: datetime | None) -> Entry:
    return Entry(name=name, kind=Kind.FOLDER, size=size, modified=modified)


def file(name: str, size: int | None, modified: datetime | None) -> Entry:
    return Entry(name=name, kind=Kind.FILE, size=size, modified=modified)


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("type=file;size=12;modify=20260304050607; a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
        ("Type=File;Size=12;Modify=20260304050607.999; a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
        ("modify=20260304050607;type=file; a.zip", file("a.zip", None, utc(2026, 3, 4, 5, 6, 7))),
        ("type=file;size=1;modify=x; a.zip", file("a.zip", 1, None)),
        ("type=file;size=-1; a.zip", file("a.zip", None, None)),
        ("type=file;size=1;  two spaces; and = signs.zip", file(" two spaces; and = signs.zip", 1, None)),
        (" type=file;size=1; from MLST.zip", file("from MLST.zip", 1, None)),
        (
            "type=dir;modify=20260304050607; sub",
            folder("sub", None, utc(2026, 3, 4, 5, 6, 7)),
        ),
        ("type=OS.unix=slink:/x;size=1; l", Entry(name="l", kind=Kind.LINK, size=1, modified=None)),
        ("type=OS.unix=socket; s", Entry(name="s", kind=Kind.OTHER, size=None, modified=None)),
        ("type=cdir; .", None),
        ("type=pdir; ..", None),
        ("", None),
        ("250 End", Entry(name="End", kind=Kind.OTHER, size=None, modified=None)),
    ],
)
def test_mlsd(line: str, entry: Entry | None) -> None:
    assert parse_mlsd(line) == entry


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("-rw-r--r--    1 0        0            1234 Mar 04 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
        ("-rw-r--r--   1 user     group with spaces 1234 Mar  4 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
        ("-rw-r--r--+ 1 owner 1234 Mar  4 5:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 5368709120 Mar 4  2025 big.zip", file("big.zip", 5368709120, utc(2025, 3, 4, 0, 0))),
        ("-rw-r--r-- 1 0 0 1 Mar  5 11:59  leading.zip", file(" leading.zip", 1, utc(2026, 3, 5, 11, 59))),
        ("-rw-r--r-- 1 0 0 1 Mar  5 12:01 a.zip", file("a.zip", 1, utc(2025, 3, 5, 12, 1))),
        ("-rw-r--r-- 1 0 0 1 Dec 31 23:59 a.zip", file("a.zip", 1, utc(2025, 12, 31, 23, 59))),
        ("-rw-r--r-- 1 0 0 1 Feb 29 10:00 a.zip", file("a.zip", 1, utc(2024, 2, 29, 10, 0))),
        ("-rw-r--r-- 1 0 0 1 Feb 30 10:00 a.zip", file("a.zip", 1, None)),
        ("-rw-r--r-- 1 0 0 1 Foo 30 10:00 a.zip", file("a.zip", 1, None)),
        ("-rw-r--r-- 1 0 0 1 2026-03-04 05:06 a.zip", file("a.zip", 1, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 1 Mar  4 05:06 a -> b.zip", file("a -> b.zip", 1, FIVE_SIX)),
        ("lrwxrwxrwx 1 0 0 7 Mar  4 05:06 l -> a.zip", Entry(name="l", kind=Kind.LINK, size=7, modified=FIVE_SIX)),
        ("drwxr-xr-x 2 0 0 4096 Mar  4 05:06 sub", folder("sub", 4096, FIVE_SIX)),
        ("drwxr-xr-x 2 0 0 4096 Mar  4 05:06 ..", None),
        ("total 12", None),
        ("", None),
        ("03-04-26  05:06AM                 1234 a.zip", file("a.zip", 1234, FIVE_SIX)),
        ("03-04-2026  17:06       1234 two words.zip", file("two words.zip", 1234, utc(2026, 3, 4, 17, 6))),
        ("03-04-26  12:06AM 1 a.zip", file("a.zip", 1, utc(2026, 3, 4, 0, 6))),
        ("03-04-26  12:06PM 1 a.zip", file("a.zip", 1, utc(2026, 3, 4, 12, 6))),
        ("03-04-26  05:06AM       <DIR>          sub", folder("sub", None, FIVE_SIX)),
        ("03-04-26  05:06AM       <JUNCTION>     j", Entry(name="j", kind=Kind.OTHER, size=None, modified=FIVE_SIX)),
        ("13-41-26  05:06AM 1 a.zip", file("a.zip", 1, None)),
    ],
)  # fmt: skip
def test_list(line: str, entry: Entry | None) -> None:
    assert parse_list(line, GREENWICH, NOW) == entry


def test_times_of_list_are_read_in_the_zone_of_the_server() -> None:
    for line, modified in [
        ("-rw-r--r-- 1 0 0 1 Mar  4 05:06 a.zip", utc(2026, 3, 4, 4, 6)),
        ("-rw-r--r-- 1 0 0 1 Jul  4 2025 a.zip", utc(2025, 7, 3, 22, 0)),
        ("07-04-25  05:06AM 1 a.zip", utc(2025, 7, 4, 3, 6)),
    ]:
        entry = parse_list(line, BERLIN, NOW)
        assert entry is not None
        assert entry.modified == modified


def test_hours_that_come_twice_or_never_do_no_harm() -> None:
    autumn, spring = utc(2025, 10, 27, 0, 0), utc(2025, 3, 31, 0, 0)
    twice = parse_list("-rw-r--r-- 1 0 0 1 Oct 26 02:30 a.zip", BERLIN, autumn)
    never = parse_list("-rw-r--r-- 1 0 0 1 Mar 30 02:30 a.zip", BERLIN, spring)
    assert twice is not None
    assert twice.modified == utc(2025, 10, 26, 0, 30)
    assert never is not None
    assert never.modified == utc(2025, 3, 30, 1, 30)


names = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..")
)
years = st.datetimes(datetime(1970, 1, 1), datetime(2069, 1, 1))  # noqa: DTZ001 - Hypothesis wants none
recent = st.timedeltas(timedelta(days=-1), timedelta(days=180))


@given(
    names, st.integers(0, 2**50), recent, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia"])
)
def test_what_a_unix_server_writes_is_read_again(name: str, size: int, age: timedelta, zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    modified = (NOW - age).replace(second=0, microsecond=0)
    wall = modified.astimezone(zone)
    entry = parse_list(f"-rw-r--r--    1 ftp      ftp      {size:>12} {wall:%b %d %H:%M} {name}", zone, NOW)
    assert entry is not None
    assert (entry.name, entry.size) == (name, size)
    assert entry.modified in (modified, modified - timedelta(hours=1), modified + timedelta(hours=1))
    assert entry.modified == modified or wall.utcoffset() != wall.replace(fold=1 - wall.fold).utcoffset()


@given(names, st.integers(0, 2**50), years)
def test_what_a_windows_server_writes_is_read_again(name: str, size: int, wall: datetime) -> None:
    entry = parse_list(f"{wall:%m-%d-%y  %I:%M%p} {size:>20} {name}", GREENWICH, NOW)
    assert entry == file(name, size, wall.replace(second=0, microsecond=0, tzinfo=UTC))


@given(st.text())
def test_no_line_does_harm(line: str) -> None:
    parse_list(line, BERLIN, NOW)
    parse_mlsd(line)
    parse_mdtm(line)
