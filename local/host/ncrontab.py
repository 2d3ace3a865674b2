"""NCRONTAB expressions as the real timer trigger reads them: NCrontab's rules, not cron's.

Source: NCrontab's `CrontabFieldImpl` and the WebJobs timer extension's `TimerSchedule`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from local.host.app import HostError, parse_time_span

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_FARTHEST = 40 * 366
"""Days to look ahead: 29 February falls on a given weekday within 40 years, and 31 February never comes."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the six fields: the values that it may hold."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    """Names of the values from `first` on; any beginning of one stands for it."""

    def values(self, text: str) -> frozenset[int]:
        """Return the values that `text` matches. Raises ValueError."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, text: str) -> range:
        numbers, slash, step = text.partition("/")
        every = int(step) if slash else 1
        if every < 1:
            raise ValueError(f"{step!r} is no step")
        if numbers == "*":
            return range(self.first, self.last + 1, every)
        start, dash, end = numbers.partition("-")
        low = self._value(start)
        high = self._value(end) if dash else self.last if slash else low
        # NCrontab swaps the ends of a range that runs backwards: hours 22-2 are 2 to 22.
        return range(min(low, high), max(low, high) + 1, every)

    def _value(self, text: str) -> int:
        if text[:1].isdecimal():
            value = int(text)
        else:
            named = (
                n for n, name in enumerate(self.names, self.first) if text and name.lower().startswith(text.lower())
            )
            value = next(named, -1)
        if not self.first <= value <= self.last:
            raise ValueError(f"{text!r} is no {self.name}: it must be {self.first} to {self.last}")
        return value


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _DAYS),
)


class Schedule:
    """When a timer runs, in UTC: six NCRONTAB fields, five without the seconds, or a .NET time span between runs."""

    def __init__(self, text: str) -> None:
        """Raises HostError."""
        self.text = text
        self._every: timedelta | None = None
        fields = text.split()
        try:
            if len(fields) == 1:
                self._every = parse_time_span(text.strip())
            else:
                self._parse(["0", *fields] if len(fields) == 5 else fields)
        except ValueError as exc:
            raise HostError(f"the schedule {text!r} is no NCRONTAB expression: {exc}") from exc

    def _parse(self, fields: list[str]) -> None:
        if len(fields) != 6:
            raise ValueError("it must have six fields, such as '0 */5 * * * *' for every 5 minutes")
        values = [field.values(text) for field, text in zip(_FIELDS, fields, strict=True)]
        seconds, minutes, hours, days, months, weekdays = values
        self._times = [
            time(h, m, s, tzinfo=UTC) for h in sorted(hours) for m in sorted(minutes) for s in sorted(seconds)
        ]
        self._days, self._months, self._weekdays = days, months, weekdays
        every_minute = values[1:] == [field.values("*") for field in _FIELDS[1:]]
        self._often = every_minute and len(seconds) > 1

    def after(self, moment: datetime) -> datetime | None:
        """Return the first tick later than `moment`; None if none ever comes."""
        if self._every is not None:
            return moment + self._every
        for day in self._dates(moment.date()):
            passed = bisect_right(self._times, moment.timetz()) if day == moment.date() else 0
            if passed < len(self._times):
                return datetime.combine(day, self._times[passed])
        return None

    def _dates(self, first: date) -> Iterator[date]:
        """Yield the days of the schedule: day of the month *and* weekday must fit, where cron is content with one."""
        for number in range(_FARTHEST):
            day = first + timedelta(days=number)
            if day.month in self._months and day.day in self._days and day.isoweekday() % 7 in self._weekdays:
                yield day

    def more_often_than_a_minute(self) -> bool:
        """Tell whether it ticks several times in every minute; a schedule with any pause between does not.

        Source: `ShouldDisableScheduleMonitor` of the WebJobs timer extension.
        """
        return self._often if self._every is None else self._every < timedelta(minutes=1)
