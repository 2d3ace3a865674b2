"""Parsers of FTP listings: MLSD facts, LIST lines (Unix and Windows styles) and NLST names."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import islice
from zoneinfo import ZoneInfo

from ingest.protocols.ftp_months import is_total, month_number


class Kind(Enum):
    """Type of a folder entry."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"
    """A device, socket or pipe."""
    UNKNOWN = "unknown"
    """The listing does not say."""
    SELF = "self"
    """The folder itself or its parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a folder. `size` (bytes) and `modified` are None if the listing lacks them, or they make no sense.

    `unique` identifies the file or folder on its server, whatever its name; empty if the server does not say.
    """

    name: str
    kind: Kind
    size: int | None
    modified: datetime | None
    unique: str = ""


_MLSD_KINDS = {
    "file": Kind.FILE, "dir": Kind.FOLDER, "cdir": Kind.SELF, "pdir": Kind.SELF,
    "link": Kind.LINK, "slink": Kind.LINK, "symlink": Kind.LINK,
    "chr": Kind.OTHER, "blk": Kind.OTHER, "fifo": Kind.OTHER, "pipe": Kind.OTHER, "socket": Kind.OTHER,
    "sock": Kind.OTHER, "door": Kind.OTHER, "device": Kind.OTHER,
}  # fmt: skip
_LIST_KINDS = {"-": Kind.FILE, "d": Kind.FOLDER, "l": Kind.LINK}
_DOS_KINDS = {"DIR": Kind.FOLDER, "SYMLINK": Kind.LINK, "SYMLINKD": Kind.OTHER, "JUNCTION": Kind.OTHER}

_FACT = r"[^;= ]+=[^;]*;"
_MLSD = re.compile(rf" ?(?P<facts>(?:{_FACT})+|(?:{_FACT})*[^;= ]+=[^; ]*) (?P<name>.+)", re.DOTALL)
_UNIX = re.compile(r"(?P<type>[-dlbcpsD])[-rwxsStTlL]{9}[+.@]?(?P<rest>.*)", re.DOTALL)
_FIELD = re.compile(r"[^ \t]+")
_FIELDS = 16
"""Fields of a Unix line among which the size is searched."""
_SIZE_FIELD = 3
"""Where the size is in most Unix lines, after the number of links, the owner and the group."""

