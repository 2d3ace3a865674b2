"""What one tick knows of a source's files: shared by the lanes, saved in the roster, told to the ledger."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from config import telemetry
from config.errors import OutOfTimeError
from imagefeed.errors import PipelineError
from ingest.backoff import backoff
from ingest.model import Archive, RemoteFile, Roster, Sighting, SourceSpec, Step
from ingest.ports import CopyLedger, RosterHold
from ingest.tracked_files import Changed, Settled, Sightings, after_listing, after_settling
from ingest.transfer import CopyResult, Ending

log = logging.getLogger(f"ingestion.{__name__}")

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)
"""Of an archive whose copy failed."""
_FIRST_SOURCE_PAUSE, _LONGEST_SOURCE_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""Of a source that failed: the first is over when the next tick comes."""
_TAIL_PAUSE = timedelta(seconds=30)
"""Between two looks at the end of a file that is not sound; `settle_max` ends it."""
_UNSOUND = "waits: its end is no zip directory that fits, so it may still be being written"
_SAVE_EVERY = timedelta(minutes=1)
"""Age at which a listing is saved although it tells nothing new. Whoever reads the roster (the status page, every few
minutes `reconcile`) must be able to tell "nothing new" from "not polled"; saving at each quiet tick would tell it no
better and cost a write every few seconds."""


class End(Enum):
    """Which of the waiting archives a lane wants."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One archive that was dealt with: what `received` bytes and `seconds` were spent on."""

    path: str
    version: str
    ending: Ending
    bytes: int
    received: int
    seconds: float


