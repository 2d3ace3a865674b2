"""Values of copying."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Literal

from config.types import Budget, Connections, Encoding, KeyText, Multiple, Pause, Seconds, Secret, TimeZone
from imagefeed.model import ArchiveKey, Replaces
from ingest.active import Active
from ingest.timestamps import StampPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One entry of a source's listing: `path` relative to the source's folder, `modified` in whole seconds, UTC."""

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach a source: what `ingest.protocols.connect` needs. Secrets stay out of its repr."""

    scheme: Literal["sftp", "ftp", "ftpes", "ftps"]
    """`ftpes` is FTP with explicit TLS (AUTH TLS), `ftps` with implicit TLS."""
    host: str
    port: int
    user: str = "anonymous"
    folder: str = "."
    password: Secret | None = field(default=None, repr=False)
    """Password of the user; in Azure a Key Vault reference."""
    private_key: KeyText | None = field(default=None, repr=False)
    r"""SFTP: text of an OpenSSH or PEM private key, not its path. `\n` stands for a line break here, in `HOST_KEY` and
    in `CA`."""
    passphrase: Secret | None = field(default=None, repr=False)
    """SFTP: passphrase of the private key."""
    host_key: KeyText | None = None
    """SFTP, required: the server's key, `ssh-ed25519 AAAA…` or a known_hosts line, as `ssh-keyscan` prints it. Compare
    its fingerprint with the one that the server's owner gives you."""
    ca: KeyText | None = None
    """FTP over TLS: PEM text of the certificate authorities to trust instead of the system's."""
    timezone: TimeZone = "UTC"
    """IANA zone of the times in LIST output. Used only for servers that support neither MLSD nor MDTM."""
    mlsd: bool = True
    """`false` for FTP servers whose MLSD is broken."""
    encoding: Encoding = "utf-8"
    """Encoding of file names on FTP servers."""
    recursive: bool = False
    """`true` copies from subfolders too."""
    timeout: Seconds = 30.0
    """Seconds that any one network call may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What a source is held to. The app keeps it in the source's state, so that all who look judge alike."""

    interval: timedelta = timedelta(minutes=10)
    """Time between two archives, as the server's owner promises."""
    gap: Multiple = 1.5
    """Archives that are further apart than this many intervals have a gap between them, which is reported."""
    active: Active | None = None
    """When archives are expected, such as `Mo-Su 06:00-20:00 Europe/Berlin`. Outside of it nothing counts as missing,
    and the server may be silent. Unset: always."""
    retention: timedelta = timedelta(hours=48)
    """Age at which the server deletes files."""
    pattern: str = "*.zip"
    """Glob for file names, or for paths if it contains a slash. Names that begin with a dot or end in `.part`, `.tmp`
    or `.filepart` are uploads under way and never copied."""
    stamp: StampPattern | None = None
    """How to read an archive's time (UTC) from its name: a text with strptime codes that occurs in the name, such as
    `radar_%Y%m%d_%H%M%S`. Unset: the modified time counts."""
    budget: Budget = timedelta(minutes=20)
    """Time after which a poll stops between two blocks; the next poll goes on there. At most 24m, so that it ends
    before `functionTimeout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec(Promises):
    """What copying needs to know of a source; how to reach it is its Endpoint's affair."""

    name: str
    member_encoding: Encoding | None = None
    """Encoding of the names of members that are not marked as UTF-8, such as `cp932`, `big5` or `gbk`. Unset: UTF-8
    where a name is that, else cp437."""
    match_case: bool = False
    """`true` makes the pattern case-sensitive."""
    replaces: Replaces = "stamp"
    """Which older versions a file that was corrected under its old name replaces: `stamp` those with the same stamp,
    if `STAMP` reads it from the name; `path` all of that name; `never` none."""
    max_connections: Connections = 2
    """Connections to the server at a time. With two or more, one always takes the newest file and the others the
    oldest."""
    stable_for: Pause = timedelta(seconds=2)
    """A new file is copied once two looks, this far apart, find it unchanged."""
    stable_for_max: Pause = timedelta(minutes=5)
    """A file that does not end in a zip directory is copied all the same, marked truncated, once it has stayed
    unchanged for this long."""
    block_size: int = 16 * 2**20
    """Most bytes of a file that are requested from the server and not yet stored. They are staged in quarters, of at
    least 256 KiB; a file of more than 50,000 quarters gets larger ones."""

    @property
    def promises(self) -> Promises:
        """The part that is kept in the source's state."""
        return Promises(**{each.name: getattr(self, each.name) for each in fields(Promises)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One version of a remote file. `stamp` is its own time, decided once."""

    source: str
    file: RemoteFile
    version: str
    stamp: datetime
    stamp_replaced: bool = False
    """The stamp that the name or the server gave lay more than a day ahead; the time first seen stands in."""
    replaces: Replaces = "never"
    """By the source's setting, as far as the stamp allows."""

    @property
    def key(self) -> ArchiveKey:
        """Its identity."""
        return ArchiveKey(self.source, self.stamp, self.version)


def version_of(file: RemoteFile) -> str:
    """Give the first 8 hex digits of SHA-256 over path, size and modified time."""
    metadata = f"{file.path}\n{file.size}\n{file.modified:%Y-%m-%dT%H:%M:%SZ}"
    return hashlib.sha256(metadata.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMetadata:
    """What is known of an archive's bytes once all of them have passed through."""

    sha256: str
    """Hex digest over the whole file."""
    md5: bytes
    complete: bool
    """False: the tail is no zip directory that fits, and stayed so for `stable_for_max`."""


@dataclass(frozen=True, slots=True)
class Published:
    """An archive that is in the store."""

    metadata: CopyMetadata | None
    """None: committed after a resumed copy, so that its hashes have yet to be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedFile:
    """What polling remembers of one file of the last complete listing."""

    listed: RemoteFile
    """As the listing gave it (LIST knows neither year nor seconds): what a known file is recognised by."""
    archive: Archive
    first_seen: datetime
    done: bool = False
    """Copied, `same`, superseded or expired: nothing more to do."""
    sha256: str | None = None
    previous_sha256: str | None = None
    """Hash of the path's version before this one; equal bytes make this one `same`."""
    missing: int = 0
    """Ticks in a row whose complete listing lacked it."""
    truncated_since: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    """Copying failed; not tried again before this."""

    @property
    def is_same(self) -> bool:
        """The file was only touched: its bytes are those of the path's version before, and were not stored again."""
        return self.done and self.sha256 is not None and self.sha256 == self.previous_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An archive that the ledger knows, as far as watching needs to know it."""

    stamp: datetime
    seen: datetime | None = None
    """First seen on the server; None where that is not known, or it never was there."""
    by_hand: str | None = None
    """The raw blob's name, where somebody put it there by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which a source could not be listed: from the first poll that failed to the next listing."""

    start: datetime
    end: datetime | None
    """None: it goes on."""
    error: str
    refused: bool = False
    """The server answered, and refused us; else it did not answer as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Files of the last listing that PATTERN leaves out, uploads under way aside."""

    count: int
    newest: str
    modified: datetime
    """Of the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The last complete listing of a source, and what became of each file in it."""

    source: str
    promises: Promises | None = None
    """By the app's settings at the last save; None before the first."""
    listed_at: datetime | None = None
    passed_over: PassedOver | None = None
    outages: tuple[Outage, ...] = ()
    """The last few, oldest first."""
    tracked_files: tuple[TrackedFile, ...] = ()
    failures: int = 0
    """Polls in a row that failed."""
    error: str | None = None
    not_before: datetime | None = None
    """The server refused or was busy; no poll before this."""
    long_poll_at: datetime | None = None
    """When a poll last took nearly all of BUDGET."""

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """The archives on the server."""
        files = (file for file in self.tracked_files if not file.is_same)
        return [Arrival(stamp=file.archive.stamp, seen=file.first_seen) for file in files]

    @property
    def outage(self) -> Outage | None:
        """The outage that goes on."""
        return self.outages[-1] if self.outages and self.outages[-1].end is None else None


class Step(StrEnum):
    """A transition of an archive while it is copied; each has its time in the ledger."""

    SEEN = "seen"
    COPYING = "copying"
    RAW = "raw"
    SAME = "same"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class CommitOutcome(Enum):
    """What became of a conditional write."""

    STORED = "stored"
    ALREADY_THERE = "already there"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `offset` on."""

    offset: int
    length: int
