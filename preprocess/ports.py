"""Ports of preprocessing: what it needs of storage and queues."""

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
    """A raw blob's bytes by ranges, of the one version that was opened."""

    size: int

    def read_range(self, offset: int, length: int) -> bytes:
        """Give exactly these bytes.

        Raises StoreUnavailableError, StoreRefusedError; ArchiveRefusedError if the blob was replaced.
        """


class RawArchives(Protocol):
    """The raw container, as preprocessing sees it."""

    def find(self, blob: str) -> RawArchive | None:
        """Describe a blob from its metadata, or what was put there by hand from its properties; None if it is gone."""

    def open(self, archive: RawArchive) -> RangeReader:
        """Read an archive by ranges."""

    def recent(self, source: str, since: datetime) -> Sequence[RawArchive]:
        """A source's archives with a stamp from `since` on, found by their day folders alone: bounded work.

        Without those that are pending.
        """


class ResultWriter(Protocol):
    """Results of one batch in the making; nothing is visible before `publish`."""

    @property
    def near(self) -> Mapping[str, float]:
        """Return shares of limits that an image nearly reached, by the limits' settings."""

    def add(self, images: Iterable[Image]) -> int:
        """Add one member's images in the order of their frames: all, or none if `images` raises. Gives their number."""

    def refuse(self, refusal: Refusal) -> None:
        """Add a refusal row."""

    def publish(self, counts: Counts | None = None) -> int:
        """Write the shard, then the rows, then remove rows of the batch's members that an older run left.

        `counts` are recorded with the shard, so that a lost ledger can be made again. Gives the shard's bytes.
        A second run writes the same bytes under the same names.
        """


class Results(Protocol):
    """The processed container and the images table."""

    def write(self, batch: Batch) -> AbstractContextManager[ResultWriter]:
        """Begin a batch's results; leaving without `publish` leaves nothing behind."""