class Board:
    """The sightings of one tick. Every method may be called from several lanes."""

    def __init__(
        self, spec: SourceSpec, hold: RosterHold, ledger: CopyLedger, roster: Roster, now: Callable[[], datetime]
    ) -> None:
        self._spec, self._hold, self._ledger, self._now = spec, hold, ledger, now
        self._saved = roster
        self._sightings: Sightings = {sighting.archive.file.path: sighting for sighting in roster.sightings}
        self._told = set[str]()
        """Versions whose SEEN was recorded in this tick."""
        self._busy = set[str]()
        self._change = threading.Condition(threading.RLock())
        self._stopped = False
        self._listed_before = False
        self._deadline = now() + spec.budget
        self.listed = 0
        self.new = 0
        self.failed = 0
        self.error: str | None = None
        """Why nothing could be told of a file."""
        self.copied: list[Copied] = []

    @property
    def sightings(self) -> Sightings:
        """What is known now."""
        with self._change:
            return self._sightings

    @property
    def waiting(self) -> int:
        """How many archives are still to be copied."""
        return sum(not sighting.done for sighting in self.sightings.values())

    def stop(self) -> None:
        """Make all lanes stop at their next `check`."""
        self._stopped = True

    def check(self) -> None:
        """Raise LeaseLostError or OutOfTimeError if it is time to stop."""
        self._hold.check()
        if self._stopped or self._now() >= self._deadline:
            raise OutOfTimeError(f"poll source {self._spec.name}: out of time; the next poll goes on here")

    def absorb(self, files: Sequence[RemoteFile], settled: Sequence[Settled], listed_at: datetime) -> None:
        """Take in a complete listing and what has settled; save it, and tell the ledger."""
        with self._change:
            gone = after_listing(self._sightings, files, self._busy, first=not self._listed_before)
            self._listed_before = True
            change = after_settling(self._spec, gone.sightings, settled, self._busy, listed_at)
            self._tell_ends(replace(change, expired=gone.expired), listed_at)
            self._sightings = change.sightings
            self.listed, self.new = len(files), self.new + len(change.new)
            self._save(listed_at)
            # Only now: the stamp that the ledger gets to see is in the roster, and stays what it is.
            for sighting in change.new:
                self._tell_seen(sighting)
                _log_seen(sighting.archive)
            self._change.notify_all()

    @contextmanager
    def take(self, end: End) -> Iterator[Sighting | None]:
        """Take the newest or oldest archive that is due, for this lane alone; None if there is none."""
        with self._change:
            due = sorted(self._due(), key=lambda one: (one.archive.stamp, one.archive.file.path))
            taken = None if not due else due[-1 if end is End.NEWEST else 0]
            if taken:
                self._busy.add(taken.archive.file.path)
        try:
            yield taken
        finally:
            with self._change:
                if taken:
                    self._busy.discard(taken.archive.file.path)
                self._change.notify_all()

    def newest_due(self) -> datetime | None:
        """Tell when the newest of the archives that are due was modified, by the listing; None if none is due."""
        with self._change:
            return max((sighting.listed.modified for sighting in self._due()), default=None)

    def rest(self, seconds: float) -> bool:
        """Wait until there may be something to do; False once all lanes are at rest and nothing is due."""
        with self._change:
            if self._busy and not self._due():
                self._change.wait(seconds)
            return bool(self._busy or self._due())

    def begin(self, sighting: Sighting) -> None:
        """Make sure that the ledger knows an archive: an earlier process may have died before it told."""
        if sighting.archive.version not in self._told:
            self._tell_seen(sighting)

    def started(self, sighting: Sighting) -> None:
        """Note that the first block is staged."""
        self._ledger.record(sighting.archive, Step.COPYING, self._now())

    def finished(self, sighting: Sighting, result: CopyResult, seconds: float) -> None:
        """Settle a copy."""
        at, archive = self._now(), sighting.archive
        if result.ending is Ending.UNSOUND:
            since = sighting.unsound_since or at
            again = min(at + _TAIL_PAUSE, max(since + self._spec.settle_max, at))
            self._update(sighting, unsound_since=since, not_before=again)
            log.warning("archive.unsound source=%s path=%r since=%s", archive.source, archive.file.path, since)
            # Each time, since a failure in between may have told something else.
            until = since + self._spec.settle_max
            self._ledger.trouble(archive, f"{_UNSOUND}; copied as it is from {until:%H:%M:%S} UTC on", at)
            return
        facts = result.facts
        if result.ending is Ending.SAME:
            self._ledger.record(archive, Step.SAME, at)
        else:
            self._ledger.record(archive, Step.RAW, at, facts)
        self._update(sighting, done=True, sha256=facts.sha256 if facts else None, failures=0, not_before=None)
        if result.ending is Ending.COPIED:
            size, received, lag = archive.file.size, result.received, at - archive.file.modified
            telemetry.copied(archive.source, size=size, received=received, seconds=seconds, lag=lag)
        self._tell_copied(sighting, result, seconds)

    def fail(self, sighting: Sighting, error: PipelineError) -> None:
        """Note a failure; the archive is left alone for a while, the others are not affected."""
        at, archive, failures = self._now(), sighting.archive, sighting.failures + 1
        log.warning(
            "archive.failed source=%s path=%r failures=%d error=%r",
            archive.source,
            archive.file.path,
            failures,
            str(error),
            extra={"source": archive.source, "reason": type(error).__name__},
        )
        with self._change:
            self.failed += 1
        self._update(sighting, failures=failures, not_before=at + backoff(failures, _FIRST_PAUSE, _LONGEST_PAUSE))
        self._ledger.trouble(archive, str(error), at)

    def untold(self, file: RemoteFile, error: PipelineError) -> None:
        """Note that nothing could be told of a file, which is no archive yet: the next listing shows it again."""
        log.warning("file.untold source=%s path=%r error=%r", self._spec.name, file.path, str(error))
        with self._change:
            self.failed += 1
            self.error = str(error)

    def source_failed(self, error: PipelineError) -> datetime:
        """Note that the source could not be polled, and give the time before which it is left alone."""
        at = self._now()
        with self._change:
            failures = self._saved.failures + 1
            not_before = at + backoff(failures, _FIRST_SOURCE_PAUSE, _LONGEST_SOURCE_PAUSE)
            self._saved = replace(self._saved, failures=failures, error=str(error), not_before=not_before)
            self._hold.save(self._saved)
        return not_before

    def _due(self) -> list[Sighting]:
        at = self._now()
        return [
            sighting
            for path, sighting in self._sightings.items()
            if not sighting.done and path not in self._busy and not (sighting.not_before and sighting.not_before > at)
        ]

    def _update(self, sighting: Sighting, **changes: Any) -> None:
        path = sighting.archive.file.path
        with self._change:
            self._sightings = {**self._sightings, path: replace(self._sightings[path], **changes)}
            self._save(self._saved.listed_at)

    def _save(self, listed_at: datetime | None) -> None:
        sightings = tuple(self._sightings.values())
        roster = Roster(source=self._spec.name, listed_at=listed_at, sightings=sightings, error=self.error)
        before = self._saved.listed_at
        fresh = before is not None and listed_at is not None and listed_at - before < _SAVE_EVERY
        if not fresh or replace(roster, listed_at=before) != self._saved:
            self._hold.save(roster)
            self._saved = roster

    def _tell_seen(self, sighting: Sighting) -> None:
        self._ledger.record(sighting.archive, Step.SEEN, sighting.first_seen)
        self._told.add(sighting.archive.version)

    def _tell_ends(self, change: Changed, at: datetime) -> None:
        for archive in change.superseded:
            self._ledger.record(archive, Step.SUPERSEDED, at)
            log.warning("archive.superseded source=%s path=%r", archive.source, archive.file.path)
        for archive in change.expired:
            self._ledger.record(archive, Step.EXPIRED, at)
            log.error(
                "archive.expired source=%s path=%r: deleted before it was copied",
                archive.source,
                archive.file.path,
                extra={"source": archive.source, "state": "expired"},
            )

    def _tell_copied(self, sighting: Sighting, result: CopyResult, seconds: float) -> None:
        file = sighting.archive.file
        copied = Copied(
            path=file.path,
            version=sighting.archive.version,
            ending=result.ending,
            bytes=file.size,
            received=result.received,
            seconds=seconds,
        )
        with self._change:
            self.copied.append(copied)
        log.info(
            "archive.%s source=%s path=%r bytes=%d seconds=%.3f mb_s=%.1f",
            result.ending.value,
            sighting.archive.source,
            file.path,
            file.size,
            seconds,
            result.received / 1e6 / max(seconds, 1e-6),
        )


def _log_seen(archive: Archive) -> None:
    log.info(
        "archive.seen source=%s path=%r bytes=%d stamp=%s",
        archive.source,
        archive.file.path,
        archive.file.size,
        archive.stamp.isoformat(),
    )
