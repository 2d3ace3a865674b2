"""Lines of FTP listings."""

import re
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.protocols.ftp_listing import (
    Entry,
    Kind,
    parse_lines,
    parse_list,
    parse_mdtm,
    parse_mlsd,
    parse_name,
    parse_size,
)
from ingest.protocols.ftp_months import month_number

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


def myself(name: str, size: int | None = None, modified: datetime | None = None) -> Entry:
    return Entry(name=name, kind=Kind.SELF, size=size, modified=modified)


def unknown(name: str, size: int | None = None, modified: datetime | None = None) -> Entry:
    return Entry(name=name, kind=Kind.UNKNOWN, size=size, modified=modified)


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
        ("type=file;size=18446744073709551615; a.zip", file("a.zip", None, None)),
        ("type=file;size=12 bytes; a.zip", file("a.zip", None, None)),
        ("type=file;size=1 no semicolon.zip", file("no semicolon.zip", 1, None)),
        ("Type=OS.unix=symlink; l", Entry(name="l", kind=Kind.LINK, size=None, modified=None)),
        ("type=OS.unix=slink:/my folder/a; l", Entry(name="l", kind=Kind.LINK, size=None, modified=None)),
        ("type=OS.unix=chr-13/29; d", Entry(name="d", kind=Kind.OTHER, size=None, modified=None)),
        ("type=OS.vms=stream;size=3; a.zip", unknown("a.zip", 3)),
        ("size=3;modify=20260304050607; a.zip", unknown("a.zip", 3, utc(2026, 3, 4, 5, 6, 7))),
        ("perm=adfr;size=3; a.zip", file("a.zip", 3, None)),
        ("Perm=flcdmpe; sub", folder("sub", None, None)),
        ("type=dir;unique=7U1; s", Entry(name="s", kind=Kind.FOLDER, size=None, modified=None, unique="7U1")),
        ("type=cdir; .", myself(".")),
        ("type=cdir; /home/of/it", myself("it")),
        ("type=pdir; ..", myself("..")),
        ("type=dir; ..", myself("..")),
        ("type=file;size=1;", None),
        ("", None),
        ("250 End", None),
        ("-rw-r--r-- 1 0 0 1234 Mar 04 05:06 a.zip", None),
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
        ("-rw-r--r-- 1 0 0 1 Foo 30 10:00 a.zip", None),
        ("-rw-r--r-- 1 0 0 1 Mar  4 30:01 a.zip", file("a.zip", 1, None)),
        ("-rw-r--r-- 1 0 0 -1 Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 1.2k Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 18446744073709551615 Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 1 2026-03-04 05:06 a.zip", file("a.zip", 1, FIVE_SIX)),
        ("-rw-r--r-- 1 0 0 1 Mar  4 05:06 a -> b.zip", file("a -> b.zip", 1, FIVE_SIX)),
        ("lrwxrwxrwx 1 0 0 7 Mar  4 05:06 l -> a.zip", Entry(name="l", kind=Kind.LINK, size=7, modified=FIVE_SIX)),
        ("drwxr-xr-x 2 0 0 4096 Mar  4 05:06 sub", folder("sub", 4096, FIVE_SIX)),
        ("drwxr-xr-x 2 0 0 4096 Mar  4 05:06 ..", myself("..", 4096, FIVE_SIX)),
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


