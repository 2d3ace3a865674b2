"""Value types of copying: sources, remote files, archives and the state of a source."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Literal, Self

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
class UnsizedFile:
    """An entry of a source's listing whose size the server does not give."""

    path: str
    modified: datetime

    def of_size(self, size: int) -> RemoteFile:
        """Return the file with a size in bytes."""
        return RemoteFile(path=self.path, size=size, modified=self.modified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A file whose size the server does not give, and whose bytes could not be counted, or not for certain."""

    file: UnsizedFile
    failures: int
    not_before: datetime
    """Time before which its bytes are not counted again."""
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A part of a listing that could not be read."""

    text: str
    """The line or reply as the server sent it, or the reason."""
    path: str | None = None
    """The entry, or the folder with a slash at its end, that it is about; None: any file may be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Contents of a source's folder."""

    files: Sequence[RemoteFile]
    unread: Sequence[Unread] = ()
    unsized: Sequence[UnsizedFile] = ()

    @property
    def paths(self) -> frozenset[str]:
        """Return the paths of all files, with or without a size."""
        return frozenset([*(file.path for file in self.files), *(file.path for file in self.unsized)])

    def find(self, path: str, size: int) -> RemoteFile | None:
        """Return a listed file, with `size` if the server does not give its size; None if it is not listed."""
        files = (*self.files, *(file.of_size(size) for file in self.unsized))
        return next((file for file in files if file.path == path), None)

    def lacks(self, paths: Iterable[str]) -> frozenset[str]:
        """Return the paths that are certainly not on the server: not listed, and not in a part that was not read."""
        absent = {*paths} - self.paths
        unread = {part.path for part in self.unread}
        if None in unread:
            return frozenset()
        folders = tuple(path for path in unread if path and path.endswith("/"))
        return frozenset(path for path in absent - unread if not path.startswith(folders))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Limits of a listing: the paths that matter, and a check that can stop it."""

    wants: Callable[[str], bool] = lambda _: True
    """Whether a path matters. For others no link is followed, and no size or time is requested."""
    check: Callable[[], None] = lambda: None
    """Called before each request about one file or folder; raises to end the listing."""


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadParts:
    """The parts of the last listing that could not be read."""

    count: int
    texts: tuple[str, ...]
    """The first few."""
    incomplete: bool
    """True if any file may be missing from the listing; False if only entries with these names are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach a source, as `ingest.protocols.connect` needs it. Its repr shows no secrets."""

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
    """FTP: IANA zone of the times in LIST output, such as `Europe/Berlin`. If a comparison with LIST shows that MDTM
    and MLSD also report local time instead of UTC, they are read in this zone too."""
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
    """Promises of a source. Kept in the source's state, so that every process judges by the same values."""

    interval: timedelta = timedelta(minutes=10)
    """Time between two archives, as the server's owner promises."""
    gap: Multiple = 1.5
    """Archives that are further apart than this many intervals have a gap between them, which is reported."""
    active: Active | None = None
    """When archives are expected, such as `Mo-Su 06:00-20:00 Europe/Berlin`. Outside these hours no archive counts as
    missing, and the server may be silent. Unset: always."""
    retention: timedelta = timedelta(hours=48)
    """Age at which the server deletes files."""
    pattern: str = "*.zip"
    """Glob for file names, or for paths if it contains a slash. Names that begin with a dot or end in `.part`, `.tmp`
    or `.filepart` are unfinished uploads and never copied."""
    stamp: StampPattern | None = None
    """How to read an archive's time (UTC) from its name: a text with strptime codes that occurs in the name, such as
    `radar_%Y%m%d_%H%M%S`. Unset: the modified time counts."""
    budget: Budget = timedelta(minutes=20)
    """Time after which a poll stops between two blocks; the next poll continues there. At most 24m, so that it ends
    before `functionTimeout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec(Promises):
    """Settings of a source for copying, without those of its Endpoint."""

    name: str
    member_encoding: Encoding | None = None
    """Encoding of the names of members that are not marked as UTF-8, such as `cp932`, `big5` or `gbk`. Unset: UTF-8
    where a name is that, else cp437."""
    match_case: bool = False
    """`true` makes the pattern case-sensitive."""
    replaces: Replaces = "stamp"
    """Which older versions are replaced by a file that was corrected under its old name: `stamp` those with the same
    stamp, if `STAMP` reads it from the name; `path` all of that name; `never` none."""
    max_connections: Connections = 2
    """Most simultaneous connections to the server. With two or more, one always copies the newest file and the others
    the oldest."""
    stable_for: Pause = timedelta(seconds=2)
    """Time between the two checks that must find a new file unchanged before it is copied."""
    stable_for_max: Pause = timedelta(minutes=5)
    """Time after which a file that stayed unchanged is copied although its end is not a zip directory. It is then
    marked truncated."""
    block_size: int = 16 * 2**20
    """Most bytes of a file that are requested from the server and not yet stored. They are staged in quarters of at
    least 256 KiB; a file of more than 30,000 quarters gets larger quarters."""

    @property
    def promises(self) -> Promises:
        """Return the part that is kept in the source's state."""
        return Promises(**{each.name: getattr(self, each.name) for each in fields(Promises)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One version of a remote file. `stamp` is the time that it is from, decided once."""

    source: str
    file: RemoteFile
    version: str
    stamp: datetime
    stamp_replaced: bool = False
    """True if the stamp from the name or server was over a day in the future: `stamp` is the time first seen."""
    replaces: Replaces = "never"
    """Which older versions this one replaces: the source's setting, or `never` if the stamp does not allow it."""

    @property
    def key(self) -> ArchiveKey:
        """Return the archive's identity."""
        return ArchiveKey(self.source, self.stamp, self.version)


def version_of(file: RemoteFile) -> str:
    """Return the first 8 hex digits of SHA-256 over path, size and modified time."""
    metadata = f"{file.path}\n{file.size}\n{file.modified:%Y-%m-%dT%H:%M:%SZ}"
    return hashlib.sha256(metadata.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMetadata:
    """Hashes of an archive, and whether its zip directory is complete; known once every byte was read."""

    sha256: str
    """Hex digest over the whole file."""
    complete: bool
    """False: the zip directory is missing or truncated, and stayed so for `stable_for_max`."""


@dataclass(frozen=True, slots=True)
class Published:
    """An archive that is in the store."""

    metadata: CopyMetadata | None
    """None: committed after a resumed copy, so its hashes are not set yet."""


_UNTRUSTED_AFTER = 2
"""Inconsistent ends after which nothing of an archive is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Which staged blocks of an archive may be resumed: those whose ids carry `token`."""

    token: str
    """Six hex digits."""
    inconsistent: int = 0
    """Transfers of the archive that ended inconsistently."""
    foreign: int = 0
    """Staged blocks with ids of other programs when the generation began."""

    @classmethod
    def new(cls, inconsistent: int = 0, foreign: int = 0) -> Self:
        """Return a generation with a random token."""
        return cls(token=secrets.token_hex(3), inconsistent=inconsistent, foreign=foreign)

    @property
    def resumable(self) -> bool:
        """Return whether blocks may be resumed at all."""
        return self.inconsistent < _UNTRUSTED_AFTER

    def after_inconsistency(self) -> "Generation":
        """Return the generation after one more inconsistent end.

        Once nothing is resumed any more, the token stays. Ids then repeat, so that staged blocks are replaced and do
        not exceed the service's limit of 100,000.
        """
        count = self.inconsistent + 1
        if count >= _UNTRUSTED_AFTER:
            return replace(self, inconsistent=count)
        return Generation.new(inconsistent=count, foreign=self.foreign)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedFile:
    """One file of the last complete listing, and the state of its copy."""

    listed: RemoteFile
    """The file as listed. A later listing is compared with it, because LIST gives neither year nor seconds."""
    archive: Archive
    first_seen: datetime
    done: bool = False
    """Copied, `same`, superseded or expired: there is nothing more to do."""
    sha256: str | None = None
    previous_sha256: str | None = None
    """SHA-256 of the path's previous version. If it equals `sha256`, this version is `same`."""
    missing: int = 0
    """Consecutive ticks whose complete listing did not contain the file."""
    truncated_since: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    """Time before which a copy that failed is not tried again."""
    generation: Generation | None = None
    """None: nothing that is staged may be resumed, and the next copy begins a generation."""

    @property
    def is_same(self) -> bool:
        """Return whether the bytes equal those of the path's previous version; they were then not stored again."""
        return self.done and self.sha256 is not None and self.sha256 == self.previous_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An archive in the ledger, with the fields that watching needs."""

    stamp: datetime
    seen: datetime | None = None
    """When it was first seen on the server; None if unknown, or if it was never there."""
    by_hand: str | None = None
    """Name of the raw blob if a person uploaded it by hand, else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A period in which a source could not be listed: from the first failed poll to the next listing."""

    start: datetime
    end: datetime | None
    """None: it still lasts."""
    error: str
    refused: bool = False
    """True: the server answered and refused us. False: it did not answer, or not correctly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Files of the last listing that PATTERN does not match, without unfinished uploads."""

    count: int
    newest: str
    """Path of the newest of them."""
    modified: datetime
    """Modified time of the newest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The last complete listing of a source, and the state of each file in it."""

    source: str
    promises: Promises | None = None
    """The app's settings at the last save; None before the first."""
    listed_at: datetime | None = None
    passed_over: PassedOver | None = None
    unread: UnreadParts | None = None
    outages: tuple[Outage, ...] = ()
    """The most recent outages, oldest first."""
    tracked_files: tuple[TrackedFile, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    failures: int = 0
    """Consecutive polls that failed."""
    error: str | None = None
    not_before: datetime | None = None
    """Time before which the source is not polled, because the server refused us or was busy."""
    long_poll_at: datetime | None = None
    """Time at which a poll last used nearly all of BUDGET."""
    unchecked_at: datetime | None = None
    """Time at which storage last stored a block without the checksum by which it is compared with what was sent."""

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """Return the archives on the server."""
        files = (file for file in self.tracked_files if not file.is_same)
        return [Arrival(stamp=file.archive.stamp, seen=file.first_seen) for file in files]

    @property
    def outage(self) -> Outage | None:
        """Return the outage that still lasts; None if there is none."""
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
    """Result of a conditional write."""

    STORED = "stored"
    ALREADY_THERE = "already there"


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset` on."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a file with what its id carries."""

    span: Span
    generation: str
    crc64: int
    """CRC-64/NVME of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The staged and uncommitted blocks of an upload."""

    blocks: tuple[Block, ...] = ()
    """By offset."""
    foreign: int = 0
    """Number of blocks whose ids are not of this program."""
