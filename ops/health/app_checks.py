"""Checks of the app itself: functions that do not run, poison messages and dead letters. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from imagefeed.durations import format_duration
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE
from imagefeed.terminal import count
from ops.health.findings import Finding, Slug
from storage.blobs.runs import TIMERS, LastRun

LISTENERS: Mapping[str, str] = {BATCH_QUEUE: "process_batch", POLL_QUEUE: "poll_source"}
"""The function that each queue triggers."""


def check_runs(runs: Mapping[str, LastRun], waiting: Mapping[str, int], now: datetime) -> Iterator[Finding]:
    """Yield functions that should have run; `waiting` is the number of messages by function with a queue."""
    for function, run in runs.items():
        if run.is_overdue(now, waiting.get(function, 0)):
            should = f"it should run every {format_duration(run.every)}" if run.every else "messages wait for it"
            detail = f"it last completed at {run.at:%Y-%m-%d %H:%M} UTC, and {should}"
            yield Finding(slug=Slug.FUNCTION_OVERDUE, name=function, since=run.at, detail=detail)
    for function in TIMERS if runs else ():
        if function not in runs:
            yield Finding(slug=Slug.FUNCTION_NEVER_RAN, name=function)


def check_preprocessing(runs: Mapping[str, LastRun]) -> Iterator[Finding]:
    """Yield a finding if preprocessing is stopped because the settings differ from the pipeline's recorded ones."""
    polled = runs.get("poll_sources")
    if polled is not None and polled.stopped is not None:
        yield Finding(slug=Slug.PIPELINE_STOPPED, since=polled.at, detail=polled.stopped)


def check_given_up(poison: int, dead_letters: int, *, more: bool) -> Iterator[Finding]:
    """Yield poison messages and dead letters; `more`: there may be more dead letters than were counted."""
    if poison:
        yield Finding(slug=Slug.POISON, name=count(poison, "message"), detail="given up after several calls")
    if dead_letters:
        name = f"{count(dead_letters, 'dead letter')}{' or more' if more else ''}"
        yield Finding(slug=Slug.DEAD_LETTERS, name=name, detail="Event Grid could not deliver")
