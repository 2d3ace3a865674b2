"""Time stamp of an archive: from its name, else its modification time, corrected if a clock is wrong."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from config.errors import SettingsError
from config.types import passes

_CODES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "I": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "p": r"[AaPp][Mm]",
    "b": r"[A-Za-z]{3}",
    "B": r"[A-Za-z]{3,9}",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
    "%": "%",
}
_PART = re.compile(r"%(.?)|[^%]+", re.DOTALL)
AHEAD = timedelta(days=1)
"""A stamp that is more than this after the time first seen comes from a wrong clock."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def read_stamp(pattern: str, name: str) -> datetime | None:
    """Return the time in a file's name, in UTC and whole seconds; None if there is none.

    `pattern` is text with strptime codes, such as `radar_%Y%m%d_%H%M`, and matches anywhere in the name. A time in the
    name without an offset is UTC.
    Raises SettingsError if the pattern has an unknown code or no year.
    """
    # The lookahead finds overlapping matches too: with %Y%m%d%H%M only the second match in 1202611221014 is a time.
    for match in re.finditer(f"(?=({_regex(pattern)}))", name):
        try:
            stamp = datetime.strptime(match[1], pattern)  # noqa: DTZ007 - the next line gives it a zone
        except ValueError:
            continue
        stamp = stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)
        if stamp >= _EARLIEST:
            return stamp.replace(microsecond=0)
    return None


def stamps_by(patterns: Mapping[str, str | None]) -> Callable[[str, str], datetime | None]:
    """Return a function of (source, path) that reads the stamp by the source's pattern; None if it has no pattern."""

    def stamp_of(source: str, path: str) -> datetime | None:
        pattern = patterns.get(source)
        return read_stamp(pattern, path) if pattern else None

    return stamp_of


@dataclass(frozen=True, slots=True)
class Stamp:
    """Time stamp of an archive, and its origin."""

    time: datetime
    named: bool = False
    """True if the time was read from the file's name."""
    replaced: bool = False
    """True if the time in the name or of the server was over a day ahead, so the time first seen is used instead."""


def decide_stamp(pattern: str | None, path: str, modified: datetime, first_seen: datetime) -> Stamp:
    """Return an archive's stamp: its name's time, else `modified`; `first_seen` if that is over a day earlier."""
    named = read_stamp(pattern, path.rpartition("/")[2]) if pattern else None
    time = named or modified
    if time > first_seen + AHEAD:
        return Stamp(first_seen.replace(microsecond=0), replaced=True)
    return Stamp(time, named=named is not None)


def _regex(pattern: str) -> str:
    codes = [match[1] for match in _PART.finditer(pattern) if match[1] is not None]
    wrong = sorted({f"%{code}" for code in codes if code not in _CODES or (code != "%" and codes.count(code) > 1)})
    if wrong or not {"Y", "y"} & {*codes}:
        why = f"{', '.join(wrong)} is unknown or occurs twice" if wrong else "it has no %Y"
        raise SettingsError(
            f"read the time from file names by STAMP {pattern!r}: {why}; use strptime codes, each at most once"
        )
    return "".join(re.escape(match[0]) if match[1] is None else _CODES[match[1]] for match in _PART.finditer(pattern))


StampPattern = Annotated[str, passes(_regex)]
"""Pattern for `read_stamp`. As the type of an app setting it raises SettingsError for an invalid pattern."""
