"""Parsers of FTP listings: MLSD facts and LIST lines (Unix and Windows styles)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo


class Kind(Enum):
    """Type of a folder entry."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a folder. `size` (bytes) and `modified` are None if the listing lacks them."""

    name: str
    kind: Kind
    size: int | None
    modified: datetime | None


_MLSD_KINDS = {"file": Kind.FILE, "dir": Kind.FOLDER}
_LIST_KINDS = {"-": Kind.FILE, "d": Kind.FOLDER, "l": Kind.LINK}

_UNIX = re.compile(
    r"""(?P<type>[-dlbcpsD])[-rwxsStTlL]{9}[+.@]?\s.*?
        (?P<size>\d+)\s+
        (?: (?P<month>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+(?: (?P<clock>\d{1,2}:\d{2}) | (?P<year>\d{4}) )
          | (?P<iso>\d{4}-\d{2}-\d{2}\ \d{2}:\d{2}) )
        \ (?P<name>.+)""",
    re.VERBOSE,
)
_WINDOWS = re.compile(
    r"""(?P<month>\d{2})-(?P<day>\d{2})-(?P<year>\d{2}|\d{4})\s+
        (?P<hour>\d{1,2}):(?P<minute>\d{2})(?P<half>[AaPp][Mm])?\s+
        (?: <(?P<mark>[A-Z]+)>\s+ | (?P<size>\d+)\  )(?P<name>.+)""",
    re.VERBOSE,
)
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EXACT = re.compile(r"(\d{14})(?:\.\d+)?\s*(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE)
_DAY = timedelta(days=1)


def parse_mlsd(line: str) -> Entry | None:
    """Parse one line of MLSD or MLST; None if it is malformed or stands for the folder itself or its parent."""
    text, space, name = line.lstrip(" ").partition(" ")
    facts = {key.lower(): value for key, _, value in (fact.partition("=") for fact in text.split(";"))}
    kind = facts.get("type", "").lower()
    if not space or not name or kind in ("cdir", "pdir"):
        return None
    link = kind.startswith(("os.unix=slink", "os.unix=symlink"))
    return Entry(
        name=name,
        kind=Kind.LINK if link else _MLSD_KINDS.get(kind, Kind.OTHER),
        size=int(facts["size"]) if facts.get("size", "").isdecimal() else None,
        modified=parse_mdtm(facts.get("modify", "")),
    )


def parse_mdtm(text: str) -> datetime | None:
    """Parse `YYYYMMDDHHMMSS[.sss]` as UTC and drop the fraction; None if the text has another form.

    A `Z` or an offset behind it, which RFC 3659 does not allow, is read too.
    """
    match = _EXACT.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return datetime.strptime(match[1] + (match[2] or "Z"), "%Y%m%d%H%M%S%z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_list(line: str, zone: ZoneInfo, now: datetime) -> Entry | None:
    """Parse one line of LIST, with times in `zone`; None if it is malformed or its name is `.` or `..`."""
    entry = _parse_unix(line, zone, now) or _parse_windows(line, zone)
    return None if entry is None or entry.name in (".", "..") else entry


def _parse_unix(line: str, zone: ZoneInfo, now: datetime) -> Entry | None:
    match = _UNIX.fullmatch(line)
    if match is None:
        return None
    kind = _LIST_KINDS.get(match["type"], Kind.OTHER)
    name = match["name"].partition(" -> ")[0] if kind is Kind.LINK else match["name"]
    return Entry(name=name, kind=kind, size=int(match["size"]), modified=_unix_time(match, zone, now))


def _unix_time(match: re.Match[str], zone: ZoneInfo, now: datetime) -> datetime | None:
    if match["iso"]:
        return _in_zone(zone, *map(int, re.split(r"\D", match["iso"])))
    name, day = match["month"].lower(), int(match["day"])
    month = _MONTHS.index(name) if name in _MONTHS else 0
    if match["year"]:
        return _in_zone(zone, int(match["year"]), month, day)
    hour, minute = map(int, match["clock"].split(":"))
    times = (_in_zone(zone, year, month, day, hour, minute) for year in _years(now))
    return next((time for time in times if time and time <= now + _DAY), None)


def _years(now: datetime) -> Iterator[int]:
    """Return the years to try for a date without a year, latest first: enough to include a 29th of February."""
    return iter(range(now.year + 1, now.year - 9, -1))


def _parse_windows(line: str, zone: ZoneInfo) -> Entry | None:
    match = _WINDOWS.fullmatch(line)
    if match is None:
        return None
    marked = Kind.FOLDER if match["mark"] == "DIR" else Kind.OTHER
    return Entry(
        name=match["name"],
        kind=marked if match["mark"] else Kind.FILE,
        size=int(match["size"]) if match["size"] else None,
        modified=_windows_time(match, zone),
    )


def _windows_time(match: re.Match[str], zone: ZoneInfo) -> datetime | None:
    year, hour = int(match["year"]), int(match["hour"])
    if year < 100:
        year += 2000 if year < 70 else 1900
    if match["half"]:
        hour = hour % 12 + (12 if match["half"].lower() == "pm" else 0)
    return _in_zone(zone, year, int(match["month"]), int(match["day"]), hour, int(match["minute"]))


def _in_zone(zone: ZoneInfo, *parts: int) -> datetime | None:
    """Convert local time to UTC; the earlier one if clocks go back and it occurs twice; None if the date is invalid."""
    try:
        return datetime(*parts, tzinfo=zone).astimezone(UTC)  # type: ignore[arg-type,misc]  # year to minute, no zone
    except (ValueError, OverflowError):
        return None
