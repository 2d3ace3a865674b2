"""The ports of preprocessing in memory. Unit tests may use them because they pass the contracts of the real ones."""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from config.errors import ArchiveRefusedError
from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from imagefeed.ledger import TERMINAL
from imagefeed.model import ArchiveKey, Counts, RawArchive, Refusal
from preprocess.claim import MOST_DEQUEUES, NOBODY, VANISHED_WITHIN, Claim, ClaimKind
from preprocess.model import Batch, BatchState, Image, Notes, OpenArchive
from preprocess.plan import end_of, halve
from preprocess.ports import NO_CLAIMS, NO_NOTES, RangeReader

STAMP = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class MemoryReader:
    """A raw blob in memory; a RangeReader. Notes each request."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.content = content
        self.requests: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size, "a range outside the blob was asked for"
        self.requests.append((offset, length))
        return self.content[offset : offset + length]


class _CheckedReader(MemoryReader):
    def __init__(self, archives: "MemoryRawArchives", archive: RawArchive) -> None:
        super().__init__(archives.blobs[archive.blob][1])
        self._archives = archives
        self._archive = archive

    def read_range(self, offset: int, length: int) -> bytes:
        now = self._archives.find(self._archive.blob)
        if now is not None and now.pending:
            raise StoreUnavailableError(f"read {self._archive.blob}: a copy into the blob is under way")
        if now is None or now.etag != self._archive.etag:
            raise ArchiveRefusedError(f"read {self._archive.blob}: the blob was replaced or deleted meanwhile")
        return super().read_range(offset, length)


class MemoryRawArchives:
    """The raw container in memory; a RawArchives."""

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[RawArchive, bytes]] = {}
        self._etags = count(1)

    def add(
        self, content: bytes, stamp: datetime = STAMP, version: str = "0a1b2c3d", source: str = "radar"
    ) -> RawArchive:
        """Put an archive into it, as copying does, replacing an equal one."""
        archive = RawArchive(
            source=source,
            stamp=stamp,
            version=version,
            blob=f"{source}/{stamp:%Y/%m/%d/%H}/{stamp:%Y%m%dT%H%M%SZ}.{version}.zip",
            size=len(content),
            path=f"{stamp:%H%M%S}.zip",
            etag=f"etag-{next(self._etags)}",
            raw_at=stamp,
        )
        self.blobs[archive.blob] = (archive, content)
        return archive

    def find(self, blob: str) -> RawArchive | None:
        return self.blobs[blob][0] if blob in self.blobs else None

    def open(self, archive: RawArchive) -> RangeReader:
        if self.find(archive.blob) is None:
            raise ArchiveRefusedError(f"open {archive.blob}: the blob is gone")
        return _CheckedReader(self, archive)

    def recent(self, source: str, since: datetime) -> Sequence[RawArchive]:
        archives = (archive for archive, _ in self.blobs.values())
        own = (archive for archive in archives if archive.source == source and archive.stamp >= since)
        return [archive for archive in own if not archive.pending]


@dataclass(frozen=True)
class Published:
    """The results of one batch."""

    images: tuple[Image, ...]
    refusals: tuple[Refusal, ...]

    def comparable(self) -> object:
        """Return a value that is equal for equal results, because arrays have no equality."""
        pixels = [
            (image.metadata, image.pixels.shape, image.pixels.dtype, image.pixels.tobytes()) for image in self.images
        ]
        return pixels, self.refusals


class MemoryResults:
    """The processed container and the images table in memory; a Results."""

    def __init__(self) -> None:
        self.published: dict[tuple[str, str, int], Published] = {}
        self.writes = 0
        self.fail_next: Exception | None = None
        """Raised by the next `publish`, once."""

    @contextmanager
    def write(self, batch: Batch) -> Iterator["MemoryWriter"]:
        yield MemoryWriter(self, batch)

    def of(self, archive: RawArchive, pipeline: str = "p-test") -> list[Image]:
        """All images of an archive, in the order of members."""
        batches = sorted(key for key in self.published if key[:2] == (pipeline, archive.blob))
        return [image for key in batches for image in self.published[key].images]

    def refusals(self, archive: RawArchive, pipeline: str = "p-test") -> dict[int, Refusal]:
        """All refusals of an archive, by member."""
        batches = [published for key, published in self.published.items() if key[:2] == (pipeline, archive.blob)]
        return {refusal.member: refusal for published in batches for refusal in published.refusals}


class MemoryWriter:
    """Results of one batch before they are published; a ResultWriter."""

    def __init__(self, results: MemoryResults, batch: Batch) -> None:
        self._results = results
        self._batch = batch
        self._images: list[Image] = []
        self.near: Mapping[str, float] = {}
        self._refusals: list[Refusal] = []

    def add(self, images: Iterable[Image]) -> int:
        # Copies, like bytes: later changes by the caller must not be visible.
        added = [replace(image, pixels=image.pixels.copy()) for image in images]
        self._images += added
        return len(added)

    def refuse(self, refusal: Refusal) -> None:
        self._refusals.append(refusal)

    def publish(self, counts: Counts | None = None) -> int:
        error, self._results.fail_next = self._results.fail_next, None
        if error is not None:
            raise error
        key = self._batch.pipeline, self._batch.archive.blob, self._batch.number
        self._results.published[key] = Published(tuple(self._images), tuple(self._refusals))
        self._results.writes += 1
        return sum(image.pixels.nbytes for image in self._images)


@dataclass
class ArchiveRow:
    """The ledger's row of one archive."""

    archive: RawArchive
    raw_at: datetime


