"""Ports of copying: the interfaces of servers and storage that it needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from ingest.model import (
    EVERYTHING,
    Archive,
    Arrival,
    Block,
    CommitOutcome,
    CopyMetadata,
    Listing,
    Published,
    RemoteFile,
    Scope,
    SourceState,
    Staged,
    Step,
    UnsizedFile,
)


class Reader(Protocol):
    """The bytes of a remote file, from the offset at which it was opened."""

    def readinto(self, buffer: memoryview, ahead: int = 0, /) -> int | None:
        """Read into the start of `buffer` and return the number of bytes: 0 at the end of file, None if none came yet.

        May return before the buffer is full: a block of a slow server may take longer than a tick or the lease lasts.
        Up to `ahead` bytes beyond the buffer may be requested early: the caller has free buffers for them.
        Raises SourceUnavailableError.
        """


class Connection(Protocol):
    """One logged-in connection to a source. Every call has a timeout."""

    def list_files(self, scope: Scope = EVERYTHING) -> Listing:
        """Return the files of the source's folder (and subfolders, if `recursive`), and what could not be read of it.

        Files whose size the server does not give, or gives as no number of bytes, are listed apart: `measure` counts
        them. Files that `scope` does not want may be left out if they cost a request. Raises SourceUnavailableError,
        SourceRefusedError if nothing could be read, and what `scope.check` raises.
        """

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Return a listed file's current size and exact modified time; None if it is absent or its server refuses.

        What the server does not give, or gives without sense, is as listed.
        Raises SourceUnavailableError, SourceRefusedError.
        """

    def open(self, file: RemoteFile, offset: int) -> AbstractContextManager[Reader]:
        """Open a file from `offset` on. Leaving the context early aborts the transfer.

        Leaving it normally does not fail if the connection died after the last byte.
        Raises SourceUnavailableError, SourceRefusedError.
        """

    def measure(self, file: UnsizedFile, check: Callable[[], None]) -> int:
        """Read a file to its end and return the number of its bytes, if the server confirms that it sent all of them.

        Calls `check` after each piece; it raises to stop. Raises SourceUnavailableError, SourceRefusedError,
        InconsistentTransferError.
        """


class Connector(Protocol):
    """Opens connections to a source."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Connect and log in. Raises SourceUnavailableError, SourceRefusedError."""


class Upload(Protocol):
    """An unfinished raw blob. Its staged blocks outlive the process and are invisible until the commit."""

    @property
    def unchecked(self) -> bool:
        """Return whether a block was stored without the service's checksum of what it received."""

    def staged(self) -> Staged:
        """Return the blocks that are staged and uncommitted. Call it first: ids depend on it."""

    def stage(self, block: Block, content: memoryview) -> None:
        """Stage one block; only an equal one is replaced. Safe to call from several threads."""

    def commit(self, blocks: Sequence[Block], metadata: CopyMetadata | None) -> CommitOutcome:
        """Publish `blocks`, which must have no gaps, under the archive's name: all or nothing. An existing blob stays.

        If `metadata` is None, the copy was resumed and the hashes are unknown; `amend` sets them later.
        """

    def read_back(self) -> Iterator[bytes]:
        """Yield the bytes of the committed blob."""

    def committed(self) -> Sequence[Block]:
        """Return the blocks of the committed blob, by offset; none if their ids carry no checksums."""

    def remove(self) -> None:
        """Remove the committed blob that `read_back` read; one that was published since then stays."""

    def amend(self, metadata: CopyMetadata) -> None:
        """Set the hashes of a committed blob."""


class ZipEnd(Protocol):
    """Checks by a file's last bytes whether a zip was written completely."""

    def tail_length(self, size: int) -> int:
        """Return how many of a file's last bytes `is_complete` needs."""

    def is_complete(self, tail: bytes, size: int) -> bool:
        """Return whether a file of `size` bytes that ends in `tail` ends in a zip directory."""


class ArchiveStore(Protocol):
    """Stores complete archives. Every method raises StoreUnavailableError, StoreRefusedError."""

    def find(self, archive: Archive) -> Published | None:
        """Return the archive as it was published; None if it was not."""

    def upload(self, archive: Archive) -> Upload:
        """Return a new upload of an archive, or the one that an earlier process began."""


class SourceStateHold(Protocol):
    """A SourceState whose lease this process holds."""

    def load(self) -> SourceState:
        """Return the source state; an empty one if there is none yet."""

    def save(self, source_state: SourceState) -> None:
        """Write the source state. Raises LeaseLostError if another process took the lease; the poll must then stop."""

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost. Sends no request."""


class SourceStateStore(Protocol):
    """All SourceStates, each with a lease that expires unless its holder renews it."""

    def hold(self, source: str) -> AbstractContextManager[SourceStateHold]:
        """Hold the source's lease within the context. Raises LeaseLostError if another process holds it."""


class SourceStateView(Protocol):
    """Read-only access to SourceStates. Takes no lease and disturbs no poll."""

    def look(self, source: str) -> SourceState | None:
        """Return the last saved source state; None if the source was never polled. Raises StoreUnavailableError."""


class Arrivals(Protocol):
    """The part of the ledger that watching reads."""

    def since(self, source: str, start: datetime) -> Sequence[Arrival]:
        """Return archives stamped at `start` or later, and the last one before. Raises StoreUnavailableError."""


class CopyLedger(Protocol):
    """The part of the ledger that copying writes. Repeated writes change nothing; a time that is set stays."""

    def record(self, archive: Archive, step: Step, at: datetime, metadata: CopyMetadata | None = None) -> None:
        """Set the time of a step; `RAW` also writes `metadata`."""

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Record why copying failed this time."""
