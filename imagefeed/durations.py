"""Parses durations and times in settings and on the command line. Pure."""

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST = timedelta(days=3_650)
"""Ten years, so that date arithmetic cannot overflow."""
DURATION_LIKE = f"like 90s, 10m, 48h or 7d, {_LONGEST.days}d at most"


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `10m`, `48h` or `7d`. Raises ValueError if it is invalid or over ten years."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: it must be {DURATION_LIKE}")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is too long: it must be {_LONGEST.days}d at most")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Return a duration as text that `parse_duration` reads."""
    seconds = span.total_seconds()
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.15g}{unit}"
    return f"{seconds:.15g}s"


def parse_moment(text: str) -> datetime:
    """Parse a duration (that long ago), a date, or a date and time (UTC unless it names its zone).

    Raises ValueError.
    """
    if _DURATION.fullmatch(text):
        return datetime.now(UTC) - parse_duration(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        like = "a duration like 90s, 10m, 48h or 7d (that long ago), or a date like 2026-03-01 or 2026-03-01T12:00"
        raise ValueError(f"{text!r} is not a time: it must be {like}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