@dataclass
class PipelineRow:
    """The ledger's row of one archive under one pipeline."""

    archive: RawArchive
    pipeline: str
    batches: int | None = None
    plan: str = ""
    unplanned: int = 0
    replays: int = 0
    repairs: int = 0
    ends: dict[str, datetime] = field(default_factory=dict)
    """Times by `processed`, `refused`, `failed`; once set they stay."""
    reason: str | None = None
    sums: Counts | None = None

    @property
    def end(self) -> str | None:
        """Return the state that follows from the times."""
        return next((end for end in TERMINAL if end in self.ends), None)


@dataclass
class _BatchRow:
    state: BatchState


class MemoryBatchLedger:
    """The preprocessing side of the ledger in memory; a BatchLedger. Safe from several threads."""

    def __init__(self) -> None:
        self.archives: dict[ArchiveKey, ArchiveRow] = {}
        self.pipelines: dict[tuple[ArchiveKey, str], PipelineRow] = {}
        self.opened: dict[tuple[ArchiveKey, str], OpenArchive] = {}
        self._batches: dict[tuple[ArchiveKey, str, int], _BatchRow] = {}
        self._etags = count(1)
        self._lock = threading.RLock()

    def record_raw(self, archive: RawArchive, at: datetime) -> None:
        with self._lock:
            self.archives.setdefault(archive.key, ArchiveRow(archive, at))

    def plan(self, archive: RawArchive, pipeline: str) -> Sequence[BatchState] | None:
        with self._lock:
            row = self.pipelines.get((archive.key, pipeline))
            if row is None or (row.batches is None and row.end is None):
                return None
            states = (self._batches[archive.key, pipeline, number].state for number in range(row.batches or 0))
            return [
                replace(state, batch=replace(state.batch, archive=archive, plan=row.plan, batches=row.batches or 0))
                for state in states
            ]

    def insert_plan(
        self, batches: Sequence[Batch], at: datetime, next_drive: datetime, claimed: Mapping[int, Claim] = NO_CLAIMS
    ) -> str | None:
        with self._lock:
            archive, pipeline = batches[0].archive, batches[0].pipeline
            row = self._row(archive, pipeline)
            if row.batches is not None or row.end is not None:
                return None
            self._renew(row, batches, next_drive)
            row.batches = len(batches)
            for batch in batches:
                self._change(self._batches[_batch_key(batch)], claim=claimed.get(batch.number, NOBODY))
            return row.plan

    def reset(
        self, archive: RawArchive, pipeline: str, at: datetime, next_drive: datetime
    ) -> Sequence[BatchState] | None:
        with self._lock:
            self.open(archive, pipeline, at)
            row = self.pipelines.get((archive.key, pipeline))
            if row is None:
                return None
            batches = [state.batch for state in self.plan(archive, pipeline) or ()]
            row.ends, row.reason, row.sums, row.unplanned = {}, None, None, 0
            row.replays += 1
            self._renew(row, batches, next_drive)
            return self.plan(archive, pipeline)

    def unplanned(self, archive: RawArchive, pipeline: str, error: str, at: datetime) -> int:
        with self._lock:
            row = self._row(archive, pipeline)
            row.unplanned += 1
            return row.unplanned

    def repaired(self, archive: RawArchive, pipeline: str, at: datetime) -> int:
        with self._lock:
            row = self._row(archive, pipeline)
            row.repairs += 1
            return row.repairs

    def split(self, batch: Batch, next_drive: datetime) -> Sequence[Batch]:
        with self._lock:
            row = self._row(batch.archive, batch.pipeline)
            state = self._batches[_batch_key(batch)].state
            stands = (state.batch.first, state.batch.end) == (batch.first, batch.end)
            if batch.plan not in ("", row.plan) or row.batches is None or row.end is not None or not stands:
                return ()
            halves = halve(replace(batch, batches=row.batches))
            row.batches += 1
            for half in halves:
                self._batches[_batch_key(half)] = self._new(half, row.plan, next_drive)
            states = self.plan(batch.archive, batch.pipeline) or ()
            return [states[half.number].batch for half in halves]

    def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
        with self._lock:
            row = self._planned(batch)
            claim = None if row.state.done_at else row.state.claim.taken(owner, kind, at, until)
            if claim is None:
                return None
            self._change(row, claim=claim)
            return len(claim.vanished_since(at - VANISHED_WITHIN))

    def release(self, batch: Batch, owner: str, at: datetime, error: str | None) -> None:
        with self._lock:
            row = self._planned(batch)
            claim = row.state.claim
            self._change(row, claim=claim.let_go(at) if claim.owner == owner else claim)
            if error is not None and row.state.done_at is None:
                self._change(row, error=error, failures=row.state.failures + 1, put_at=at)

    def note_put(self, batches: Sequence[Batch], at: datetime) -> None:
        with self._lock:
            for batch in batches:
                self._change(self._planned(batch), put_at=at)

    def open(self, archive: RawArchive, pipeline: str, at: datetime, put_at: datetime | None = None) -> None:
        with self._lock:
            known = self.opened.get((archive.key, pipeline))
            self.opened[archive.key, pipeline] = OpenArchive(
                archive=archive,
                opened_at=at,
                put_at=put_at or (known.put_at if known else None),
                asked=known.asked if known else 0,
                etag=self._etag(),
            )

    def close(self, archive: RawArchive, pipeline: str, etag: str | None = None) -> None:
        with self._lock:
            row = self.opened.get((archive.key, pipeline))
            if row is not None and etag in (None, row.etag):
                del self.opened[archive.key, pipeline]

    def list_open(self, source: str, pipeline: str) -> Sequence[OpenArchive]:
        with self._lock:
            rows = [row for (key, name), row in self.opened.items() if (key.source, name) == (source, pipeline)]
            return sorted(rows, key=lambda row: row.archive.key.ledger_row())

    def ask_plan(self, opened: OpenArchive, pipeline: str, at: datetime) -> bool:
        with self._lock:
            row = self.opened.get((opened.archive.key, pipeline))
            if row is None or row.etag != opened.etag:
                return False
            self.opened[opened.archive.key, pipeline] = replace(row, put_at=at, asked=row.asked + 1, etag=self._etag())
            return True

    def is_terminal(self, archive: RawArchive, pipeline: str) -> bool:
        return self.end(archive, pipeline) is not None

    def finish(self, batch: Batch, counts: Counts, at: datetime, notes: Notes = NO_NOTES) -> None:
        with self._lock:
            row = self._planned(batch)
            if row.state.done_at is None:
                self._change(row, done_at=at, counts=counts, notes=notes)
            states = self.plan(batch.archive, batch.pipeline) or ()
            done = [state.counts for state in states if state.counts is not None]
            if len(done) == len(states):
                self._settle(self._row(batch.archive, batch.pipeline), states, at)

    def refuse(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        self._end(archive, pipeline, "refused", reason, at, batch)

    def fail(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        self._end(archive, pipeline, "failed", reason, at, batch)

    def given_up(self, batch: Batch, error: str, at: datetime) -> None:
        with self._lock:
            self._change(self._planned(batch), error=error, failures=MOST_DEQUEUES)

    def schedule_redrive(self, state: BatchState, at: datetime, next_drive: datetime, *, counted: bool = True) -> bool:
        with self._lock:
            row = self._planned(state.batch)
            if row.state.etag != state.etag:
                return False
            claim = state.claim if state.claim.stands(at) else state.claim.ended(at)
            self._change(row, claim=claim, next_drive=next_drive, put_at=at)
            if counted:
                self._change(row, attempts=state.attempts + (state.failures > 0), failures=0)
            return True

    def list_unfinished(self, source: str, pipeline: str, since: datetime) -> Sequence[RawArchive]:
        with self._lock:
            rows = [row for key, row in self.archives.items() if key.source == source and key.stamp >= since]
            return [replace(row.archive, raw_at=row.raw_at) for row in rows if self.end(row.archive, pipeline) is None]

    def known(self, source: str, since: datetime) -> Collection[ArchiveKey]:
        with self._lock:
            return {key for key in self.archives if key.source == source and key.stamp >= since}

    def end(self, archive: RawArchive, pipeline: str = "p-test") -> str | None:
        """Return the outcome of an archive under a pipeline, None before it has one."""
        row = self.pipelines.get((archive.key, pipeline))
        return None if row is None else row.end

    def _settle(self, row: PipelineRow, states: Sequence[BatchState], at: datetime) -> None:
        sums = sum((state.counts for state in states if state.counts), start=Counts())
        row.sums = row.sums or sums
        state, reason = end_of(states, sums)
        row.reason = row.reason or reason
        row.ends.setdefault(state, at)
        self.close(row.archive, row.pipeline)

    def _end(
        self, archive: RawArchive, pipeline: str, end: str, reason: str, at: datetime, batch: Batch | None
    ) -> None:
        with self._lock:
            row = self._row(archive, pipeline)
            if batch is not None and batch.plan not in ("", row.plan):
                return
            row.ends.setdefault(end, at)
            row.reason = row.reason or reason
            self.close(archive, pipeline)

    def _row(self, archive: RawArchive, pipeline: str) -> PipelineRow:
        return self.pipelines.setdefault((archive.key, pipeline), PipelineRow(archive, pipeline))

    def _planned(self, batch: Batch) -> _BatchRow:
        row = self._batches.get(_batch_key(batch))
        if row is None:
            raise StoreRefusedError(f"batch {batch.number} of {batch.archive.blob} was never planned")
        planned = row.state.batch
        if batch.plan not in ("", planned.plan) or (batch.first, batch.end) != (planned.first, planned.end):
            raise StoreRefusedError(f"batch {batch.number} of {batch.archive.blob} belongs to a plan that was replaced")
        return row

    def _renew(self, row: PipelineRow, batches: Sequence[Batch], next_drive: datetime) -> None:
        row.plan = self._etag()
        for batch in batches:
            self._batches[_batch_key(batch)] = self._new(batch, row.plan, next_drive)

    def _new(self, batch: Batch, plan: str, next_drive: datetime) -> _BatchRow:
        batch = replace(batch, plan=plan)
        return _BatchRow(
            BatchState(batch=batch, done_at=None, attempts=0, next_drive=next_drive, counts=None, etag=self._etag())
        )

    def _change(self, row: _BatchRow, **changes: Any) -> None:
        row.state = replace(row.state, **changes, etag=self._etag())

    def _etag(self) -> str:
        return f"etag-{next(self._etags)}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that was put; a BatchRequest."""

    blob: str
    pipeline: str | None = None
    batch: int | None = None
    traceparent: str | None = None


class MemoryBatchQueue:
    """The queue of batches in memory; a BatchQueue."""

    def __init__(self) -> None:
        self.messages: list[Request] = []
        self.hidden: list[tuple[Request, timedelta]] = []
        """Hidden messages, and for how long they are hidden."""
        self.fail_next: Exception | None = None
        """Raised by the next `put`, once."""
        self.oldest: datetime | None = None
        """Return when the oldest waiting message was put; None: the host has taken all."""

    def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        request = (
            Request(blob=blob) if batch is None else Request(blob=blob, pipeline=batch.pipeline, batch=batch.number)
        )
        if after:
            self.hidden.append((request, after))
        else:
            self.messages.append(request)

    def show(self) -> None:
        """Make all hidden messages visible."""
        self.messages += [request for request, _ in self.hidden]
        self.hidden.clear()

    def oldest_visible(self) -> datetime | None:
        return self.oldest

    def waiting(self) -> int:
        return len(self.messages) + len(self.hidden)


def _batch_key(batch: Batch) -> tuple[ArchiveKey, str, int]:
    return batch.archive.key, batch.pipeline, batch.number
