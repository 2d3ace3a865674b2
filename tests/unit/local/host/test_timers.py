"""Timer triggers: their ticks, and the runs that follow from them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.host.app import HostError
from local.host.monitor import read_status
from local.host.ncrontab import Schedule
from local.host.protos import TypedData
from local.host.timers import HostClock, Status, Timer

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)  # a Sunday
SECOND = timedelta(seconds=1)


class FakeClock:
    """Time that passes only in waits and work."""

    def __init__(self, start: datetime, until: datetime, early: timedelta = timedelta(0)) -> None:
        self.time = start
        self._until = until
        self._early = early

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, moment: datetime) -> bool:
        if moment > self._until:
            return True
        self.time = max(self.time, moment - self._early)
        return False


class FakeMonitor:
    """A timer's status over restarts, in memory."""

    def __init__(self, status: Status | None = None) -> None:
        self.status = status

    async def load(self) -> Status | None:
        return self.status

    async def save(self, status: Status) -> None:
        self.status = status


class Runs:
    """A function that takes some time, and notes when it ran."""

    def __init__(self, clock: FakeClock, *seconds: float) -> None:
        self._clock = clock
        self._seconds = list(seconds)
        self.started: list[datetime] = []
        self.timers: list[dict[str, Any]] = []

    async def __call__(self, trigger: TypedData, _reason: str) -> None:
        assert trigger.json is not None
        self.started.append(self._clock.now())
        self.timers.append(json.loads(trigger.json))
        self._clock.time += SECOND * (self._seconds.pop(0) if self._seconds else 0)

    def offsets(self) -> list[float]:
        return [(start - NOON).total_seconds() for start in self.started]


def keep(timer: Timer, clock: FakeClock) -> None:
    asyncio.run(timer.keep(clock))


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("*/30 * * * * *", ["12:00:30", "12:01:00"]),
        ("0 */5 * * * *", ["12:05:00", "12:10:00"]),
        ("15 10,20 * * * *", ["12:10:15", "12:20:15"]),
        ("*/5 * * * *", ["12:05:00", "12:10:00"]),
    ],
)
def test_the_first_of_six_fields_is_seconds_and_five_fields_have_none(text: str, ticks: list[str]) -> None:
    assert [f"{tick:%H:%M:%S}" for tick in following(text, 2)] == ticks


def following(text: str, number: int) -> list[datetime]:
    """The first ticks after noon."""
    times, schedule = [NOON], Schedule(text)
    for _ in range(number):
        tick = schedule.after(times[-1])
        assert tick is not None
        times.append(tick)
    return times[1:]


def test_day_of_month_and_weekday_must_both_fit() -> None:
    # The next 13th that is a Friday (5); cron itself would take the next Friday.
    assert Schedule("0 0 0 13 * 5").after(NOON) == datetime(2026, 3, 13, tzinfo=UTC)
    assert Schedule("0 0 0 13 * 5").after(datetime(2026, 3, 13, tzinfo=UTC)) == datetime(2026, 11, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("0 0 22-2 * * *", datetime(2026, 3, 1, 13, tzinfo=UTC)),
        ("0 0 0 * mar-apr mon", datetime(2026, 3, 2, tzinfo=UTC)),
        ("0 0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0 30/15 12 * * *", NOON + timedelta(minutes=30)),
        ("00:05:00", NOON + timedelta(minutes=5)),
        ("0 0 0 31 2 *", None),
    ],
    ids=["hours backwards are 2 to 22", "names", "leap years", "a step from 30 on", "a time span", "31 February"],
)
def test_schedules_are_read_by_the_rules_of_ncrontab(text: str, first: datetime | None) -> None:
    assert Schedule(text).after(NOON) == first


