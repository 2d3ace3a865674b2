"""Decides when the pipeline that the app runs under becomes current for readers."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from imagefeed.errors import TransientError

log = logging.getLogger(f"ingestion.{__name__}")

QUIET = timedelta(minutes=15)
"""If another pipeline finished an archive within this time, it may still run: a rolling deployment or a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of the pipelines with one archive of the window whose raw blob exists."""

    raw_at: datetime
    ended: bool
    """Whether it is terminal under the pipeline that the app runs under."""
    processed: bool
    other_ended_at: datetime | None
    """When it last became terminal under another pipeline."""


class CurrentPipelines(Protocol):
    """Records of each source's current pipeline, which readers use by default."""

    def read(self, source: str) -> tuple[str, bool] | None:
        """Return the pipeline's name and whether it is pinned; None if there is no record. Raises PipelineError."""

    def first(self, source: str) -> str | None:
        """Return the pipeline with the newest results; None if there are none."""

    def progress(self, source: str, pipeline: str, since: datetime) -> Iterable[Progress]:
        """Return the progress of each archive with a stamp from `since` on."""

    def switch(self, source: str, before: str | None, pipeline: str, now: datetime) -> bool:
        """Record another pipeline if the record is unchanged since it was read. Return False if it has changed."""


def switch_pipelines(
    sources: Iterable[str], pipeline: str, current: CurrentPipelines, now: datetime, window: timedelta
) -> None:
    """Make the running pipeline current for each source where it is ready. Skip sources with transient errors."""
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
    """Return whether the running pipeline has finished all archives of the window, and no other pipeline runs.

    Archives that became raw just now and are not finished under any pipeline are ignored: a busy source always has
    some.
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
