"""Numbers, times and strangers' texts as people read them. Pure."""

from datetime import UTC, datetime, timedelta

from imagefeed.terminal import clean

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def last_error(error: str, again: datetime | None, now: datetime) -> str:
    """Write what went wrong the last time; whether it is mended shows only once the server is asked `again`."""
    waits = error and again and again > now
    return f"{clean(error)} (asked again at {again:%H:%M:%S} UTC)" if waits else clean(error)


def span(seconds: float) -> str:
    """Write a length of time, roughly."""
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
    """Write how long ago something was; the first minute counts as now, so that what is quiet stays the same."""
    seconds = (now - then).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    return f"{seconds // _MINUTE:.0f} min ago" if seconds < 1.5 * _HOUR else f"{span(seconds)} ago"


def size(number: int) -> str:
    """Write a number of bytes."""
    if number < 1_000:
        return f"{number} B"
    for unit in ("kB", "MB", "GB"):
        number_of = number / {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
        if number_of < 999.5 or unit == "GB":
            return f"{number_of:.1f} {unit}" if number_of < 99.95 else f"{number_of:.0f} {unit}"
    raise AssertionError("gigabytes end it")


def moment(time: datetime) -> str:
    """Write a time to the second."""
    return f"{time.astimezone(UTC):%d %b %H:%M:%S}"


def clock(time: datetime, now: datetime) -> str:
    """Write a time to the minute, with its day where that is another one."""
    utc = time.astimezone(UTC)
    return f"{utc:%H:%M}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%d %b %H:%M}"


def only(stamp: datetime) -> str:
    """Write the options with which a command looks at the archives of one second."""
    start = stamp.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return f"--since {start.isoformat()} --until {(start + timedelta(seconds=1)).isoformat()}"
