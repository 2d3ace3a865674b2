"""Value types of the format that all readers and writers share: archive, image metadata, refusal, counts."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, TypeAlias, get_args

from imagefeed.layout import format_stamp, hour_prefix, invert_stamp, parse_stamp, safe_stem

if TYPE_CHECKING:
    # Copying uses some of these types and must not pay for importing numpy (time and 17 MB).
    import numpy as np
    from numpy.typing import NDArray

    from imagefeed.rows import ImageRow

    Pixels: TypeAlias = NDArray[np.generic]
    """One image: height x width, or height x width x channels."""
else:
    Pixels = ForwardRef("NDArray[np.generic]")

Codec = Literal["npy", "png"]
OTHER_KINDS = "of other kinds"
_MOST_KINDS = 20
Replaces = Literal["stamp", "path", "never"]
"""Which older versions of its path an archive replaces: `stamp` those with the same stamp, which comes from the file
name; `path` all; `never` none."""


class State(StrEnum):
    """The processing state of an archive."""

    SEEN = "seen"
    COPYING = "copying"
    RAW = "raw"
    PROCESSING = "processing"
    PROCESSED = "processed"
    REFUSED = "refused"
    EMPTY = "empty"
    FAILED = "failed"
    SAME = "same"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class Origin(StrEnum):
    """The way in which an archive came into the raw container."""

    COPIED = "copied"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class ArchiveKey:
    """The identity of an archive, from which the names of its blobs and rows are derived."""

    source: str
    stamp: datetime
    version: str
    """Identifies the content, because a server may publish a changed file under the same path."""

    @property
    def id(self) -> str:
        """Stamp and version, which identify the archive within its source, for example in the status page's URL."""
        return f"{format_stamp(self.stamp)}.{self.version}"

    def raw_blob(self, path: str) -> str:
        """Return the name of its blob in the raw container."""
        return f"{hour_prefix(self.source, self.stamp)}{self._name(path)}.zip"

    def shard(self, pipeline: str, path: str, batch: int) -> str:
        """Return the name of a batch's shard in the processed container."""
        return f"{pipeline}/{hour_prefix(self.source, self.stamp)}{self._name(path)}/{batch:04}.tar"

    def partition(self, pipeline: str) -> str:
        """Return the PartitionKey of its rows in the images table and of its plan in the batches table."""
        return f"{pipeline}~{self.source}~{format_stamp(self.stamp)}~{self.version}"

    def ledger_row(self, pipeline: str | None = None) -> str:
        """Return the RowKey of the archive's row in the ledger, or with `pipeline` of the row with its results there.

        The PartitionKey is the source.
        """
        row = f"{invert_stamp(self.stamp)}~{self.version}"
        return row if pipeline is None else f"{row}~{pipeline}"

    def _name(self, path: str) -> str:
        return f"{self.id}.{safe_stem(path)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArchive:
    """An archive in the raw container."""

    source: str
    stamp: datetime
    version: str
    blob: str
    size: int
    path: str
    """The file's path on the server, or the blob's name if a person uploaded the archive."""
    origin: Origin = Origin.COPIED
    complete: bool = True
    sha256: str | None = None
    etag: str
    modified: datetime | None = None
    """The modified time by the server's clock; None if the archive did not come from a server."""
    replaces: Replaces = "never"
    """The source's REPLACES setting at the time of the copy, as far as the stamp allows it."""
    raw_at: datetime | None = None
    """When the archive reached the raw container: the blob's last change or the ledger's time; None if unknown."""
    offline: bool = False
    """True if the blob is in the archive tier or being rehydrated, so it cannot be read. Not stored in the ledger."""
    pending: bool = False
    """True while a copy into the blob runs, so the content is incomplete. Not stored in the ledger."""
    copy_error: str | None = None
    """Why the copy into the blob failed; None if it did not fail."""
    traceparent: str | None = field(default=None, compare=False)
    """The parent span of the archive's spans; None if it was not recorded."""

    @property
    def key(self) -> ArchiveKey:
        """The archive's identity."""
        return ArchiveKey(self.source, self.stamp, self.version)

    @property
    def series(self) -> Hashable:
        """Return the key that all versions of one file share; None if the archive has no other versions by its rule."""
        if self.replaces == "never" or self.modified is None:
            return None
        return self.source, self.path, self.replaces, self.stamp if self.replaces == "stamp" else None

    @property
    def rank(self) -> tuple[datetime, str]:
        """Return the sort key of versions of one file. The newest version has the greatest, in any order of copying."""
        return self.modified or datetime.min.replace(tzinfo=UTC), self.version


