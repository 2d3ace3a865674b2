"""Ports of preprocessing to storage and queues."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol

from imagefeed.model import ArchiveKey, Counts, RawArchive, Refusal
from preprocess.claim import Claim, ClaimKind
from preprocess.model import Batch, BatchState, Image, Loss, Notes, OpenArchive

NO_CLAIMS: Mapping[int, Claim] = MappingProxyType({})
NO_NOTES = Notes()


class RangeReader(Protocol):
    """Reads ranges of a raw blob, only of the version that was opened."""

    size: int

    def read_range(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on.

        Raises StoreUnavailableError, StoreRefusedError; ArchiveRefusedError if the blob was replaced.
        """


class RawArchives(Protocol):
    """The raw container."""

    def find(self, blob: str) -> RawArchive | None:
        """Return a blob's archive from its metadata, or its properties if uploaded manually; None if it is gone."""

    def open(self, archive: RawArchive) -> RangeReader:
        """Return a reader of an archive's ranges."""

    def recent(self, source: str, since: datetime) -> Sequence[RawArchive]:
        """Return a source's archives with a stamp from `since` on, except pending ones.

        Lists only the day folders since then, so that the work is bounded.
        """


class ResultWriter(Protocol):
    """Writes the results of one batch. Nothing is visible before `publish`."""

    @property
    def near(self) -> Mapping[str, float]:
        """Return used shares of the limits that an image nearly reached, by setting."""

    def add(self, images: Iterable[Image]) -> int:
        """Add one member's images in frame order: all, or none if `images` raises. Return their number."""

    def refuse(self, refusal: Refusal) -> None:
        """Add a refusal row."""

    def publish(self, counts: Counts | None = None) -> int:
        """Write the shard, then the rows, then remove the rows that an older run left. Return the shard's bytes.

        `counts` are recorded with the shard, so that a lost ledger can be rebuilt. A second run writes the same bytes
        under the same names.
        """


class Results(Protocol):
    """The processed container and the images table."""

    def write(self, batch: Batch) -> AbstractContextManager[ResultWriter]:
        """Return a writer for a batch's results. Without `publish` nothing remains."""


