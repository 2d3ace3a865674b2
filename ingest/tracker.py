"""The tracked files during a poll: shared by its workers, saved in the source state, recorded in the ledger."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from config import telemetry
from config.errors import InconsistentTransferError, OutOfTimeError, TransferTruncatedError
from config.near import NEAR
from imagefeed.errors import PermanentError, PipelineError
from ingest.backoff import backoff
from ingest.model import (
    Archive,
    Generation,
    Listing,
    PassedOver,
    RemoteFile,
    SourceSpec,
    SourceState,
    Step,
    TrackedFile,
    Unmeasured,
    Unread,
    UnreadParts,
    UnsizedFile,
)
from ingest.outages import begun, ended
from ingest.ports import CopyLedger, SourceStateHold
from ingest.tracked_files import (
    Changed,
    StableFile,
    TrackedFiles,
    after_listing,
    after_stability_check,
    forget_before,
    unread_parts,
    with_known_sizes,
)
from ingest.transfer import CopyOutcome, CopyResult

log = logging.getLogger(f"ingestion.{__name__}")

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)
"""Pauses before an archive whose copy failed is tried again."""
_FIRST_SOURCE_PAUSE, _LONGEST_SOURCE_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""Pauses before a source that failed is polled again. The first one ends before the next tick."""
_TAIL_PAUSE = timedelta(seconds=30)
"""Pause between two checks of a truncated file's end; `stable_for_max` ends the wait."""
_TRUNCATED = "waits: its zip directory is missing or truncated, so the file may still be being written"
_SAVE_EVERY = timedelta(minutes=1)
"""Age at which a listing is saved although nothing changed. Readers of the source state (the status page, `reconcile`)
must distinguish "nothing new" from "not polled"; saving at each quiet tick would cost a write every few seconds without
making that clearer."""


_INCONSISTENT = set[str]()
"""Tokens of generations that ended inconsistently until their successors are saved. If storage fails just then, this
process still resumes nothing of them."""