_WORD = r"(?:de\ |d\u2019)?[^\s\d,]+?|(?:thg?|tháng)\ ?\d{1,2}|\d{1,2}[^\x00-\x7f]{1,3}"
_DAY = r"(?P<day>\d{1,2})(?:\.|[^\x00-\x7f]{1,3})?"
_YEAR = r"(?P<year>\d{4})(?:[^\x00-\x7f]{1,2}[N~]?|[^\x00-\x7f]{3})?"
_OFFSET = r"(?P<offset>Z|\ ?[-+](?:0\d|1[0-4]):?[0-5]\d)"
_CLOCK = r"(?P<clock>\d{1,2}:\d{2}(?::\d{2})?)"
_NUMERIC = r"(?P<a>\d{1,4})(?P<mark>[-./])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{4}|\d{1,2})\.?"
_UNIX_DATES = [
    re.compile(rf"[ \t]+{pattern}\ (?P<name>.+)", re.VERBOSE | re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(?P<month>{_WORD})[.,]*[ \t]*{_DAY},?[ \t]+(?:(?P<clock>\d{{1,2}}:\d{{2}})|{_YEAR})",
        # ls -T of BSD writes the year behind the seconds.
        rf"(?P<month>{_WORD})[.,]*[ \t]*{_DAY},?[ \t]+(?P<clock>\d{{1,2}}:\d{{2}}:\d{{2}})(?:[ \t]+{_YEAR}(?=\ ))?",
        rf"{_DAY}[ \t]*(?P<month>{_WORD})[.,]*[ \t]+(?:{_CLOCK}|(?:de\ )?{_YEAR})",
        rf"{_DAY}[-./](?P<month>{_WORD})[-./](?P<year>\d{{4}})(?:[ \t]+{_CLOCK})?",
        rf"(?P<year>\d{{4}})[^\x00-\x7f]+[ \t]*(?P<month>{_WORD})[ \t]*{_DAY}(?:[ \t]+{_CLOCK})?",
        rf"{_NUMERIC}(?:(?:[ \t]+|T){_CLOCK}(?:[.,]\d+)?{_OFFSET}?|\ ?)",
        rf"(?P<number>\d{{2}})-(?P<day>\d{{2}})[ \t]+(?:{_CLOCK}|{_YEAR})",
    )
]
# Windows itself, which writes AM and PM, never separates thousands: there a blank begins the name.
_DOS = re.compile(
    rf"""{_NUMERIC}(?:[ \t]+|T){_CLOCK}(?:[.,]\d+)?{_OFFSET}?[ \t]?(?P<half>[ap](?:\.?\ ?m\.?)?)?[ \t]+
        (?: <(?P<kind>[^\s<>]+)>[ \t]+ | (?P<size>(?(half)(?!)|\d{{1,3}}(?:\ \d{{3}})+)|[-+]?\d[^ \t]*)\ )
        (?P<name>.+)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(
    r"\+?(?:[0-9]+|[0-9]{1,3}(?P<mark>[.,'\u2019\xa0\u2009\u202f\udca0])[0-9]{3}(?:(?P=mark)[0-9]{3})*)"
)
_LARGEST = 2**63 - 1
_DIGITS = 40
_LONGEST_LINE, LONGEST_QUOTE = 4096, 300
"""Characters of a line that is parsed, because patterns take quadratic time, and of one that is quoted."""
_EARLIEST, _LATEST = 1970, 2200
"""Years of times that make sense."""
_EXACT = re.compile(r"(\d{14})(?:\.\d+)?\s*(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE)
_TOTAL = re.compile(r"(?P<word>\D+?)(?: of)?:?[ \t]++\d[\d.,'\u2019\s]*+[KMGTP]?B?\s*", re.IGNORECASE)
_ONE_DAY = timedelta(days=1)


def parse_lines(lines: Iterable[str], parse: Callable[[str], Entry | None]) -> tuple[list[Entry], list[str]]:
    """Return the entries of a listing, and the lines that are not understood.

    Blank lines, the line of `ls -l` with the number of blocks, and `.` and `..` are neither.
    """
    entries, unread = [], []
    for line in lines:
        if len(line) > _LONGEST_LINE:
            unread.append(line[:LONGEST_QUOTE])
            continue
        entry = parse(line)
        if entry is None and not _is_harmless(line):
            unread.append(line)
        elif entry is not None and entry.kind is not Kind.SELF:
            entries.append(entry)
    return entries, unread


def _is_harmless(line: str) -> bool:
    total = _TOTAL.fullmatch(line)
    return not line.strip() or line.strip() in (".", "..") or (total is not None and is_total(total["word"]))


def parse_mlsd(line: str) -> Entry | None:
    """Parse one line of MLSD or MLST; None if it is malformed."""
    match = _MLSD.fullmatch(line)
    if match is None:
        return None
    facts = {key.lower(): value for key, _, value in (fact.partition("=") for fact in match["facts"].split(";"))}
    kind = _mlsd_kind(facts.get("type", ""), facts.get("perm", ""))
    name = _last_part(match["name"])
    return Entry(
        name=name,
        kind=Kind.SELF if name in (".", "..") else kind,
        size=parse_size(facts.get("size", "")),
        modified=parse_mdtm(facts.get("modify", "")),
        unique=facts.get("unique", ""),
    )


def _last_part(name: str) -> str:
    """Return the name at the end of a path: some servers write `./a.zip`, `/pub/a.zip` or, of a folder, `sub/`."""
    return name.rstrip("/").rpartition("/")[2] or name


def _mlsd_kind(kind: str, permissions: str) -> Kind:
    """Return the type of an entry, by its permissions if it is not named: a folder can be entered, a file read."""
    if kind:
        name = re.split(r"[:\-/]", kind.lower().removeprefix("os.unix="))[0]
        return _MLSD_KINDS.get(name, Kind.UNKNOWN)
    if {"e", "l"} & {*permissions.lower()}:
        return Kind.FOLDER
    return Kind.FILE if "r" in permissions.lower() else Kind.UNKNOWN


def parse_mdtm(text: str) -> datetime | None:
    """Parse `YYYYMMDDHHMMSS[.sss]` as UTC and drop the fraction; None if the text has another form.

    A `Z` or an offset behind it, which RFC 3659 does not allow, is read too.
    """
    match = _EXACT.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return _sensible(datetime.strptime(match[1] + (match[2] or "Z"), "%Y%m%d%H%M%S%z"))
    except (ValueError, OverflowError):
        return None


def parse_size(text: str) -> int | None:
    """Parse a size in bytes, with or without separators of thousands; None if it is negative or no number."""
    if len(text) > _DIGITS or _NUMBER.fullmatch(text) is None:
        return None
    size = int(re.sub(r"\D", "", text))
    return size if size <= _LARGEST else None


def parse_name(line: str) -> Entry | None:
    """Parse one line of NLST, which may lead to the file by a path."""
    name = line.rpartition("/")[2]
    kind = Kind.SELF if name in (".", "..") else Kind.UNKNOWN
    return Entry(name=name, kind=kind, size=None, modified=None) if name else None


def parse_list(line: str, zone: ZoneInfo, now: datetime) -> Entry | None:
    """Parse one line of LIST, with times in `zone`; None if it is malformed."""
    return _parse_unix(line, zone, now) or _parse_dos(line, zone)


def _parse_unix(line: str, zone: ZoneInfo, now: datetime) -> Entry | None:
    match = _UNIX.fullmatch(line)
    found = match and _size_and_date(match["rest"])
    if match is None or found is None:
        return None
    size, date = found
    kind = _LIST_KINDS.get(match["type"], Kind.OTHER)
    name = _last_part(date["name"].partition(" -> ")[0] if kind is Kind.LINK else date["name"])
    return Entry(
        name=name,
        kind=Kind.SELF if name in (".", "..") else kind,
        size=parse_size(size),
        modified=_unix_time(date.groupdict(), zone, now),
    )


def _size_and_date(rest: str) -> tuple[str, re.Match[str]] | None:
    """Return the size and the date, of which each is found by the other.

    Owners and groups can look like a size or a month, hold spaces, or be absent; so can the start of a name.
    """
    fields = list(islice(_FIELD.finditer(rest), _FIELDS))
    first, right, left = fields[:1], fields[_SIZE_FIELD:], fields[1:_SIZE_FIELD]
    for field in (*right[:1], *left, *right[1:], *first):
        if field[0].lstrip("+-")[:1].isdecimal() and (date := _unix_date(rest, field.end())):
            return _certain_size(fields, field), date
    return None


def _certain_size(fields: list[re.Match[str]], field: re.Match[str]) -> str:
    """Return a size, or an empty text if it may be the end of a number whose thousands a blank separates."""
    before = fields[fields.index(field) - 1][0] if field in fields[_SIZE_FIELD + 1 :] else ""
    return "" if re.fullmatch(r"\d{1,3}", before) and re.fullmatch(r"\d{3}", field[0]) else field[0]


def _unix_date(rest: str, start: int) -> re.Match[str] | None:
    matches = (pattern.match(rest, start) for pattern in _UNIX_DATES)
    return next((match for match in matches if match and _month(match.groupdict()) is not None), None)


def _month(date: dict[str, str | None]) -> int | None:
    """Return the month's number; 0 if it is ambiguous; None if the word is no month."""
    number = re.search(r"\d+", date.get("month") or date.get("number") or "")
    if number:
        return int(number[0]) if 1 <= int(number[0]) <= 12 else None
    return month_number(re.sub(r"^(?:de |d\u2019)", "", date["month"] or "")) if "month" in date else 0


def _unix_time(date: dict[str, str | None], zone: ZoneInfo, now: datetime) -> datetime | None:
    clock = tuple(map(int, (date.get("clock") or "0:0").split(":")))
    if date.get("a"):
        day = _numeric_date(date, month_first=None)
        return _in_zone(zone, *day, *clock, offset=date.get("offset")) if day else None
    month, day_of_month = _month(date) or 0, int(date["day"] or 0)
    if year := date.get("year"):
        return _in_zone(zone, int(year), month, day_of_month, *clock)
    times = (_in_zone(zone, number, month, day_of_month, *clock) for number in _years(now))
    return next((time for time in times if time and time <= now + _ONE_DAY), None)


def _years(now: datetime) -> Iterator[int]:
    """Return the years to try for a date without a year, latest first: enough to include a 29th of February."""
    return iter(range(now.year + 1, now.year - 9, -1))


def _numeric_date(date: dict[str, str | None], *, month_first: bool | None) -> tuple[int, int, int] | None:
    """Return year, month and day of three numbers; None if their order is ambiguous.

    `month_first`: whether that is the custom of the format; None if it has none. With dots the day is always first.
    """
    first, second, third = (int(date[name] or 0) for name in "abc")
    if len(date["a"] or "") > 2:
        return first, second, third
    year = third if third > 99 else third + (2000 if third < 70 else 1900)
    if date["mark"] == "." or first > 12:
        return year, second, first
    if month_first or second > 12 or first == second:
        return year, first, second
    return None


def _parse_dos(line: str, zone: ZoneInfo) -> Entry | None:
    match = _DOS.fullmatch(line)
    if match is None:
        return None
    # In French it is <REP>: what other words mean is asked for.
    kind = _DOS_KINDS.get(match["kind"].upper(), Kind.UNKNOWN) if match["kind"] else Kind.FILE
    name = _last_part(match["name"].partition(" [")[0] if kind is Kind.LINK else match["name"])
    return Entry(
        name=name,
        kind=Kind.SELF if name in (".", "..") else kind,
        size=parse_size((match["size"] or "").replace(" ", "")),
        modified=_dos_time(match, zone),
    )


def _dos_time(match: re.Match[str], zone: ZoneInfo) -> datetime | None:
    day = _numeric_date(match.groupdict(), month_first=match["mark"] == "-" or bool(match["half"]) or None)
    hour, *rest = map(int, match["clock"].split(":"))
    if match["half"]:
        hour = hour % 12 + (12 if match["half"][0].lower() == "p" else 0)
    return _in_zone(zone, *day, hour, *rest, offset=match["offset"]) if day else None


def _in_zone(zone: ZoneInfo, *parts: int, offset: str | None = None) -> datetime | None:
    """Convert local time to UTC; the earlier one if clocks go back and it occurs twice; None if the date is invalid."""
    try:
        given = datetime.strptime(offset.strip(), "%z").tzinfo if offset else zone
        return _sensible(datetime(*parts, tzinfo=given))  # type: ignore[arg-type,misc]  # year to second, no zone
    except (ValueError, OverflowError):
        return None


def _sensible(time: datetime) -> datetime | None:
    """Return a time in UTC; None for one by which a server says that it knows none, such as the year 1."""
    return time.astimezone(UTC) if _EARLIEST <= time.year <= _LATEST else None
