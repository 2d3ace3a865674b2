"""An archive's own time: read from its name, else its modified time, and put right where a clock is wrong."""

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
"""A clock that tells a later time than this from now is wrong."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def read_stamp(pattern: str, name: str) -> datetime | None:
    """Read the time from a file's name; None if the name holds none. UTC unless the name has an offset.

    `pattern` is a text with strptime codes, such as `radar_%Y%m%d_%H%M`, that must occur somewhere in the name.
    Raises SettingsError if the pattern has an unknown code or no year.
    """
    # Looking ahead finds overlapping places too: of 1202611221014 in %Y%m%d%H%M only the second one is a time.
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
    """Return what reads the stamp of a source's path by the source's pattern; None where there is no pattern."""

    def stamp_of(source: str, path: str) -> datetime | None:
        pattern = patterns.get(source)
        return read_stamp(pattern, path) if pattern else None

    return stamp_of


@dataclass(frozen=True, slots=True)
class Stamp:
    """An archive's own time, and where it is from."""

    time: datetime
    named: bool = False
    """Read from the file's name."""
    replaced: bool = False
    """True if the time from the name or server was more than a day ahead: the time first seen is used instead."""


def decide_stamp(pattern: str | None, path: str, modified: datetime, first_seen: datetime) -> Stamp:
    """Decide an archive's stamp."""
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
            f"read the time from file names by STAMP {pattern!r}: {why}; use codes of strptime, once each"
        )
    return "".join(re.escape(match[0]) if match[1] is None else _CODES[match[1]] for match in _PART.finditer(pattern))


StampPattern = Annotated[str, passes(_regex)]
"""A pattern that `read_stamp` takes; as an app setting's type it raises SettingsError for any other."""
