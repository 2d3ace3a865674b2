"""Decides when readers go over to the pipeline that the app runs under."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from imagefeed.errors import TransientError

log = logging.getLogger(f"ingestion.{__name__}")

QUIET = timedelta(minutes=15)
"""Another pipeline that ended an archive within this time may still be running: a rolling deployment, a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the pipelines are with one archive of the window that lies in the raw container."""

    raw_at: datetime
    ended: bool
    """At its end under the pipeline that the app runs under."""
    processed: bool
    other_ended_at: datetime | None
    """When another pipeline last came to its end with it."""


class CurrentPipelines(Protocol):
    """Where it is recorded which pipeline of a source readers take by default."""

    def read(self, source: str) -> tuple[str, bool] | None:
        """Return its name and whether it is pinned; None if there is no record yet. Raises PipelineError."""

    def first(self, source: str) -> str | None:
        """Return the pipeline with the newest results; None if there are none."""

    def progress(self, source: str, pipeline: str, since: datetime) -> Iterable[Progress]:
        """Return how far each archive with a stamp from `since` on is."""

    def switch(self, source: str, before: str | None, pipeline: str, now: datetime) -> bool:
        """Record another pipeline if the record is still as it was read: False if another was faster."""


def switch_pipelines(
    sources: Iterable[str], pipeline: str, current: CurrentPipelines, now: datetime, window: timedelta
) -> None:
    """Make the running pipeline each source's current one, where it is ready; one that fails for now is left."""
    for source in sources:
        try:
            _switch(source, pipeline, current, now, window)
        except TransientError as exc:
            log.warning("current.deferred source=%s error=%s", source, exc)


def _switch(source: str, pipeline: str, current: CurrentPipelines, now: datetime, window: timedelta) -> None:
    record = current.read(source)
    if record is None:
        chosen = current.first(source)
        if chosen is not None and current.switch(source, None, chosen, now):
            log.info("current.first source=%s pipeline=%s", source, chosen)
        return
    name, pinned = record
    if pinned or name == pipeline:
        return
    if not is_ready(current.progress(source, pipeline, now - window), now):
        log.info("current.waits source=%s current=%s running=%s", source, name, pipeline)
    elif current.switch(source, name, pipeline, now):
        log.warning("current.switched source=%s from=%s to=%s", source, name, pipeline)


def is_ready(archives: Iterable[Progress], now: datetime) -> bool:
    """Tell whether the running pipeline has made all of the window, and no other is at work.

    What became raw just now and no pipeline has ended is under way, as it always is on a busy source, and is not
    waited for.
    """
    processed = False
    for archive in archives:
        if archive.other_ended_at is not None and now - archive.other_ended_at < QUIET:
            return False
        under_way = archive.other_ended_at is None and now - archive.raw_at < QUIET
        if not (archive.ended or under_way):
            return False
        processed |= archive.processed
    return processed
