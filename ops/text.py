"""Text for people from numbers, times and messages of servers. Pure."""

from datetime import UTC, datetime, timedelta

from imagefeed.terminal import clean

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def last_error(error: str, again: datetime | None, now: datetime) -> str:
    """Return a source's last error, with the time `again` of the next try if that is still to come."""
    waits = error and again and again > now
    return f"{clean(error)} (asked again at {again:%H:%M:%S} UTC)" if waits else clean(error)


def span(seconds: float) -> str:
    """Return a duration in seconds as rounded text, such as `2.5 h`."""
    seconds = max(seconds, 0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 1.5 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 1.5 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    hours = seconds / _HOUR
    if seconds <= 3 * _DAY:
        return f"{hours:.1f} h" if hours < 9.95 and f"{hours:.1f}"[-1] != "0" else f"{hours:.0f} h"
    return f"{seconds / _DAY:.0f} days"


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago `then` was; under a minute is "just now", so that the page of an idle app does not change."""
    seconds = (now - then).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    return f"{seconds // _MINUTE:.0f} min ago" if seconds < 1.5 * _HOUR else f"{span(seconds)} ago"


def size(number: int) -> str:
    """Return a number of bytes with a decimal unit, such as `1.5 MB`."""
    if number < 1_000:
        return f"{number} B"
    for unit in ("kB", "MB", "GB"):
        number_of = number / {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
        if number_of < 999.5 or unit == "GB":
            return f"{number_of:.1f} {unit}" if number_of < 99.95 else f"{number_of:.0f} {unit}"
    raise AssertionError("gigabytes end it")


def moment(time: datetime) -> str:
    """Return a time as day, month and time in UTC, to the second."""
    return f"{time.astimezone(UTC):%d %b %H:%M:%S}"


def clock(time: datetime, now: datetime) -> str:
    """Return a time in UTC to the minute, with day and month unless it is today."""
    utc = time.astimezone(UTC)
    return f"{utc:%H:%M}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%d %b %H:%M}"


def only(stamp: datetime) -> str:
    """Return the options `--since` and `--until` that select the archives of one second."""
    start = stamp.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return f"--since {start.isoformat()} --until {(start + timedelta(seconds=1)).isoformat()}"
