"""The hours in which a source has new archives, by its local time: `Mo-Su 06:00-20:00 Europe/Berlin`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo

from config.types import Words, passes

_DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_TEXT = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d) (\S+)")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveHours:
    """Weekdays (0 is Monday), and start and end after local midnight in a zone; the end may be on the next day."""

    weekdays: frozenset[int]
    start: timedelta
    end: timedelta
    zone: ZoneInfo

    def between(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the active spans between `start` and `end`, in UTC and in order. Spans that touch are merged."""
        if start >= end:
            return
        current: tuple[datetime, datetime] | None = None
        day = start.astimezone(self.zone).date() - 2 * _DAY
        while day <= end.astimezone(self.zone).date():
            if day.weekday() in self.weekdays:
                midnight = datetime.combine(day, time())
                # Clocks show one hour twice when summer time ends: a start means the first time, an end the second.
                span = (
                    max(start, self._utc(midnight + self.start, fold=0)),
                    min(end, self._utc(midnight + self.end, fold=1)),
                )
                if current and span[0] <= current[1]:
                    current = (current[0], max(current[1], span[1]))
                elif span[0] < span[1]:
                    if current:
                        yield current
                    current = span
            day += _DAY
        if current:
            yield current

    def _utc(self, wall: datetime, *, fold: int) -> datetime:
        return wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)


@cache
def parse_active(text: str) -> ActiveHours:
    """Parse `Mo-Fr 06:00-20:00 Europe/Berlin`; also `Mo,We-Fr` and `22:00-04:00`. Raises ValueError, LookupError."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not days, hours and a time zone")
    days, *clocks, zone = match.groups()
    hours = [timedelta(hours=int(h), minutes=int(m)) for h, m in zip(clocks[::2], clocks[1::2], strict=True)]
    if any(int(minute) > 59 for minute in clocks[1::2]) or max(hours) > _DAY or hours[0] == _DAY:
        raise ValueError(f"{text!r} has an impossible time of day")
    weekdays = set[int]()
    for part in days.split(","):
        first, last = (_DAYS.index(day) for day in (part.split("-") if "-" in part else (part, part)))
        weekdays |= {(first + number) % 7 for number in range((last - first) % 7 + 1)}
    end = hours[1] if hours[1] > hours[0] else hours[1] + _DAY
    return ActiveHours(weekdays=frozenset(weekdays), start=hours[0], end=end, zone=ZoneInfo(zone))


def active_between(text: str | None, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return the active spans between two times; the whole span if `text` is None."""
    if text is None:
        return [(start, end)] if start < end else []
    return list(parse_active(text).between(start, end))


Active = Annotated[
    str, passes(parse_active), Words("days, hours and an IANA time zone, like Mo-Fr 06:00-20:00 Europe/Berlin")
]
