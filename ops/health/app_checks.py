"""What is the matter with the app itself: functions that do not run, and messages that were given up. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from imagefeed.durations import format_duration
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE
from imagefeed.terminal import count
from ops.health.findings import Finding, Slug
from storage.blobs.runs import TIMERS, LastRun

LISTENERS: Mapping[str, str] = {BATCH_QUEUE: "process_batch", POLL_QUEUE: "poll_source"}
"""Which function is to listen to each queue."""


def check_runs(runs: Mapping[str, LastRun], waiting: Mapping[str, int], now: datetime) -> Iterator[Finding]:
    """Find functions that do not run although they should; `waiting` are the messages for each that has a queue."""
    for function, run in runs.items():
        if run.is_overdue(now, waiting.get(function, 0)):
            should = f"it is to run every {format_duration(run.every)}" if run.every else "messages wait for it"
            detail = f"it last came to its end at {run.at:%Y-%m-%d %H:%M} UTC, and {should}"
            yield Finding(slug=Slug.FUNCTION_OVERDUE, name=function, since=run.at, detail=detail)
    for function in TIMERS if runs else ():
        if function not in runs:
            yield Finding(slug=Slug.FUNCTION_NEVER_RAN, name=function)


def check_preprocessing(runs: Mapping[str, LastRun]) -> Iterator[Finding]:
    """Find that the app preprocesses nothing: its settings do not fit what was made under its pipeline's name."""
    polled = runs.get("poll_sources")
    if polled is not None and polled.stopped is not None:
        yield Finding(slug=Slug.PIPELINE_STOPPED, since=polled.at, detail=polled.stopped)


def check_given_up(poison: int, dead_letters: int, *, more: bool) -> Iterator[Finding]:
    """Find messages and events that were given up; `more`: there may be more dead letters than were counted."""
    if poison:
        yield Finding(slug=Slug.POISON, name=count(poison, "message"), detail="given up after several calls")
    if dead_letters:
        name = f"{count(dead_letters, 'dead letter')}{' or more' if more else ''}"
        yield Finding(slug=Slug.DEAD_LETTERS, name=name, detail="Event Grid could not deliver")