class BatchLedger(Protocol):
    """The ledger of preprocessing. Every method may run twice, or late, without harm."""

    def record_raw(self, archive: RawArchive, at: datetime) -> None:
        """Record that the archive became raw at `at`, unless its row has a time already."""

    def plan(self, archive: RawArchive, pipeline: str) -> Sequence[BatchState] | None:
        """Return the batches of an archive's plan; an empty sequence if it was refused or failed without a plan.

        None if it still has to be planned.
        """

    def insert_plan(
        self, batches: Sequence[Batch], at: datetime, next_drive: datetime, claimed: Mapping[int, Claim] = NO_CLAIMS
    ) -> str | None:
        """Insert all batches, then their number in the ledger. Return the plan's name; None if a plan exists.

        `claimed` has claims to insert with batches, by batch number. There is at least one batch, which is empty for an
        archive without members. Rows left by an earlier call that died before it wrote the number are replaced.
        """

    def split(self, batch: Batch, next_drive: datetime) -> Sequence[Batch]:
        """Replace a batch of several members by two undone halves: the first keeps its number, the other is the last.

        Return both; none if the plan, or the batch in it, no longer exists as given.
        """

    def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
        """Claim a batch until `until`. Return how many of its owners vanished within `VANISHED_WITHIN`.

        None if the batch is done, or another owner's claim has not expired. The owner may claim again, to move `until`.
        Only avoids duplicate work.
        """

    def release(self, batch: Batch, owner: str, at: datetime, error: str | None) -> None:
        """Release a batch if `owner` still claims it; record an error, and that its message will be visible again."""

    def note_put(self, batches: Sequence[Batch], at: datetime) -> None:
        """Record that messages of these batches, of one archive, were put on the queue."""

    def open(self, archive: RawArchive, pipeline: str, at: datetime, put_at: datetime | None = None) -> None:
        """Record an archive as open under a pipeline. `put_at` is when a message that asks for its plan was put."""

    def close(self, archive: RawArchive, pipeline: str, etag: str | None = None) -> None:
        """Remove an archive from the open ones. With an ETag, only if its row has not changed since it was read."""

    def list_open(self, source: str, pipeline: str) -> Sequence[OpenArchive]:
        """Return a source's open archives under a pipeline, newest stamps first."""

    def ask_plan(self, opened: OpenArchive, pipeline: str, at: datetime) -> bool:
        """Record that an archive's plan is requested again. Return False if its row changed since it was read."""

    def is_terminal(self, archive: RawArchive, pipeline: str) -> bool:
        """Return whether an archive is terminal under a pipeline."""

    def finish(self, batch: Batch, counts: Counts, at: datetime, notes: Notes = NO_NOTES) -> None:
        """Write a batch's counts and notes; if all batches are done, write the archive's final state and sums.

        If none of its members gave an image, its reason counts them by kind, and quotes the most common one.
        """

    def refuse(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Record a whole archive as refused. With a batch, only if that batch's plan is still in force."""

    def fail(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Record an archive without tries left as failed. With a batch, only if that batch's plan is still in force."""

    def reset(
        self, archive: RawArchive, pipeline: str, at: datetime, next_drive: datetime
    ) -> Sequence[BatchState] | None:
        """Reset an archive's state under a pipeline, and return its batches as if they were new.

        None if it has no plan and has to be planned. The former state is kept in its row. It is one write, after which
        no earlier call can finish, refuse or fail the archive.
        """

    def unplanned(self, archive: RawArchive, pipeline: str, error: str, at: datetime) -> int:
        """Record why an archive could not be planned. Return how often that has happened."""

    def given_up(self, batch: Batch, error: str, at: datetime) -> None:
        """Record why the queue gave a batch's message up."""

    def repaired(self, archive: RawArchive, pipeline: str, at: datetime) -> int:
        """Record that lost results of an archive are to be made again. Return the number of repairs with this one."""

    def schedule_redrive(self, state: BatchState, at: datetime, next_drive: datetime, *, counted: bool = True) -> bool:
        """Record that a batch, unclaimed, is put on the queue at `at`. Return False if its row has changed since.

        With `counted`, a batch that has failed gains an attempt, and its failures are counted from zero.
        """

    def list_unfinished(self, source: str, pipeline: str, since: datetime) -> Sequence[RawArchive]:
        """Return raw archives with a stamp from `since` on that are not terminal under `pipeline`."""

    def known(self, source: str, since: datetime) -> Collection[ArchiveKey]:
        """Return every archive with a stamp from `since` on whose row has the time it became raw."""


class ResultAudit(Protocol):
    """Compares results with the counts recorded when they were made."""

    def lost(self, source: str, pipeline: str, since: datetime) -> Sequence[Loss]:
        """Check the next few of a source's processed archives with a stamp from `since` on, and return their losses.

        The work of a call is bounded. Each continues where the last one ended, newest first, and starts again after the
        oldest. Raises StoreUnavailableError, StoreRefusedError.
        """


class BatchRequest(Protocol):
    """A request put on a BatchQueue, as parsed from its message."""

    @property
    def blob(self) -> str:
        """Return the archive's blob name."""

    @property
    def pipeline(self) -> str | None:
        """Return the pipeline that planned the batch; None to plan the archive."""

    @property
    def batch(self) -> int | None:
        """Return the batch's number; None to plan the archive."""

    @property
    def traceparent(self) -> str | None:
        """Return the span that put the request; None if it was not recorded."""


class BatchQueue(Protocol):
    """The queue of work for other calls."""

    def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
        """Queue a batch to be preprocessed, or with None the archive to be planned. Hidden for `after`.

        Raises StoreUnavailableError.
        """

    def oldest_visible(self) -> datetime | None:
        """Return when the oldest of the next visible messages was put; None if no message is visible.

        Raises StoreUnavailableError.
        """

    def waiting(self) -> int:
        """Return about how many requests wait or are being worked on. Raises StoreUnavailableError."""


class DeadLetter(Protocol):
    """A message that a queue gave up, or a blob of events that Event Grid gave up."""

    @property
    def name(self) -> str:
        """Return its name for the log."""

    @property
    def why(self) -> str:
        """Return why it was given up, as far as known."""

    @property
    def requests(self) -> Sequence[BatchRequest]:
        """Return its requests; none if they are repeated anyway."""

    @property
    def nonsense(self) -> str | None:
        """Return why it cannot be parsed; None if it can."""

    def send_back(self) -> None:
        """Put its requests back on the queue. Raises StoreUnavailableError, StoreRefusedError."""

    def keep(self, reason: str) -> None:
        """Store a copy that a person can inspect. Raises StoreUnavailableError, StoreRefusedError."""

    def remove(self) -> None:
        """Delete it. Raises StoreUnavailableError, StoreRefusedError."""
