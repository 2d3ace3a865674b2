"""Ports of copying: what it needs of servers and storage."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from ingest.model import (
    Archive,
    Arrival,
    CommitOutcome,
    CopyMetadata,
    Listing,
    Published,
    RemoteFile,
    SourceState,
    Span,
    Step,
)


class Reader(Protocol):
    """A remote file's bytes, from where it was opened on."""

    def readinto(self, buffer: memoryview, ahead: int = 0, /) -> int | None:
        """Fill the start of `buffer`, perhaps not all of it; 0 at the end of the file, None if nothing came of it yet.

        Up to `ahead` bytes beyond the buffer may be asked for already: what they are for is there.
        Raises SourceUnavailableError.
        """


class Connection(Protocol):
    """One logged-in connection to a source. Every call has a timeout."""

    def list_files(self) -> Listing:
        """List the files of the source's folder (and subfolders, where asked for), and what could not be read of it.

        Raises SourceUnavailableError, SourceRefusedError if nothing could be read.
        """

    def stat(self, listed: RemoteFile) -> RemoteFile | None:
        """Ask for a listed file's certain facts, now; None if the server says that there is none, or refuses to tell.

        Raises SourceUnavailableError, SourceRefusedError.
        """

    def open(self, file: RemoteFile, offset: int) -> AbstractContextManager[Reader]:
        """Read a file from `offset` on; leaving the context early breaks the transfer off.

        Leaving it normally does not fail if the connection died after the last byte.
        Raises SourceUnavailableError, SourceRefusedError.
        """


class Connector(Protocol):
    """The way to a source."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Log in. Raises SourceUnavailableError, SourceRefusedError."""


class Upload(Protocol):
    """A raw blob in the making: staged blocks survive the process and are invisible until the commit."""

    def staged(self) -> Sequence[Span]:
        """Blocks that are staged and uncommitted, in the order of their offsets."""

    def stage(self, offset: int, block: memoryview) -> None:
        """Stage one block; the same one again replaces it. Safe from several threads."""

    def commit(self, spans: Sequence[Span], metadata: CopyMetadata | None) -> CommitOutcome:
        """Publish `spans`, which must be gapless, under the archive's name unless it exists: all, or nothing.

        `metadata` None: blocks were resumed, so the hashes are unknown; `amend` sets them.
        """

    def read_back(self) -> Iterator[bytes]:
        """The committed blob's bytes."""

    def amend(self, metadata: CopyMetadata) -> None:
        """Set the hashes of a committed blob."""


class ZipEnd(Protocol):
    """Judges by a file's last bytes whether a zip was written to its end."""

    def tail_length(self, size: int) -> int:
        """Return how many of a file's last bytes `is_complete` needs."""

    def is_complete(self, tail: bytes, size: int) -> bool:
        """Return whether a file of `size` bytes that ends in `tail` ends in a zip directory."""


class ArchiveStore(Protocol):
    """Where whole archives end up. All of it raises StoreUnavailableError, StoreRefusedError."""

    def find(self, archive: Archive) -> Published | None:
        """What is known of an archive that is there already; None if it is not."""

    def upload(self, archive: Archive) -> Upload:
        """Begin or resume an archive."""


class SourceStateHold(Protocol):
    """A source state under our lease."""

    def load(self) -> SourceState:
        """Read it; an empty one if there is none yet."""

    def save(self, source_state: SourceState) -> None:
        """Write it. Raises LeaseLostError if another process took over: then stop at once."""

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost. Costs no request."""


class SourceStateStore(Protocol):
    """SourceStates, each under a lease with an expiry that is renewed while held."""

    def hold(self, source: str) -> AbstractContextManager[SourceStateHold]:
        """Take the source's lease. Raises LeaseLostError if another process holds it."""


class SourceStateView(Protocol):
    """SourceStates as whoever only looks sees them: no lease is taken, no poll disturbed."""

    def look(self, source: str) -> SourceState | None:
        """The source state as it was saved last; None if the source was never polled. Raises StoreUnavailableError."""


class Arrivals(Protocol):
    """The ledger as watching sees it."""

    def since(self, source: str, start: datetime) -> Sequence[Arrival]:
        """Archives with a stamp from `start` on, and the last one before it. Raises StoreUnavailableError."""


class CopyLedger(Protocol):
    """The copying side of the ledger. Writing the same again changes nothing; times once set stay."""

    def record(self, archive: Archive, step: Step, at: datetime, metadata: CopyMetadata | None = None) -> None:
        """Set the time of a step, and with `RAW` the facts."""

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Note why copying failed this time."""