@pytest.mark.parametrize(
    "text",
    ["", "* * *", "61 * * * * *", "@hourly", "* * * * * * *", "a b c d e f", "0 0 0 * * 7", "0 0 0 L * *",
     "0 0 0 ? * *", "*/0 * * * * *", "0 0 0 0 * *", "1,,2 * * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(HostError, match="schedule"):
        Schedule(text)


def test_a_timer_whose_time_never_comes_waits_for_nothing() -> None:
    clock = FakeClock(NOON, NOON + 30 * SECOND)
    runs = Runs(clock)
    keep(Timer(schedule=Schedule("0 0 0 31 2 *"), run=runs), clock)
    assert not runs.started


def test_a_timer_runs_at_every_tick() -> None:
    clock = FakeClock(NOON, NOON + 30 * SECOND)
    runs = Runs(clock)
    keep(Timer(schedule=Schedule("*/10 * * * * *"), run=runs), clock)
    assert runs.offsets() == [10, 20, 30]
    assert not any(timer["IsPastDue"] for timer in runs.timers)


def test_a_run_that_overruns_ticks_is_followed_at_once_by_one_run() -> None:
    clock = FakeClock(NOON, NOON + 60 * SECOND)
    runs = Runs(clock, 35)
    keep(Timer(schedule=Schedule("*/10 * * * * *"), run=runs), clock)
    assert runs.offsets() == [10, 45, 50, 60]
    assert not any(timer["IsPastDue"] for timer in runs.timers)


def test_a_clock_that_wakes_early_does_not_double_a_tick() -> None:
    clock = FakeClock(NOON, NOON + 30 * SECOND, early=timedelta(milliseconds=3))
    runs = Runs(clock)
    keep(Timer(schedule=Schedule("*/10 * * * * *"), run=runs), clock)
    assert len(runs.started) == 3


def test_run_on_startup_runs_before_the_first_tick() -> None:
    clock = FakeClock(NOON, NOON + 10 * SECOND)
    runs = Runs(clock)
    keep(Timer(schedule=Schedule("*/10 * * * * *"), run_on_startup=True, run=runs), clock)
    assert runs.offsets() == [0, 10]


def test_ticks_missed_while_no_host_ran_make_one_past_due_run_at_start() -> None:
    clock = FakeClock(NOON, NOON + 600 * SECOND)
    runs = Runs(clock)
    hour = timedelta(hours=1)
    monitor = FakeMonitor(Status(last=NOON - hour, next=NOON - hour, updated=NOON - hour))
    keep(Timer(schedule=Schedule("0 */5 * * * *"), monitor=monitor, run=runs), clock)
    assert runs.offsets() == [0, 300, 600]
    assert [timer["IsPastDue"] for timer in runs.timers] == [True, False, False]
    assert runs.timers[0]["ScheduleStatus"]["Last"] == (NOON - hour).isoformat()


def test_a_timer_that_missed_nothing_waits_for_its_tick() -> None:
    clock = FakeClock(NOON + SECOND, NOON + 300 * SECOND)
    runs = Runs(clock)
    monitor = FakeMonitor(Status(last=NOON, next=NOON + 300 * SECOND, updated=NOON))
    keep(Timer(schedule=Schedule("0 */5 * * * *"), monitor=monitor, run=runs), clock)
    assert runs.offsets() == [300]


def test_the_first_start_ever_is_not_past_due_but_a_tick_missed_after_it_is() -> None:
    monitor = FakeMonitor()
    first, later = FakeClock(NOON, NOON + SECOND), FakeClock(NOON + 301 * SECOND, NOON + 302 * SECOND)
    for clock, expected in ((first, []), (later, [301])):
        runs = Runs(clock)
        keep(Timer(schedule=Schedule("0 */5 * * * *"), monitor=monitor, run=runs), clock)
        assert runs.offsets() == expected


@pytest.mark.parametrize(
    ("text", "often"),
    [
        ("*/30 * * * * *", True),
        ("0 * * * * *", False),
        ("5,40 * * * * *", True),
        ("5,40 */1 0-23 * * 0-6", True),
        ("0,30 5 * * * *", False),
        ("0,59 0 0 * * *", False),
        ("00:00:59", True),
        ("00:01:00", False),
    ],
)
def test_only_schedules_more_frequent_than_a_minute_are_not_remembered(text: str, often: bool) -> None:
    assert Schedule(text).more_often_than_a_minute() is often


def test_a_saved_status_is_read_as_dotnet_writes_it() -> None:
    never, moment = "0001-01-01T00:00:00", "2026-03-01T13:00:00.1234567+01:00"
    status = read_status(json.dumps({"Last": never, "Next": moment, "LastUpdated": never}).encode())
    assert status.last is None
    assert status.next == NOON.replace(microsecond=123456)
    assert status.expected(Schedule("0 0 0 1 1 *")) == datetime(2, 1, 1, tzinfo=UTC)
    with pytest.raises(KeyError):
        read_status(b'{"Last": "0001-01-01T00:00:00"}')


def test_stopping_ends_a_wait_at_once() -> None:
    async def stop_meanwhile() -> bool:
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_soon(stopping.set)
        clock = HostClock(stopping)
        async with asyncio.timeout(5):
            return await clock.sleep_until(clock.now() + timedelta(hours=1))

    assert asyncio.run(stop_meanwhile()) is True