class Order(Enum):
    """Order in which a worker takes waiting archives."""

    NEWEST_FIRST = "newest"
    OLDEST_FIRST = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One archive whose copy ended, with the bytes `received` from the source and the `seconds` it took."""

    path: str
    version: str
    outcome: CopyOutcome
    bytes: int
    received: int
    seconds: float


class FileTracker:
    """The tracked files of one tick. Every method may be called from several workers."""

    def __init__(
        self,
        spec: SourceSpec,
        hold: SourceStateHold,
        ledger: CopyLedger,
        source_state: SourceState,
        now: Callable[[], datetime],
    ) -> None:
        self._spec, self._hold, self._ledger, self._now = spec, hold, ledger, now
        self._saved = source_state
        self._tracked_files: TrackedFiles = {
            tracked_file.archive.file.path: tracked_file for tracked_file in source_state.tracked_files
        }
        self._passed_over = source_state.passed_over
        self._unread = source_state.unread
        self._unsized: Mapping[str, UnsizedFile] = {}
        """By path: files of the last listing whose size the server does not give."""
        self._measured: dict[str, datetime] = {}
        """Paths of them that this poll read, or found being written, with the time before which it does not again."""
        self._unmeasured = {failed.file.path: failed for failed in source_state.unmeasured}
        self._recorded = set[str]()
        """Versions whose SEEN was recorded in this tick."""
        self._busy = set[str]()
        self._change = threading.Condition(threading.RLock())
        self._stopped = False
        self._listed_before = False
        self._deadline = now() + spec.budget
        self._long_from = now() + spec.budget * NEAR
        self.listed = 0
        self.new = 0
        self.failed = 0
        self.error: str | None = None
        """Why a file could not be read; None if every file could."""
        self.copied: list[Copied] = []

    @property
    def tracked_files(self) -> TrackedFiles:
        """Return the current tracked files."""
        with self._change:
            return self._tracked_files

    @property
    def waiting(self) -> int:
        """Return the number of archives that are still to be copied."""
        with self._change:
            tracked = sum(not tracked_file.done for tracked_file in self._tracked_files.values())
            return tracked + sum(path not in self._tracked_files for path in self._unsized)

    def stop(self) -> None:
        """Stop all workers at their next `check`."""
        self._stopped = True

    def check(self) -> None:
        """Raise LeaseLostError or OutOfTimeError if it is time to stop."""
        self._hold.check()
        if self._stopped or self._now() >= self._deadline:
            raise OutOfTimeError(f"poll source {self._spec.name}: time budget spent; the next poll continues here")

    def with_known_sizes(self, listing: Listing) -> Listing:
        """Return a listing whose files include those without a size whose bytes were counted before."""
        with self._change:
            return with_known_sizes(listing, self._tracked_files, self._unmeasured)

    def update(
        self,
        listing: Listing,
        stable: Sequence[StableFile],
        listed_at: datetime,
        passed_over: PassedOver | None,
    ) -> None:
        """Apply a listing and its stable files; save the source state and record new states in the ledger."""
        with self._change:
            gone = after_listing(
                self._tracked_files,
                listing,
                self._busy,
                forget_before=forget_before(self._spec, listed_at),
                first=not self._listed_before,
            )
            self._listed_before = True
            change = after_stability_check(self._spec, gone.tracked_files, stable, self._busy, listed_at)
            self._passed_over = passed_over
            self._unsized = {file.path: file for file in listing.unsized}
            self._unmeasured = {path: failed for path, failed in self._unmeasured.items() if path in self._unsized}
            self._note_unread(listing)
            self.listed = len({file.path for file in listing.files} | {*self._unsized})
            self._apply(replace(change, expired=gone.expired), listed_at, listed_at)

    def _apply(self, change: Changed, at: datetime, listed_at: datetime | None) -> None:
        self._record_terminal(change, at)
        self._tracked_files = change.tracked_files
        self.new += len(change.new)
        self._save(listed_at)
        # After the save, so that the stamp which the ledger gets is in the source state and cannot change.
        for tracked_file in change.new:
            self._record_seen(tracked_file)
            _log_seen(tracked_file.archive)
        self._change.notify_all()

    def _note_unread(self, listing: Listing) -> None:
        """Log parts that could not be read when there are more or fewer than before, not at each listing."""
        failed = (Unread(text=failed.error, path=path) for path, failed in self._unmeasured.items())
        unread = unread_parts([*listing.unread, *failed])
        if unread and not _is_alike(unread, self._unread):
            log.warning(
                "listing.unread source=%s parts=%d incomplete=%s first=%r",
                self._spec.name,
                unread.count,
                unread.incomplete,
                unread.texts[0],
            )
        self._unread = unread

    @contextmanager
    def claim_next(self, order: Order) -> Iterator[TrackedFile | None]:
        """Yield the newest or oldest archive that is due, claimed for this worker alone; None if none is due."""
        with self._change:
            due = sorted(self._due(), key=lambda file: (file.archive.stamp, file.archive.file.path))
            claimed = None if not due else due[-1 if order is Order.NEWEST_FIRST else 0]
            if claimed:
                self._busy.add(claimed.archive.file.path)
        try:
            yield claimed
        finally:
            with self._change:
                if claimed:
                    self._busy.discard(claimed.archive.file.path)
                self._change.notify_all()

    @contextmanager
    def claim_unsized(self, order: Order) -> Iterator[UnsizedFile | None]:
        """Yield the newest or oldest file whose bytes are to be counted, claimed for this worker; None if none is due.

        Each has a pause afterwards: a file that changes all the time must not keep the poll running.
        """
        with self._change:
            due = sorted(self._due_unsized(), key=lambda file: (file.modified, file.path))
            claimed = None if not due else due[-1 if order is Order.NEWEST_FIRST else 0]
            if claimed:
                self._busy.add(claimed.path)
        try:
            yield claimed
        finally:
            with self._change:
                if claimed:
                    self._measured[claimed.path] = self._now() + _FIRST_PAUSE
                    self._busy.discard(claimed.path)
                self._change.notify_all()

    def newest_due(self) -> datetime | None:
        """Return the listed modified time of the newest archive that is due; None if none is due."""
        with self._change:
            return max((tracked_file.listed.modified for tracked_file in self._due()), default=None)

    def wait_for_work(self, seconds: float) -> bool:
        """Wait up to `seconds` for work; return False once all workers are idle and nothing is due."""
        with self._change:
            if self._busy and not (self._due() or self._due_unsized()):
                self._change.wait(seconds)
            return bool(self._busy or self._due() or self._due_unsized())

    def is_truncated_for_long(self, tracked_file: TrackedFile) -> bool:
        """Return whether a file has been truncated for `stable_for_max`; it is then copied as it is."""
        since = tracked_file.truncated_since
        return since is not None and self._now() - since >= self._spec.stable_for_max

    def is_measured(self, tracked_file: TrackedFile) -> bool:
        """Return whether the last listing did not give a file's size, so that its size is a number of bytes read."""
        return tracked_file.archive.file.path in self._unsized

    def record_measured(self, file: StableFile) -> None:
        """Track a file whose bytes were counted."""
        at = self._now()
        with self._change:
            self._unmeasured = {path: failed for path, failed in self._unmeasured.items() if path != file.listed.path}
            change = after_stability_check(self._spec, self._tracked_files, [file], frozenset(), at)
            self._apply(change, at, self._saved.listed_at)

    def record_unmeasured(self, file: UnsizedFile, error: PipelineError) -> None:
        """Record that the bytes of a file could not be counted. They are not counted again for a while."""
        self.record_unreadable(file, error)
        with self._change:
            failures = self._unmeasured[file.path].failures + 1 if file.path in self._unmeasured else 1
            self._note_unmeasured(file, failures, error)
            self._save(self._saved.listed_at)

    def _note_unmeasured(self, file: UnsizedFile, failures: int, error: PipelineError) -> None:
        not_before = self._now() + backoff(failures, _FIRST_PAUSE, _LONGEST_PAUSE)
        failed = Unmeasured(file=file, failures=failures, not_before=not_before, error=str(error))
        self._unmeasured = {**self._unmeasured, file.path: failed}

    def ensure_recorded(self, tracked_file: TrackedFile) -> None:
        """Record an archive in the ledger if this poll has not: an earlier process may have died before it did."""
        if tracked_file.archive.version not in self._recorded:
            self._record_seen(tracked_file)

    def ensure_generation(self, tracked_file: TrackedFile) -> Generation:
        """Return the generation of an archive's blocks. Begin and save one if the source's state has none."""
        saved = self._tracked_files[tracked_file.archive.file.path].generation or Generation.new()
        generation = saved.after_inconsistency() if saved.token in _INCONSISTENT else saved
        self.record_generation(tracked_file, generation)
        _INCONSISTENT.discard(saved.token)
        return generation

    def record_generation(self, tracked_file: TrackedFile, generation: Generation) -> None:
        """Save the generation under which an archive's blocks are staged from now on."""
        if self._tracked_files[tracked_file.archive.file.path].generation != generation:
            self._replace(tracked_file, generation=generation)

    def record_start(self, tracked_file: TrackedFile) -> None:
        """Record that the first block is staged."""
        self._ledger.record(tracked_file.archive, Step.COPYING, self._now())

    def record_result(self, tracked_file: TrackedFile, result: CopyResult, seconds: float) -> None:
        """Record how a copy ended."""
        at, archive = self._now(), tracked_file.archive
        if result.unchecked:
            with self._change:
                self._saved = replace(self._saved, unchecked_at=at)
        if result.outcome is CopyOutcome.TRUNCATED:
            since = tracked_file.truncated_since or at
            again = min(at + _TAIL_PAUSE, max(since + self._spec.stable_for_max, at))
            self._replace(tracked_file, truncated_since=since, not_before=again)
            log.warning("archive.truncated source=%s path=%r since=%s", archive.source, archive.file.path, since)
            # Record it each time, because a failure in between may have recorded another reason.
            until = since + self._spec.stable_for_max
            self._ledger.trouble(archive, f"{_TRUNCATED}; copied as it is from {until:%H:%M:%S} UTC on", at)
            return
        metadata = result.metadata
        if result.outcome is CopyOutcome.SAME:
            self._ledger.record(archive, Step.SAME, at)
        else:
            self._ledger.record(archive, Step.RAW, at, metadata)
        self._replace(
            tracked_file,
            done=True,
            sha256=metadata.sha256 if metadata else None,
            failures=0,
            not_before=None,
            generation=None,
        )
        if result.outcome is CopyOutcome.COPIED:
            size, received, lag = archive.file.size, result.received, at - archive.file.modified
            telemetry.copied(archive.source, size=size, received=received, seconds=seconds, lag=lag)
        self._record_copied(tracked_file, result, seconds)

    def record_failure(self, tracked_file: TrackedFile, error: PipelineError) -> None:
        """Record a failed copy. The archive is not tried again for a while; others are not affected.

        After an inconsistent end another generation begins, so that nothing that was staged is resumed.
        """
        at, archive, failures = self._now(), tracked_file.archive, tracked_file.failures + 1
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
            if isinstance(error, TransferTruncatedError) and (unsized := self._unsized.get(archive.file.path)):
                # Its size was counted, and is another now.
                self._note_unmeasured(unsized, failures, error)
        saved = generation = self._tracked_files[archive.file.path].generation
        if saved and isinstance(error, InconsistentTransferError):
            _INCONSISTENT.add(saved.token)
            generation = saved.after_inconsistency()
        self._replace(
            tracked_file,
            failures=failures,
            not_before=at + backoff(failures, _FIRST_PAUSE, _LONGEST_PAUSE),
            generation=generation,
        )
        if saved:
            _INCONSISTENT.discard(saved.token)
        self._ledger.trouble(archive, str(error), at)

    def record_unreadable(self, file: RemoteFile | UnsizedFile, error: PipelineError) -> None:
        """Record that a file could not be read. It is not tracked yet; the next listing retries it."""
        log.warning("file.unreadable source=%s path=%r error=%r", self._spec.name, file.path, str(error))
        with self._change:
            self.failed += 1
            self.error = str(error)

    def record_source_failure(self, error: PipelineError) -> datetime:
        """Record that the source could not be polled; return the time before which it is not polled again."""
        at = self._now()
        with self._change:
            failures = self._saved.failures + 1
            not_before = at + backoff(failures, _FIRST_SOURCE_PAUSE, _LONGEST_SOURCE_PAUSE)
            self._saved = replace(
                self._saved,
                promises=self._spec.promises,
                failures=failures,
                error=str(error),
                not_before=not_before,
                outages=begun(self._saved.outages, at, str(error), refused=isinstance(error, PermanentError)),
            )
            self._hold.save(self._saved)
        return not_before

    def record_end(self) -> None:
        """Record the end of a poll that used nearly all of its budget. Other polls write nothing."""
        at = self._now()
        if at >= self._long_from:
            with self._change:
                self._saved = replace(self._saved, long_poll_at=at)
                self._hold.save(self._saved)

    def _due(self) -> list[TrackedFile]:
        at = self._now()
        return [
            tracked_file
            for path, tracked_file in self._tracked_files.items()
            if not tracked_file.done
            and path not in self._busy
            and path not in self._unmeasured
            and not (tracked_file.not_before and tracked_file.not_before > at)
        ]

    def _due_unsized(self) -> list[UnsizedFile]:
        at = self._now()
        known = self.with_known_sizes(Listing(files=(), unsized=[*self._unsized.values()])).files
        passed_over = self._busy.union(file.path for file in known)
        return [
            file
            for path, file in self._unsized.items()
            if path not in passed_over
            and self._measured.get(path, at) <= at
            and not (path in self._unmeasured and self._unmeasured[path].not_before > at)
        ]

    def _replace(self, tracked_file: TrackedFile, **changes: Any) -> None:
        path = tracked_file.archive.file.path
        with self._change:
            self._tracked_files = {**self._tracked_files, path: replace(self._tracked_files[path], **changes)}
            self._save(self._saved.listed_at)

    def _save(self, listed_at: datetime | None) -> None:
        tracked_files = tuple(self._tracked_files.values())
        source_state = SourceState(
            source=self._spec.name,
            promises=self._spec.promises,
            listed_at=listed_at,
            passed_over=self._passed_over,
            unread=self._unread,
            outages=ended(self._saved.outages, listed_at),
            tracked_files=tracked_files,
            unmeasured=tuple(self._unmeasured.values()),
            error=self.error,
            long_poll_at=self._saved.long_poll_at,
            unchecked_at=self._saved.unchecked_at,
        )
        before = self._saved.listed_at
        fresh = before is not None and listed_at is not None and listed_at - before < _SAVE_EVERY
        # Files that PATTERN skips, and the wording of lines that could not be read, may change with each listing.
        alike = replace(source_state, listed_at=before, passed_over=self._saved.passed_over)
        if _is_alike(self._unread, self._saved.unread):
            alike = replace(alike, unread=self._saved.unread)
        if not fresh or alike != self._saved:
            self._hold.save(source_state)
            self._saved = source_state

    def _record_seen(self, tracked_file: TrackedFile) -> None:
        self._ledger.record(tracked_file.archive, Step.SEEN, tracked_file.first_seen)
        self._recorded.add(tracked_file.archive.version)

    def _record_terminal(self, change: Changed, at: datetime) -> None:
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

    def _record_copied(self, tracked_file: TrackedFile, result: CopyResult, seconds: float) -> None:
        file = tracked_file.archive.file
        copied = Copied(
            path=file.path,
            version=tracked_file.archive.version,
            outcome=result.outcome,
            bytes=file.size,
            received=result.received,
            seconds=seconds,
        )
        with self._change:
            self.copied.append(copied)
        log.info(
            "archive.%s source=%s path=%r bytes=%d seconds=%.3f mb_s=%.1f",
            result.outcome.value,
            tracked_file.archive.source,
            file.path,
            file.size,
            seconds,
            result.received / 1e6 / max(seconds, 1e-6),
        )


def _is_alike(unread: UnreadParts | None, before: UnreadParts | None) -> bool:
    """Return whether as many parts of a listing could not be read as before; their text may change each time."""
    return (unread and (unread.count, unread.incomplete)) == (before and (before.count, before.incomplete))


def _log_seen(archive: Archive) -> None:
    log.info(
        "archive.seen source=%s path=%r bytes=%d stamp=%s",
        archive.source,
        archive.file.path,
        archive.file.size,
        archive.stamp.isoformat(),
    )
