"""Values of the format: what an archive, an image and a refusal are to every reader and writer."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, TypeAlias, get_args

from imagefeed.layout import format_stamp, hour_prefix, invert_stamp, parse_stamp, safe_stem

if TYPE_CHECKING:
    # Copying needs some of the values here, but neither numpy's time nor its 17 MB.
    import numpy as np
    from numpy.typing import NDArray

    from imagefeed.rows import ImageRow

    Pixels: TypeAlias = NDArray[np.generic]
    """One picture: height x width, or height x width x channels."""
else:
    Pixels = ForwardRef("NDArray[np.generic]")

Codec = Literal["npy", "png"]
OTHER_KINDS = "of other kinds"
_MOST_KINDS = 20
Replaces = Literal["stamp", "path", "never"]
"""Which older versions an archive replaces: of its path those with its own stamp, which its name tells; all of its
path; or none."""


class State(StrEnum):
    """How far an archive has come."""

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
    """How an archive came into the raw container."""

    COPIED = "copied"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class ArchiveKey:
    """The identity of an archive, from which the names of all that is stored of it are made."""

    source: str
    stamp: datetime
    version: str
    """Of its bytes: the same path may be published again, changed."""

    @property
    def id(self) -> str:
        """Stamp and version: its name among a source's archives, as in its page's address."""
        return f"{format_stamp(self.stamp)}.{self.version}"

    def raw_blob(self, path: str) -> str:
        """Name its blob in the raw container."""
        return f"{hour_prefix(self.source, self.stamp)}{self._name(path)}.zip"

    def shard(self, pipeline: str, path: str, batch: int) -> str:
        """Name a batch's shard in the processed container."""
        return f"{pipeline}/{hour_prefix(self.source, self.stamp)}{self._name(path)}/{batch:04}.tar"

    def partition(self, pipeline: str) -> str:
        """PartitionKey of its rows in the images table, and of its plan in the batches table."""
        return f"{pipeline}~{self.source}~{format_stamp(self.stamp)}~{self.version}"

    def ledger_row(self, pipeline: str | None = None) -> str:
        """RowKey in the ledger, where the source is the PartitionKey; with a pipeline: of what became of it there."""
        row = f"{invert_stamp(self.stamp)}~{self.version}"
        return row if pipeline is None else f"{row}~{pipeline}"

    def _name(self, path: str) -> str:
        return f"{self.id}.{safe_stem(path)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArchive:
    """An archive that lies in the raw container."""

    source: str
    stamp: datetime
    version: str
    blob: str
    size: int
    path: str
    """Its true name on the server, or the blob's where it was put there by hand."""
    origin: Origin = Origin.COPIED
    complete: bool = True
    sha256: str | None = None
    etag: str
    modified: datetime | None = None
    """By the server's clock; None where it never was there."""
    replaces: Replaces = "never"
    """By its source's setting when it was copied, as far as its stamp allows."""
    raw_at: datetime | None = None
    """When it became raw: the blob's last change, or the ledger's time; None if neither is known."""
    offline: bool = False
    """In the archive tier, or on its way back from there: nobody can read its bytes now. The ledger does not know."""
    pending: bool = False
    """A copy into its blob is under way: its bytes are not all there. The ledger does not know."""
    copy_error: str | None = None
    """Why the copy into its blob ended without its bytes; None if it did not."""
    traceparent: str | None = field(default=None, compare=False)
    """The span that its own spans belong to; None if nobody recorded it."""

    @property
    def key(self) -> ArchiveKey:
        """Its identity."""
        return ArchiveKey(self.source, self.stamp, self.version)

    @property
    def series(self) -> Hashable:
        """Return the key that versions of one file share; None if it neither replaces nor is replaced."""
        if self.replaces == "never" or self.modified is None:
            return None
        return self.source, self.path, self.replaces, self.stamp if self.replaces == "stamp" else None

    @property
    def rank(self) -> tuple[datetime, str]:
        """Return the sort key of versions of one file: the newest has the greatest, whenever it was copied."""
        return self.modified or datetime.min.replace(tzinfo=UTC), self.version


def replaces(newer: RawArchive, older: RawArchive) -> bool:
    """Return whether an archive is a later version of another, which readers leave out once the later is processed.

    Both were copied under the same rule. The later one has the greater modified time, then the greater version; which
    of them was copied first does not matter. Nor is its stamp the earlier one: so whoever reads a range finds all later
    versions in it and behind it, and need not look before it.
    """
    one_series = newer.series is not None and newer.series == older.series
    return one_series and newer.stamp >= older.stamp and newer.rank > older.rank


def read_replaces(text: str | None) -> Replaces:
    """Read a recorded rule; `never` where none was recorded, or none that is known here."""
    return next((rule for rule in get_args(Replaces) if rule == text), "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """What is known of an image besides its pixels; also what a hook is given."""

    source: str
    archive: str
    """Path of the archive on its server."""
    stamp: datetime
    member: int
    """Index in the zip's directory."""
    frame: int
    name: str
    """The member's name: a label, never a path."""
    format: str
    """Pillow's name of the format, such as JPEG."""
    captured_at: datetime | None
    """From EXIF; UTC, or as the camera's clock had it where EXIF tells no offset."""
    method: int = 1
    """Version of the decoder of `format` that read it."""

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
        """Return the metadata that a shard holds beside an image. Raises KeyError, TypeError and ValueError."""
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
    """What became of a run of members."""

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
    """The formats of its images, and of each the oldest version of the decoder that read one."""

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
    """Merge versions of decoders: of each format the older one."""
    return {name: min(each[name] for each in (one, other) if name in each) for name in sorted({*one, *other})}
