"""One app setting: what its text may be, what is made of it, and how its default is written."""

import re
from dataclasses import MISSING, Field, dataclass
from datetime import timedelta
from itertools import pairwise, product
from math import isfinite
from types import UnionType
from typing import Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

NAME = re.compile(r"[a-z0-9-]{1,32}")
"""Names of sources and pipelines."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST = timedelta(days=3_650)
"""Ten years: so no time that is reckoned with leaves the calendar."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One app setting: the field that it fills."""

    group: type
    field: Field[Any]
    hint: Any


def read_value(text: str, hint: Any) -> Any:
    """Read a setting's text as its field's type. Raises ValueError, ValidationError."""
    if hint is timedelta:
        return parse_duration(text)
    if _is_tuple(hint):
        return TypeAdapter(hint).validate_python(text.split(","))
    if hint is str or str in get_args(hint):
        return text.replace("\\n", "\n")
    return TypeAdapter(hint).validate_python(text)


def check_value(name: str, value: Any) -> None:
    """Hold a value against what its type cannot say. Raises ValueError, LookupError, OSError."""
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(number, float) and not isfinite(number) for number in numbers):
        raise ValueError(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ValueError(name)
    if name == "PIPELINE_NAME" and not NAME.fullmatch(value):
        raise ValueError(name)
    if name.endswith("_SCHEDULE") and len(value.split()) != 6:
        raise ValueError(name)
    if name.endswith("__TIMEZONE"):
        ZoneInfo(value)
    if name.endswith("__ENCODING"):
        "".encode(value)


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `48h` or `7d`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: it must be like 90s, 10m, 48h or 7d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is too long: it must be {_LONGEST.days}d at most")
    return timedelta(seconds=seconds)


def longest_pause(schedule: str) -> timedelta | None:
    """Tell the longest time between two ticks of six NCRONTAB fields; None where it is not the same each day."""
    second, minute, hour, *days = schedule.split()
    if set(days) != {"*"}:
        return None
    try:
        clock = product(_ticks(hour, 24), _ticks(minute, 60), _ticks(second, 60))
    except ValueError:
        return None
    ticks = sorted(3_600 * h + 60 * m + s for h, m, s in clock)
    return timedelta(seconds=max(later - tick for tick, later in pairwise([*ticks, ticks[0] + 86_400])))


def _ticks(field: str, end: int) -> set[int]:
    """Give the values of one field, such as `*`, `*/5`, `3,33` or `8-17`. Raises ValueError."""
    ticks: set[int] = set()
    for part in field.split(","):
        values, _, step = part.partition("/")
        first, _, last = ("0", "-", str(end - 1)) if values == "*" else values.partition("-")
        ticks.update(range(int(first), int(last or (end - 1 if step else first)) + 1, int(step or 1)))
    if not ticks:
        raise ValueError(field)
    return ticks


def format_duration(span: timedelta) -> str:
    """Write a duration as `parse_duration` reads it."""
    seconds = span.total_seconds()
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.15g}{unit}"
    return f"{seconds:.15g}s"


def default_text(setting: Setting) -> str:
    """Write a setting's default as an app setting would; empty where there is none."""
    value = None if setting.field.default is MISSING else setting.field.default
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def wanted(setting: Setting) -> str:
    """Say in words what a setting's type accepts."""
    hint = setting.hint
    if hint is timedelta:
        return f"a duration like 90s, 10m, 48h or 7d, {_LONGEST.days}d at most"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if _is_tuple(hint):
        return "numbers with commas between them"
    words = {int: "a whole number above 0", float: "a number above 0", bool: "true or false"}
    special = {
        "timezone": "an IANA time zone such as Europe/Berlin",
        "encoding": "a text encoding that Python knows, such as utf-8 or cp1252",
        "name": "1 to 32 of a-z, 0-9 and -",
        "poll": "six NCRONTAB fields",
        "reconcile": "six NCRONTAB fields",
    }
    return special.get(setting.field.name) or words.get(hint, "a text")


def _is_tuple(hint: Any) -> bool:
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return any(get_origin(option) is tuple for option in options)