def replaces(newer: RawArchive, older: RawArchive) -> bool:
    """Return whether `newer` is a later version of `older`. Readers skip `older` once `newer` is processed.

    Both must have been copied under the same rule. The later one has the greater modified time, or if these are equal
    the greater version; the order of copying does not matter. Its stamp is never the earlier one, so a reader of a
    range finds all later versions in the range or after it and need not search before it.
    """
    one_series = newer.series is not None and newer.series == older.series
    return one_series and newer.stamp >= older.stamp and newer.rank > older.rank


def read_replaces(text: str | None) -> Replaces:
    """Return a recorded rule; `never` if none was recorded or the rule is unknown to this version."""
    return next((rule for rule in get_args(Replaces) if rule == text), "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """The metadata of an image, which is also passed to a hook."""

    source: str
    archive: str
    """The archive's path on its server."""
    stamp: datetime
    member: int
    """The member's index in the zip's central directory."""
    frame: int
    name: str
    """The member's name. Untrusted text: use it as a label, never as a path to write to."""
    format: str
    """Pillow's name of the format, such as JPEG."""
    captured_at: datetime | None
    """The time in EXIF: in UTC, or without a time zone (the camera's clock) if EXIF has no offset."""
    method: int = 1
    """The version of the decoder of `format` that read the image."""

    @classmethod
    def from_row(cls, archive: RawArchive, row: "ImageRow") -> "ImageMetadata":
        """Return the metadata of a row of the images table."""
        return cls(
            source=archive.source,
            archive=archive.path,
            stamp=archive.stamp,
            member=row.member,
            frame=row.frame,
            name=row.name,
            format=row.format,
            captured_at=row.captured_at,
            method=row.method,
        )

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> "ImageMetadata":
        """Return the metadata that a shard stores with an image. Raises KeyError, TypeError, ValueError if invalid."""
        return cls(
            source=members["source"],
            archive=members["archive"],
            stamp=parse_stamp(members["stamp"]),
            member=members["member"],
            frame=members["frame"],
            name=members["name"],
            format=members["format"],
            captured_at=datetime.fromisoformat(members["captured_at"]) if members["captured_at"] else None,
            method=members["method"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A member that could not be preprocessed."""

    member: int
    name: str
    reason: str
    error: str
    """Name of the exception's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of the results of a run of members."""

    members: int = 0
    images: int = 0
    refused: int = 0
    """Members, not frames."""
    refused_kinds: Mapping[str, int] = field(default_factory=dict)
    """Refused members by suffix, or by what their first bytes say; of many kinds the rarest together."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Members by kind."""
    bytes_in: int = 0
    """Compressed."""
    bytes_out: int = 0
    """Of the shard."""
    methods: Mapping[str, int] = field(default_factory=dict)
    """For each format of its images, the oldest decoder version that read one of them."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            members=self.members + other.members,
            images=self.images + other.images,
            refused=self.refused + other.refused,
            refused_kinds=_few_kinds(_add(self.refused_kinds, other.refused_kinds)),
            skipped=_add(self.skipped, other.skipped),
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            methods=oldest_methods(self.methods, other.methods),
        )


def _add(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in sorted({*one, *other})}


def _few_kinds(kinds: Mapping[str, int]) -> Mapping[str, int]:
    """Merge the rarest kinds if there are too many, because suffixes are a stranger's."""
    if len(kinds) <= _MOST_KINDS:
        return kinds
    named = sorted((kind for kind in kinds if kind != OTHER_KINDS), key=lambda kind: (-kinds[kind], kind))
    kept = {kind: kinds[kind] for kind in sorted(named[: _MOST_KINDS - 1])}
    return {**kept, OTHER_KINDS: sum(kinds.values()) - sum(kept.values())}


def by_kind(kinds: Mapping[str, int]) -> str:
    """Return counts by kind as text, the greatest first, such as "12 .h5, 1 .jpg"."""
    return ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds, key=lambda kind: (-kinds[kind], kind)))


def oldest_methods(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    """Return both mappings merged, with the older decoder version of each format."""
    return {name: min(each[name] for each in (one, other) if name in each) for name in sorted({*one, *other})}
