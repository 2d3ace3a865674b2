"""Values of copying, and the ports that it needs."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One entry of a source's listing: `path` relative to the source's folder, `modified` in whole seconds, UTC."""

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach a source: what `ingest.connect` needs. Secrets stay out of its repr."""

    scheme: Literal["sftp", "ftp", "ftpes", "ftps"]
    """`ftpes` is FTP with explicit TLS (AUTH TLS), `ftps` with implicit TLS."""
    host: str
    port: int
    user: str = "anonymous"
    folder: str = "."
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    """SFTP: text of an OpenSSH or PEM private key."""
    passphrase: str | None = field(default=None, repr=False)
    host_key: str | None = None
    """SFTP: `ssh-ed25519 AAAA...`, or a whole known_hosts line."""
    ca: str | None = None
    """FTP over TLS: PEM text of the certificate authorities to trust instead of the system's."""
    timezone: str = "UTC"
    """IANA zone of the times that LIST shows; used only where MDTM gives no better."""
    mlsd: bool = True
    encoding: str = "utf-8"
    recursive: bool = False
    timeout: float = 30.0
    """Seconds that any one network call may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What copying needs to know of a source; how to reach it is its Endpoint's affair."""

    name: str
    interval: timedelta = timedelta(minutes=10)
    """Time between two archives, as promised by whoever runs the server."""
    gap: float = 1.5
    """Archives that lie further apart than so many intervals have a gap between them."""
    retention: timedelta = timedelta(hours=48)
    """Age at which the server deletes a file."""
    pattern: str = "*.zip"
    """Glob for the file's name, or for its path where it has a slash."""
    match_case: bool = False
    stamp: str | None = None
    """How to read the stamp from a file's name: strptime codes in a text that must occur in the name,
    such as `radar_%Y%m%d_%H%M%S`; None takes the modified time."""
    max_connections: int = 2
    settle: timedelta = timedelta(seconds=2)
    """Time between the two looks that an unknown file must survive unchanged."""
    settle_max: timedelta = timedelta(minutes=5)
    """How long a file may stay unsound before it is archived all the same."""
    block_size: int = 16 * 2**20
    """Bytes of a file that are on their way at most: asked for and not yet safe in the store."""
    budget: timedelta = timedelta(minutes=25)
    """Time after which a poll stops between two blocks; the next poll goes on there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One version of a remote file. `stamp` is its own time, decided once."""

    source: str
    file: RemoteFile
    version: str
    stamp: datetime
    stamp_replaced: bool = False
    """The stamp that the name or the server gave lay more than a day ahead; the time first seen stands in."""


def version_of(file: RemoteFile) -> str:
    """Give the first 8 hex digits of SHA-256 over path, size and modified time."""
    facts = f"{file.path}\n{file.size}\n{file.modified:%Y-%m-%dT%H:%M:%SZ}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFacts:
    """What is known of an archive's bytes once all of them have passed through."""

    sha256: str
    """Hex digest over the whole file."""
    md5: bytes
    sound: bool
    """False: the tail is no zip directory that fits, and stayed so for `settle_max`."""


@dataclass(frozen=True, slots=True)
class Published:
    """An archive that is in the store."""

    facts: CopyFacts | None
    """None: committed after a resumed copy, so that its hashes have yet to be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What polling remembers of one file of the last complete listing."""

    listed: RemoteFile
    """As the listing told it (LIST knows neither year nor seconds): what a known file is recognised by."""
    archive: Archive
    first_seen: datetime
    done: bool = False
    """Copied, `same`, superseded or expired: nothing more to do."""
    sha256: str | None = None
    previous_sha256: str | None = None
    """Hash of the path's version before this one; equal bytes make this one `same`."""
    missing: int = 0
    """Ticks in a row whose complete listing lacked it."""
    unsound_since: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    """Copying failed; not tried again before this."""

    @property
    def is_same(self) -> bool:
        """The file was only touched: its bytes are those of the path's version before, and were not stored again."""
        return self.done and self.sha256 is not None and self.sha256 == self.previous_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The last complete listing of a source, and what became of each file in it."""

    source: str
    listed_at: datetime | None = None
    sightings: tuple[Sighting, ...] = ()
    failures: int = 0
    """Polls in a row that failed."""
    error: str | None = None
    not_before: datetime | None = None
    """The server refused or was busy; no poll before this."""


class Step(StrEnum):
    """A transition of an archive while it is copied; each has its time in the ledger."""

    SEEN = "seen"
    COPYING = "copying"
    RAW = "raw"
    SAME = "same"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class Outcome(Enum):
    """What became of a conditional write."""

    STORED = "stored"
    ALREADY_THERE = "already there"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `offset` on."""

    offset: int
    length: int


