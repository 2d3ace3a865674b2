"""Parse every schedule that the timer trigger accepts: six or five NCRONTAB fields, and .NET time spans.

Source: the WebJobs timer extension's `TimerSchedule`.
"""

from datetime import datetime, timedelta

from config.schedules import Ncrontab
from local.host.app import HostError, parse_time_span


class Schedule:
    """A timer's schedule in UTC: six NCRONTAB fields, five without the seconds, or a .NET time span between runs."""

    def __init__(self, text: str) -> None:
        """Parse `text`. Raises HostError."""
        self.text = text
        fields = text.split()
        try:
            self._runs = (
                parse_time_span(text.strip())
                if len(fields) == 1
                else Ncrontab(f"0 {text}" if len(fields) == 5 else text)
            )
        except ValueError as exc:
            raise HostError(f"the schedule {text!r} is not a valid NCRONTAB expression: {exc}") from exc

    def after(self, moment: datetime) -> datetime | None:
        """Return the first tick later than `moment`; None if there is none."""
        return moment + self._runs if isinstance(self._runs, timedelta) else self._runs.after(moment)

    def more_often_than_a_minute(self) -> bool:
        """Return True if it ticks several times in every minute, without longer pauses.

        Source: `ShouldDisableScheduleMonitor` of the WebJobs timer extension.
        """
        return self._runs < timedelta(minutes=1) if isinstance(self._runs, timedelta) else self._runs.often