FORMATS = [
    # Owners, groups and sizes that look like something else; columns that are missing.
    ("-rw-r--r--   1 ftp      50      1234 Mar  4 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
    ("drwxr-xr-x   2 ftp      50      4096 Mar  4 05:06 2026", folder("2026", 4096, FIVE_SIX)),
    ("-rw-r--r--   1 jan      12      2024 Mar  4 05:06 a.zip", file("a.zip", 2024, FIVE_SIX)),
    ("-rw-r--r-- 1 1 3518644 Mar  4 05:06 std", file("std", 3518644, FIVE_SIX)),
    ("-------r--         326  1391972  1392298 Mar  4 05:06 a.zip", file("a.zip", 1392298, FIVE_SIX)),
    ("drwxrwxr-x               folder        2 Mar  4 05:06 sub", folder("sub", 2, FIVE_SIX)),
    ("-rw-r--r-- 1234 Mar  4 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
    ("drwxr-x---+1464 chris   chris     41472 Mar  4 05:06 20090225", folder("20090225", 41472, FIVE_SIX)),
    ("-rwxr-xr-x 2 user my group 500 5000000000 Mar  4 05:06 zxbox", file("zxbox", 5000000000, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 500 Mar  4 05:06 7 Mar  4 05:06 a.zip", file("7 Mar  4 05:06 a.zip", 500, FIVE_SIX)),
    ("-rw-r--r-- 1 owner 500 Mar  4 05:06 7 Mar  4 05:06 a.zip", file("7 Mar  4 05:06 a.zip", 500, FIVE_SIX)),
    ("-rw-rw-rw- 1 user group 5840 Mar  4 05:06 123 456 abc.csv", file("123 456 abc.csv", 5840, FIVE_SIX)),
    ("-rw-r--r-- 1 5 mar 12 2025年 3月 4日 a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    # Orders and separators of dates.
    ("-rw-r--r-- 1 u g 12 4 Mar 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 4. März 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 4.   Mrz.  2025 a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    ("-rw-r--r-- 1 u g 12 26. Juli, 2025 a.zip", file("a.zip", 12, utc(2025, 7, 26, 0, 0))),
    ("-rw-r--r-- 1 u g 12 04-Mar-2026 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 Mar  4 05:06:07 2026 a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04 05:06:07 a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
    (
        "-rw-r--r-- 1 u g 12 2026-03-04 05:06:07.123456789 +0100 a.zip",
        file("a.zip", 12, utc(2026, 3, 4, 4, 6, 7)),
    ),
    ("-rw-r--r-- 1 u g 12 2026-03-04T05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 2026-03-04 a.zip", file("a.zip", 12, utc(2026, 3, 4, 0, 0))),
    ("-rw-r--r-- 1 u g 12 2026/03/04 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 04.03.2026 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 24/03/2025 05:06 a.zip", file("a.zip", 12, utc(2025, 3, 24, 5, 6))),
    ("-rw-r--r-- 1 u g 12 03-04 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 09-26 2000 a.zip", file("a.zip", 12, utc(2000, 9, 26, 0, 0))),
    ("2026-03-04  05:06       <DIR>          sub", folder("sub", None, FIVE_SIX)),
    ("04.03.2026  05:06:07         1.234.567 a.zip", file("a.zip", 1234567, utc(2026, 3, 4, 5, 6, 7))),
    ("03/04/2026  05:06 PM         1,234,567 a.zip", file("a.zip", 1234567, utc(2026, 3, 4, 17, 6))),
    ("03-04-26  05:06:07AM                 1 a.zip", file("a.zip", 1, utc(2026, 3, 4, 5, 6, 7))),
    ("24-03-25  15:06                      1 a.zip", file("a.zip", 1, utc(2025, 3, 24, 15, 6))),
    ("03-04-26  05:06AM    <SYMLINK>    l [C:\\a]", Entry(name="l", kind=Kind.LINK, size=None, modified=FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 2026-03-04 05:06:07 +0100 a.zip", file("a.zip", 12, utc(2026, 3, 4, 4, 6, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04 05:06:07 -0330 a.zip", file("a.zip", 12, utc(2026, 3, 4, 8, 36, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04T05:06:07Z a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04T05:06:07.5+05:30 a.zip", file("a.zip", 12, utc(2026, 3, 3, 23, 36, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04 05:06:07,123 a.zip", file("a.zip", 12, utc(2026, 3, 4, 5, 6, 7))),
    ("-rw-r--r-- 1 u g 12 2026-03-04 05:06 -x.zip", file("-x.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 4 de marzo 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 4 de mar. de 2025 a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    ("03/04/2026  05:06 p. m.       1,234 a.zip", file("a.zip", 1234, utc(2026, 3, 4, 17, 6))),
    ("2026-03-04T05:06:07Z                 1234 a.zip", file("a.zip", 1234, utc(2026, 3, 4, 5, 6, 7))),
    ("2026-03-04 05:06:07.123 +0100        1234 a.zip", file("a.zip", 1234, utc(2026, 3, 4, 4, 6, 7))),
    ("2026-03-04 05:06                    -1234 a.zip", file("a.zip", None, FIVE_SIX)),
    ("03-04-26  05:06P              1234 a.zip", file("a.zip", 1234, utc(2026, 3, 4, 17, 6))),
    # Words for a folder in other languages: the server is asked whether it is one.
    ("04.03.2026  05:06    <REP>          sub", unknown("sub", None, FIVE_SIX)),
    ("04.03.2026  05:06    <Ordner>       sub", unknown("sub", None, FIVE_SIX)),
    # Paths where a name should be.
    ("-rw-r--r-- 1 u g 12 Mar  4 05:06 ./a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 Mar  4 05:06 /pub/a.zip", file("a.zip", 12, FIVE_SIX)),
    ("drwxr-xr-x 1 u g 12 Mar  4 05:06 sub/", folder("sub", 12, FIVE_SIX)),
    # Day and month that cannot be told apart are not guessed: the time is requested.
    ("03/04/2026  05:06                     12 a.zip", file("a.zip", 12, None)),
    ("-rw-r--r-- 1 u g 12 03/04/2026 05:06 a.zip", file("a.zip", 12, None)),
    ("-rw-r--r-- 1 u g 12 03-04-2026 05:06 a.zip", file("a.zip", 12, None)),
    ("-rw-r--r-- 1 u g 12 4 lis 05:06 a.zip", file("a.zip", 12, None)),
    # Separators of thousands.
    ("-rw-r--r-- 1 u g 1,234 Mar  4 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 1'234'567 Mar  4 05:06 a.zip", file("a.zip", 1234567, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 1\u202f234 Mar  4 05:06 a.zip", file("a.zip", 1234, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 1,23 Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
    ("04.03.2026  05:06          1 234 567 a.zip", file("a.zip", 1234567, FIVE_SIX)),
    ("04.03.2026  05:06          1\xa0234 a.zip", file("a.zip", 1234, FIVE_SIX)),
    ("03-04-26  05:06AM              1 234 a.zip", file("234 a.zip", 1, FIVE_SIX)),
    # A blank may separate thousands or columns: the size is requested.
    ("-rw-r--r-- 1 u g 1 234 567 Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 345 Mar  4 05:06 a.zip", file("a.zip", None, FIVE_SIX)),
    ("-rw-r--r-- 1 0 0 345 Mar  4 05:06 a.zip", file("a.zip", 345, FIVE_SIX)),
    # Chinese, Japanese and Korean.
    ("-rw-r--r-- 1 u g 12 3月  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12  3月 4日 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 3月4日 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 3月 4日 2025年 a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    ("-rw-r--r-- 1 u g 12 2025年 3月 4日 a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    ("-rw-r--r-- 1 u g 12 3월  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 十一月 28 2025 a.zip", file("a.zip", 12, utc(2025, 11, 28, 0, 0))),
    # The same in encodings that are not that of the names.
    ("-rw-r--r-- 1 u g 12 3\udcd4\udcc2  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 3\udc8c\udc8e 4\udc93\udcfa 2025\udc94N a.zip", file("a.zip", 12, utc(2025, 3, 4, 0, 0))),
    ("-rw-r--r-- 1 u g 12 M\udce4r  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    # Two words.
    ("-rw-r--r-- 1 u g 12 Thg 3  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 de març  4 05:06 a.zip", file("a.zip", 12, FIVE_SIX)),
    ("-rw-r--r-- 1 u g 12 d\u2019abr.  4 2025 a.zip", file("a.zip", 12, utc(2025, 4, 4, 0, 0))),
]


@pytest.mark.parametrize(("line", "entry"), FORMATS)
def test_lines_of_many_servers_are_read(line: str, entry: Entry) -> None:
    assert parse_list(line, GREENWICH, NOW) == entry


THIRD_MONTHS = """
Mar MAR mar. March Mär MÄR Mrz märz mars marzo març márc mart mrt maart maalis mac bře ožu kov. märts márta maw
мар мар. МАР бер сак Μάρ μαρ ΜΑΡ מרץ مارس مار มี.ค. 3月 3월 三月 Th3 Th03 M\udce4r m\udce1rc \udccc\udce0\udcf0
"""
"""The third month as `ls` writes it in many languages; in the last ones also in their old encodings."""


@pytest.mark.parametrize("month", THIRD_MONTHS.split())
def test_months_are_read_in_the_languages_of_servers(month: str) -> None:
    assert parse_list(f"-rw-r--r-- 1 u g 12 {month} 4 05:06 a.zip", GREENWICH, NOW) == file("a.zip", 12, FIVE_SIX)


ELEVENTH_MONTHS = """
noviembre novembro novembre November november ноября ноябрь ноя нояб. листоп. лист. noy қар նմբ нов נוב׳ नव॰ নভেম্বর நவ.
نونبر نوفمبر نومبر nob 11月 11월 十一月 Th11
"""


@pytest.mark.parametrize("month", ELEVENTH_MONTHS.split())
@pytest.mark.parametrize("form", ["{} 4  2025", "4 {} 2025", "4. {}. 2025"])
def test_months_of_more_languages_are_read_in_any_order(month: str, form: str) -> None:
    line = f"-rw-r--r-- 1 u g 12 {form.format(month)} a.zip"
    assert parse_list(line, GREENWICH, NOW) == file("a.zip", 12, utc(2025, 11, 4, 0, 0))


@pytest.mark.parametrize("month", ["jui", "lis"])
def test_a_month_whose_name_means_several_is_asked_for(month: str) -> None:
    """June and July are both "jui" in French of Belgium, Canada and Switzerland."""
    assert parse_list(f"-rw-r--r-- 1 u g 12 {month} 4 2025 a.zip", GREENWICH, NOW) == file("a.zip", 12, None)


@pytest.mark.parametrize(
    "line",
    [
        # AS/400, z/OS, VMS, NetWare, EPLF, Tandem, OS/2.
        "PARTNER  123456 11/28/26 10:12:33 *STMF  a.zip",
        "PEP USR         36864 04/03/24 14:06:34 *DIR       dir1/",
        "SAVE00 3390   2004/06/23  1    1  FB     128  6144  PS    INCOMING.RPTBM023.D061704",
        "Name      VV.MM   Created       Changed      Size  Init   Mod   Id",
        "TBSHELF1  01.03 2002/09/12 2002/10/11 09:37    11    11     0 KIL001",
        "Migrated                                                  NAME",
        "1-JUN.LIS;3              9/9           2-JUN-1998 07:32:04  [GROUP,OWNER]    (RWED,RWED,RWED,)",
        "Directory USER1:[TEMP]",
        "Total of 14 files, 34/44 blocks",
        "d [----AF--]          0                        512 Feb 22 17:32 _ADMIN",
        "- [RWCEAFMS] rwinston                        19968 Mar 12 15:20 Executive Summary.doc",
        "+i8388621.48594,m825718503,r,s280,\ta.zip",
        'IARPTS           101            354 08-Mar-26 15:09:12 244, 10 "nnnn"',
        "     0           DIR   05-12-97   16:52  Maintenance Desktop",
        # Lines that only look like ours.
        "-rw-r--r--   1 14       staff       80284 Aug 22  zxJDBC-1.2.3.tar.gz",
        "drwxr-xr-x   2 root     root         4096 Jam  4 00:03 zziplib",
        "drwxr-xr-x   2 root     99           4096Feb 23 10:01 zzplayer",
        "-rw-r--r-- 1 u g Mar  4 05:06 a.zip",
        "?????????? ? ?    ?       ?            ? a.zip",
        "03-04-26  05:06AM  my file.zip",
        "a.zip 12",
        "a.zip",
        "ls: cannot open directory '.': Permission denied",
    ],
)
def test_lines_that_are_not_understood_are_kept_as_they_came(line: str) -> None:
    good = "-rw-r--r-- 1 0 0 1 Mar  4 05:06 a.zip"
    for lines in ([line], [line, good], [good, line]):
        entries, unread = parse_lines(lines, lambda text: parse_list(text, GREENWICH, NOW))
        assert entries == [file("a.zip", 1, FIVE_SIX)] * (len(lines) - 1)
        assert unread == [line]


@pytest.mark.parametrize(
    "line",
    [
        "total 12", "total 1 234", "total 1\u202f234",
        "Total 1.2M", "insgesamt 12", "total of 12", "总用量 12", "合計 12", "합계 12", "итого 12",
        "\udcd7\udcdc\udcd3\udcc3\udcc1\udcbf 12", "  ", ".", "..",
        "drwxr-xr-x 2 0 0 4096 Mar  4 05:06 .", "drwxr-xr-x 2 0 0 4096 Mar  4 05:06 ..",
        "03-04-26  05:06AM       <DIR>          ..",
    ],
)  # fmt: skip
def test_lines_that_stand_for_no_entry_are_no_loss(line: str) -> None:
    assert parse_lines([line], lambda text: parse_list(text, GREENWICH, NOW)) == ([], [])


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("a.zip", unknown("a.zip")),
        ("/pub/two words.zip", unknown("two words.zip")),
        ("./a.zip", unknown("a.zip")),
        (".", myself(".")),
        ("/pub/..", myself("..")),
        ("sub/", None),
    ],
)
def test_nlst(line: str, entry: Entry | None) -> None:
    assert parse_name(line) == entry


def test_words_that_mean_two_months_mean_none() -> None:
    assert (month_number("lis"), month_number("srp"), month_number("LIP")) == (0, 0, 0)
    assert (month_number("ftp"), month_number("50"), month_number("")) == (None, None, None)


@given(st.integers(0, 2**63 - 1), st.sampled_from(["", ",", ".", "'", "\u2019", "\xa0", "\u202f"]))
def test_sizes_are_read_with_any_separator_of_thousands(size: int, separator: str) -> None:
    assert parse_size(f"{size:,}".replace(",", separator)) == size


@given(st.integers(max_value=-1) | st.integers(min_value=2**63) | st.text().filter(lambda text: not text.isdecimal()))
def test_numbers_without_sense_are_no_sizes(size: int | str) -> None:
    read = parse_size(str(size))
    assert read is None or re.fullmatch(r"\+?[0-9.,'\u2019\xa0\u2009\u202f\udca0]+", str(size))


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


names = st.text(st.characters(blacklist_characters="\r\n/", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..")
)
years = st.datetimes(datetime(1970, 1, 1), datetime(2069, 1, 1))  # noqa: DTZ001 - Hypothesis wants none
recent = st.timedeltas(timedelta(days=-1), timedelta(days=180))


ODD_NAMES = "jan feb mar apr may jun dec set lis мар 3月 ftp 4096 5 12 2024 28"
people = st.one_of(
    st.from_regex(r"[a-z_][a-z0-9_.$-]{0,11}", fullmatch=True),
    st.integers(0, 2**32).map(str),
    st.sampled_from(ODD_NAMES.split()),
)
groups = people | st.sampled_from(["Domain Users", "Domänen-Benutzer", "group with spaces"])
sizes = st.integers(0, 31) | st.integers(1970, 2100) | st.integers(0, 2**50)
dates = st.sampled_from(
    ["%b %d %H:%M", "%b %e %H:%M", "%d %b %H:%M", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m-%d %H:%M", "{}月 %d %H:%M"]
)


@given(names, st.integers(1, 9999), people, groups, sizes, recent, dates)
def test_what_any_server_writes_in_four_columns_is_read_again(
    name: str, links: int, owner: str, group: str, size: int, age: timedelta, date: str
) -> None:
    modified = (NOW - age).replace(second=0, microsecond=0)
    when = modified.strftime(date).format(modified.month)
    entry = parse_list(f"-rw-r--r-- {links:>3} {owner:<8} {group:<8} {size:>12} {when} {name}", GREENWICH, NOW)
    assert entry == file(name, size, modified)


@given(names, people.filter(lambda name: not name[0].isdecimal()), sizes, recent, dates)
def test_what_a_server_without_groups_writes_is_read_again(
    name: str, owner: str, size: int, age: timedelta, date: str
) -> None:
    modified = (NOW - age).replace(second=0, microsecond=0)
    when = modified.strftime(date).format(modified.month)
    entry = parse_list(f"-rw-r--r--   1 {owner:<8} {size:>12} {when} {name}", GREENWICH, NOW)
    assert entry == file(name, size, modified)


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


@pytest.mark.parametrize(
    "line", ["." * 3_000_000, " " * 9_000, "-rw-r--r-- 1 u g " + "9" * 5_000 + " Mar 04  2026 a.zip"]
)
def test_an_endless_line_takes_no_time_and_is_quoted_in_part(line: str) -> None:
    entries, unread = parse_lines([line], lambda text: parse_list(text, BERLIN, NOW))
    assert entries == []
    assert [len(text) <= 300 for text in unread] == [True]


@pytest.mark.parametrize(
    "line",
    [
        "total" + " " * 2_000 + "1" + " " * 2_000 + "x",
        "total" + " \t" * 1_000 + "1" + ",1 ." * 500 + "x",
        "-rw-r--r-- 1 u g 12 2026" + "\u2019" * 4_000,
        "2026-11-28 10:12 " + "1 000" * 800,
        "2026-11-28 10:12" + " " * 4_000,
    ],
)
def test_the_longest_hostile_line_takes_moments(line: str) -> None:
    began = time.process_time()
    parse_lines([line], lambda text: parse_list(text, BERLIN, NOW))
    assert time.process_time() - began < 5
