"""Parse NCRONTAB expressions as the real timer trigger does, and check those given as settings.

NCrontab's rules differ from cron's. Source: NCrontab's `CrontabFieldImpl`, and tests on the real host.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated

from config.errors import SettingsError
from config.types import Words, passes

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_FARTHEST = 40 * 366
"""Days to search: 29 February falls on every weekday within 40 years; 31 February is never found."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the six fields, and its possible values."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    """Names of the values from `first` on. Any prefix of a name is accepted."""

    def values(self, text: str) -> frozenset[int]:
        """Return the values that `text` matches. Raises ValueError."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def backwards(self, text: str) -> str | None:
        """Return the first range of `text` whose end comes before its start; None if there is none."""
        ranges = (part.partition("/")[0] for part in text.split(","))
        return next(
            (r for r in ranges if "-" in r and self._value(r.split("-")[0]) > self._value(r.split("-")[1])), None
        )

    def _part(self, text: str) -> range:
        numbers, slash, step = text.partition("/")
        if slash and not (step.isdecimal() and int(step)):
            raise ValueError(f"{step!r} is not a step: it must be a whole number above 0")
        every = int(step) if slash else 1
        if numbers == "*":
            return range(self.first, self.last + 1, every)
        start, dash, end = numbers.partition("-")
        low = self._value(start)
        high = self._value(end) if dash else self.last if slash else low
        # NCrontab swaps the ends of a range whose end comes before its start: hours 22-2 mean 2 to 22.
        return range(min(low, high), max(low, high) + 1, every)

    def _value(self, text: str) -> int:
        if text.isdecimal():
            value = int(text)
        else:
            named = (
                n for n, name in enumerate(self.names, self.first) if text and name.lower().startswith(text.lower())
            )
            value = next(named, -1)
        if not self.first <= value <= self.last:
            raise ValueError(f"{text!r} is not a {self.name}: it must be {self.first} to {self.last}")
        return value


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _DAYS),
)


class Ncrontab:
    """The ticks of an expression of six NCRONTAB fields, in UTC."""

    def __init__(self, text: str) -> None:
        """Parse `text`. Raises ValueError."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise ValueError("it must have six fields, such as '0 */5 * * * *' for every 5 minutes")
        values = [field.values(text) for field, text in zip(_FIELDS, fields, strict=True)]
        seconds, minutes, hours, self._days, self._months, self._weekdays = values
        self._times = [
            time(h, m, s, tzinfo=UTC) for h in sorted(hours) for m in sorted(minutes) for s in sorted(seconds)
        ]
        every = [field.values("*") for field in _FIELDS]
        self._daily = values[3:] == every[3:]
        self.often = values[1:] == every[1:] and len(seconds) > 1
        """True if it ticks several times in every minute."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first tick later than `moment`; None if there is none."""
        for day in self._dates(moment.date()):
            passed = bisect_right(self._times, moment.timetz()) if day == moment.date() else 0
            if passed < len(self._times):
                return datetime.combine(day, self._times[passed])
        return None

    def longest_pause(self) -> timedelta | None:
        """Return the longest time between two ticks; None if the schedule is not the same each day."""
        if not self._daily:
            return None
        ticks = [timedelta(hours=t.hour, minutes=t.minute, seconds=t.second) for t in self._times]
        return max(later - tick for tick, later in pairwise([*ticks, ticks[0] + timedelta(days=1)]))

    def _dates(self, first: date) -> Iterator[date]:
        """Yield the days of the schedule. Day of the month *and* weekday must match; in cron, one of them suffices."""
        for number in range(_FARTHEST):
            day = first + timedelta(days=number)
            if day.month in self._months and day.day in self._days and day.isoweekday() % 7 in self._weekdays:
                yield day


def longest_pause(schedule: str) -> timedelta | None:
    """Return the longest time between two ticks; None if days differ or if `schedule` is invalid."""
    try:
        return Ncrontab(schedule).longest_pause()
    except ValueError:
        return None


def _check(text: str) -> None:
    """Raise SettingsError if the trigger would reject `text`, never tick, or swap a range."""
    try:
        schedule = Ncrontab(text)
    except ValueError as exc:
        raise SettingsError(f"{exc}; the rules are those of NCRONTAB") from exc
    for field, part in zip(_FIELDS, text.split(), strict=True):
        if backwards := field.backwards(part):
            start, _, end = backwards.partition("-")
            raise SettingsError(
                f"{backwards!r} ends before it starts, so the trigger would read it as {end}-{start}: write two "
                f"ranges, such as {start}-{field.last},{field.first}-{end}"
            )
    if schedule.after(datetime(2026, 1, 1, tzinfo=UTC)) is None:
        raise SettingsError("no date matches its day, month and weekday, so it would never run")


Schedule = Annotated[str, passes(_check), Words("six NCRONTAB fields")]