class Reader(Protocol):
    """A remote file's bytes, from where it was opened on."""

    def readinto(self, buffer: memoryview, ahead: int = 0, /) -> int | None:
        """Fill the start of `buffer`, perhaps not all of it; 0 at the end of the file, None if nothing came of it yet.

        Up to `ahead` bytes beyond the buffer may be asked for already: what they are for is there.
        Raises SourceUnavailableError.
        """


class Connection(Protocol):
    """One logged-in connection to a source. Every call has a timeout."""

    def list_files(self) -> Sequence[RemoteFile]:
        """List all files of the source's folder (and subfolders, where asked for): all, or an error.

        Raises SourceUnavailableError, SourceRefusedError.
        """

    def look(self, listed: RemoteFile) -> RemoteFile | None:
        """Ask for a listed file's certain facts, now; None if it is gone.

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

    def commit(self, spans: Sequence[Span], facts: CopyFacts | None) -> Outcome:
        """Publish `spans`, which must be gapless, under the archive's name unless it exists: all, or nothing.

        `facts` None: blocks were resumed, so the hashes are unknown; `amend` sets them.
        """

    def read_back(self) -> Iterator[bytes]:
        """The committed blob's bytes."""

    def amend(self, facts: CopyFacts) -> None:
        """Set the hashes of a committed blob."""


class ArchiveStore(Protocol):
    """Where whole archives end up. All of it raises StoreUnavailableError, StoreRefusedError."""

    def find(self, archive: Archive) -> Published | None:
        """What is known of an archive that is there already; None if it is not."""

    def upload(self, archive: Archive) -> Upload:
        """Begin or resume an archive."""


class RosterHold(Protocol):
    """A roster under our lease."""

    def load(self) -> Roster:
        """Read it; an empty one if there is none yet."""

    def save(self, roster: Roster) -> None:
        """Write it. Raises LeaseLostError if another process took over: then stop at once."""

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost. Costs no request."""


class RosterStore(Protocol):
    """Rosters, each under a lease with an expiry that is renewed while held."""

    def hold(self, source: str) -> AbstractContextManager[RosterHold]:
        """Take the source's lease. Raises LeaseLostError if another process holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An archive that the ledger knows, as far as watching needs to know it."""

    stamp: datetime
    seen: datetime | None = None
    """First seen on the server; None where that is not known, or it never was there."""
    by_hand: str | None = None
    """The raw blob's name, where somebody put it there by hand."""


class RosterView(Protocol):
    """Rosters as whoever only looks sees them: no lease is taken, no poll disturbed."""

    def look(self, source: str) -> Roster | None:
        """The roster as it was saved last; None if the source was never polled. Raises StoreUnavailableError."""


class Arrivals(Protocol):
    """The ledger as watching sees it."""

    def since(self, source: str, start: datetime) -> Sequence[Arrival]:
        """Archives with a stamp from `start` on, and the last one before it. Raises StoreUnavailableError."""


class CopyLedger(Protocol):
    """The copying side of the ledger. Writing the same again changes nothing; times once set stay."""

    def record(self, archive: Archive, step: Step, at: datetime, facts: CopyFacts | None = None) -> None:
        """Set the time of a step, and with `RAW` the facts."""

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Note why copying failed this time."""
