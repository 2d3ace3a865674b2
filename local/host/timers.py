"""Timer triggers: NCRONTAB schedules in UTC, whose runs never overlap."""

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
    """What is remembered of a timer over restarts."""

    last: datetime | None
    next: datetime | None
    updated: datetime

    def expected(self, schedule: Schedule) -> datetime | None:
        """Give the tick that was to follow, by the schedule as it is today."""
        return schedule.after(self.last or self.updated)

    def to_json(self) -> dict[str, str]:
        """Write it as Azure Functions does, which knows no absent time."""
        times = {"Last": self.last or _NEVER, "Next": self.next or _NEVER, "LastUpdated": self.updated}
        return {name: moment.isoformat() for name, moment in times.items()}


class Monitor(Protocol):
    """Remembers when a timer last ran."""

    async def load(self) -> Status | None:
        """Give what was saved last, if anything was."""

    async def save(self, status: Status) -> None:
        """Remember it over restarts."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> datetime:
        """Give the time in UTC."""

    async def sleep_until(self, moment: datetime) -> bool:
        """Wait; True if the host is being stopped instead."""


class HostClock:
    """The machine's clock, until the host is stopped."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    def now(self) -> datetime:
        """Give the time in UTC."""
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> bool:
        """Wait; True if the host is being stopped instead."""
        return await pause(self._stopping, (moment - self.now()).total_seconds())


async def pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until the host is stopped: then True."""
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
    """Invokes the function and waits for its end: so runs never overlap."""

    async def keep(self, clock: Clock) -> None:
        """Run the function at every tick until the host is stopped."""
        due = await self._start(clock)
        while due is not None and not await clock.sleep_until(due):
            # A sleep may end a little early by this clock; the tick that it was for must not come twice.
            started = max(clock.now(), due)
            await self._run(clock, started)
            # Ticks missed while it ran make one run, at once.
            due = self.schedule.after(started)

    async def _start(self, clock: Clock) -> datetime | None:
        """Catch up with what was missed while no host ran; give the first tick, if any ever comes."""
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
    """Make what a timer's function is given."""
    info = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": status.to_json() if status else None,
        "IsPastDue": past_due,
    }
    return TypedData(json=json.dumps(info))