class BatchLedger(Protocol):
    """The preprocessing side of the ledger. All of it may run twice, or late, without harm."""

    def record_raw(self, archive: RawArchive, at: datetime) -> None:
        """Make sure that the archive has its row, with the time it became raw."""

    def plan(self, archive: RawArchive, pipeline: str) -> Sequence[BatchState] | None:
        """The batches of an archive's plan; none of them where it was settled without a plan (refused, failed).

        None if there is neither: it is to be planned.
        """

    def insert_plan(
        self, batches: Sequence[Batch], at: datetime, next_drive: datetime, claimed: Mapping[int, Claim] = NO_CLAIMS
    ) -> str | None:
        """Insert all batches, then their number in the ledger, and return the plan's name; None if there was one.

        `claimed`: claims that batches are inserted with, by their numbers.

        There is always one: an archive without members has one batch of no members. Rows that an earlier call left
        without the number (it died half way) are replaced.
        """

    def split(self, batch: Batch, next_drive: datetime) -> Sequence[Batch]:
        """Replace a batch of several members by two, undone: the first half keeps its number, the other comes last.

        Return both; none where the plan, or the batch in it, does not stand any more.
        """

    def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
        """Note who works on a batch; None if it is done, or another owner's unexpired claim stands.

        Return how many of its owners have vanished within `VANISHED_WITHIN`. The owner itself may claim again, to move
        `until`. Only saves work.
        """

    def release(self, batch: Batch, owner: str, at: datetime, error: str | None) -> None:
        """Let a batch go, if the claim is still `owner`'s; with an error: note it, and that its message comes back."""

    def note_put(self, batches: Sequence[Batch], at: datetime) -> None:
        """Note that messages of these batches, of one archive, were put on the queue."""

    def open(self, archive: RawArchive, pipeline: str, at: datetime, put_at: datetime | None = None) -> None:
        """List an archive as open under a pipeline; `put_at`: a message that asks for its plan was put then."""

    def close(self, archive: RawArchive, pipeline: str, etag: str | None = None) -> None:
        """Take an archive off the list of open ones; with an ETag: if its row is still the one that was read."""

    def list_open(self, source: str, pipeline: str) -> Sequence[OpenArchive]:
        """Return a source's open archives under a pipeline, those with the newest stamps first."""

    def ask_plan(self, opened: OpenArchive, pipeline: str, at: datetime) -> bool:
        """Note that the plan of an archive is asked for again; False if somebody else did since `opened` was read."""

    def is_terminal(self, archive: RawArchive, pipeline: str) -> bool:
        """Return whether an archive is at its end under a pipeline."""

    def finish(self, batch: Batch, counts: Counts, at: datetime, notes: Notes = NO_NOTES) -> None:
        """Write a batch's counts and notes; if all batches are done, merge the archive's end and sums into the ledger.

        Of an archive whose every image member was refused, the reason quotes the commonest one of its batches.
        """

    def refuse(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Settle a whole archive as refused; because of a batch: only while that batch's plan stands."""

    def fail(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Settle an archive whose tries are spent as failed; because of a batch: while that batch's plan stands."""

    def reset(
        self, archive: RawArchive, pipeline: str, at: datetime, next_drive: datetime
    ) -> Sequence[BatchState] | None:
        """Undo what became of an archive under a pipeline, and give its batches back as if they were new.

        None where it has no plan: it is to be planned. What it was before is kept in its row. It is one write, after
        which nobody who began earlier can finish, refuse or fail it.
        """

    def unplanned(self, archive: RawArchive, pipeline: str, error: str, at: datetime) -> int:
        """Note why an archive could not be planned; how often that was so."""

    def given_up(self, batch: Batch, error: str, at: datetime) -> None:
        """Note why the queue gave a batch's message up."""

    def repaired(self, archive: RawArchive, pipeline: str, at: datetime) -> int:
        """Note that lost results of an archive are to be made again; how often that was so, with this one."""

    def schedule_redrive(self, state: BatchState, at: datetime, next_drive: datetime, *, counted: bool = True) -> bool:
        """Note that a batch is put on the queue at `at`, by nobody's claim; False if its row has changed since.

        `counted`: this counts as an attempt if it has failed, and its failures are counted anew.
        """

    def list_unfinished(self, source: str, pipeline: str, since: datetime) -> Sequence[RawArchive]:
        """Raw archives with a stamp from `since` on that are not processed, refused or failed under `pipeline`."""

    def known(self, source: str, since: datetime) -> Collection[ArchiveKey]:
        """Every archive with a stamp from `since` on whose row has the time it became raw."""


class ResultAudit(Protocol):
    """Results, held against what was counted when they were made."""

    def lost(self, source: str, pipeline: str, since: datetime) -> Sequence[Loss]:
        """Look at the next few of a source's processed archives with a stamp from `since` on, and name what they lost.

        Each call is bounded work and goes on where the last one ended, newest first; behind the oldest it begins anew.
        Raises StoreUnavailableError, StoreRefusedError.
        """


class BatchRequest(Protocol):
    """What a BatchQueue was asked for, as a message brings it back."""

    @property
    def blob(self) -> str:
        """Return the archive's blob name."""

    @property
    def pipeline(self) -> str | None:
        """Return the pipeline that planned the batch; None: the archive is to be planned."""

    @property
    def batch(self) -> int | None:
        """The batch's number; None: the archive is to be planned."""

    @property
    def traceparent(self) -> str | None:
        """The span of whoever asked; None if nobody recorded it."""


class BatchQueue(Protocol):
    """Work for other calls."""

    def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
        """Ask for a batch to be preprocessed, or with None for the archive to be planned; hidden for `after`.

        Raises StoreUnavailableError.
        """

    def oldest_visible(self) -> datetime | None:
        """Return when the oldest was put of those next on the queue that wait to be taken; None if none waits.

        Raises StoreUnavailableError.
        """

    def waiting(self) -> int:
        """About how many requests wait or are being worked on. Raises StoreUnavailableError."""


class DeadLetter(Protocol):
    """A message that a queue gave up, or events that Event Grid gave up: it waits for somebody to look at it."""

    @property
    def name(self) -> str:
        """What it is, for a log."""

    @property
    def why(self) -> str:
        """Why it was given up, as far as that is known."""

    @property
    def requests(self) -> Sequence[BatchRequest]:
        """What it asks for; nothing where that is asked for anew anyway."""

    @property
    def nonsense(self) -> str | None:
        """Why nobody can read it; None if it can be read."""

    def send_back(self) -> None:
        """Put what it asks for back on the queue. Raises StoreUnavailableError, StoreRefusedError."""

    def keep(self, reason: str) -> None:
        """Put a copy where a person can look at it. Raises StoreUnavailableError, StoreRefusedError."""

    def remove(self) -> None:
        """Remove it from where it waits. Raises StoreUnavailableError, StoreRefusedError."""
