"""Timer triggers: run functions by NCRONTAB schedules in UTC, without overlapping runs."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from local.host.ncrontab import Schedule
from local.host.protos import TypedData

log = logging.getLogger(__name__)


_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Status of a timer that is saved for restarts."""

    last: datetime | None
    next: datetime | None
    updated: datetime

    def expected(self, schedule: Schedule) -> datetime | None:
        """Return the tick after the last run, by the current schedule."""
        return schedule.after(self.last or self.updated)

    def to_json(self) -> dict[str, str]:
        """Return the status in the format of Azure Functions, where the year 1 stands for an absent time."""
        times = {"Last": self.last or _NEVER, "Next": self.next or _NEVER, "LastUpdated": self.updated}
        return {name: moment.isoformat() for name, moment in times.items()}


class Monitor(Protocol):
    """Store of a timer's status."""

    async def load(self) -> Status | None:
        """Return the saved status, or None."""

    async def save(self, status: Status) -> None:
        """Save the status."""


class Clock(Protocol):
    """Clock that tests can replace, to avoid waiting."""

    def now(self) -> datetime:
        """Return the time in UTC."""

    async def sleep_until(self, moment: datetime) -> bool:
        """Wait until `moment`. Return True if the host is stopped first."""


class HostClock:
    """The machine's clock; the stop of the host ends a wait."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> bool:
        """Wait until `moment`. Return True if the host is stopped first."""
        return await pause(self._stopping, (moment - self.now()).total_seconds())


async def pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait for `seconds`. Return True if the host is stopped first."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """One timer trigger."""

    schedule: Schedule
    run_on_startup: bool = False
    monitor: Monitor | None = None
    run: Callable[[TypedData, str], Awaitable[object]]
    """Invokes the function and waits for its end, so that runs never overlap."""

    async def keep(self, clock: Clock) -> None:
        """Run the function at every tick until the host is stopped."""
        due = await self._start(clock)
        while due is not None and not await clock.sleep_until(due):
            # A sleep may end a little early by this clock; the same tick must not run twice.
            started = max(clock.now(), due)
            await self._run(clock, started)
            # Ticks that were missed during the run cause a single run, at once.
            due = self.schedule.after(started)

    async def _start(self, clock: Clock) -> datetime | None:
        """Run a tick that was missed while no host ran. Return the first regular tick, or None if there is none."""
        now = clock.now()
        status = await self.monitor.load() if self.monitor else None
        expected = status.expected(self.schedule) if status else None
        if expected is not None and expected < now:
            await self._run(clock, now, past_due=True)
        elif self.run_on_startup:
            await self._run(clock, now)
        elif self.monitor and status is None:
            await self.monitor.save(Status(last=None, next=self.schedule.after(now), updated=now))
        return self.schedule.after(now)

    async def _run(self, clock: Clock, started: datetime, *, past_due: bool = False) -> None:
        status = await self.monitor.load() if self.monitor else None
        await self.run(timer_info(status, past_due=past_due), f"Timer fired at {started.isoformat()}")
        if self.monitor:
            await self.monitor.save(Status(last=started, next=self.schedule.after(started), updated=clock.now()))


def timer_info(status: Status | None = None, *, past_due: bool = False) -> TypedData:
    """Return the input of a timer's function."""
    info = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": status.to_json() if status else None,
        "IsPastDue": past_due,
    }
    return TypedData(json=json.dumps(info))
