"""The raw container as read by preprocessing: its archives, and their bytes by ranges."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobPrefix, BlobProperties, ContainerClient

from config.errors import ArchiveRefusedError
from config.telemetry import TRACEPARENT
from imagefeed.azure_errors import azure_errors, each, error_code
from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import NAME, SMOKE, SMOKE_BLOB, day_prefix, decode_path, parse_stamp
from imagefeed.model import Origin, RawArchive, read_replaces
from storage.blobs.raw_upload import stat_blob
from storage.clients import Clients

MANUAL = "manual"
"""The source of archives outside every source's folder."""

_YEAR = re.compile(r"\d{4}")
_READ_BACK_WITHIN = timedelta(hours=1)
_VERSION = re.compile(r"[0-9a-f]{8}")
type StampOf = Callable[[str, str], datetime | None]


class RawBlobs:
    """Archives of the raw container; a RawArchives."""

    def __init__(self, clients: Clients, stamp_of: StampOf) -> None:
        """`stamp_of(source, name)` reads the stamp from the name of a zip that was put there by hand."""
        self._raw = clients.raw
        self._stamp_of = stamp_of

    def find(self, blob: str) -> RawArchive | None:
        """Return a blob's archive, from its metadata or, if uploaded by hand, its properties; None if it is gone."""
        properties = stat_blob(self._raw, blob)
        return None if properties is None or _is_folder(properties) else self.describe(properties)

    def open(self, archive: RawArchive) -> "PinnedBlob":
        """Return a reader of the archive's bytes by ranges."""
        return PinnedBlob(self._raw, archive, self.find)

    def recent(self, source: str, since: datetime) -> Sequence[RawArchive]:
        """Return a source's archives with a stamp from `since` on. Lists only their day folders, to bound the work."""
        # A stamp lies at most a day ahead of the clock.
        folders = days(since.astimezone(UTC).date(), (datetime.now(UTC) + timedelta(days=1)).date())
        listed = (properties for day in folders for properties in self.list_zips(day_prefix(source, day)))
        archives = (self.describe(properties) for properties in listed)
        return [archive for archive in archives if archive.stamp >= since]

    def list_zips(self, prefix: str) -> Iterator[BlobProperties]:
        """Yield the zips whose names begin with `prefix`, with metadata; without those whose copy is pending."""
        return (properties for properties in list_blobs(self._raw, prefix) if _is_zip(properties))

    def outside_layout(self, source: str) -> Iterator[RawArchive]:
        """Yield a source's archives outside the day folders, without listing the day folders."""
        for prefix in ("", f"{MANUAL}/") if source == MANUAL else (f"{source}/",):
            skipped = NAME if prefix == "" else _YEAR
            for entry in list_entries(self._raw, prefix):
                if not isinstance(entry, BlobPrefix):
                    archives = [self.describe(entry)] if _is_zip(entry) else []
                elif skipped.fullmatch(entry.name.removeprefix(prefix).rstrip("/")):
                    archives = []
                else:
                    archives = [self.describe(properties) for properties in self.list_zips(entry.name)]
                yield from (archive for archive in archives if archive.source == source)

    def describe(self, properties: BlobProperties) -> RawArchive:
        """Return the archive of a listed blob."""
        return _copied(properties) or self._manual(properties)

    def _manual(self, properties: BlobProperties) -> RawArchive:
        name, etag = str(properties.name), properties.etag.strip('"')
        identity = f"{name}\n{properties.size}\n{etag}"
        first, *rest = name.split("/")
        own = rest and NAME.fullmatch(first) and (first != SMOKE or SMOKE_BLOB.fullmatch(name))
        source = first if own else MANUAL
        return RawArchive(
            source=source,
            stamp=self._stamp_of(source, PurePosixPath(name).name) or properties.creation_time.replace(microsecond=0),
            version=hashlib.sha256(identity.encode()).hexdigest()[:8],
            blob=name,
            size=properties.size,
            path=name,
            origin=Origin.MANUAL,
            etag=etag,
            raw_at=properties.last_modified,
            offline=_is_offline(properties),
            pending=_is_pending(properties),
            copy_error=_copy_error(properties),
        )


class PinnedBlob:
    """A reader of byte ranges of the one version of a raw blob that was opened; a RangeReader."""

    def __init__(self, raw: ContainerClient, archive: RawArchive, find: Callable[[str], RawArchive | None]) -> None:
        self.size = archive.size
        self._blob = raw.get_blob_client(archive.blob)
        self._archive = archive
        self._find = find
        self._etag = archive.etag

    def read_range(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`. Raises ArchiveRefusedError, StoreUnavailableError."""
        if offset < 0 or offset + length > self.size:
            raise ArchiveRefusedError(
                f"read {length} bytes at {offset} of {self._archive.blob}: it has only {self.size}; the zip is damaged"
            )
        if length == 0:
            return b""
        etag = self._etag or self._pin()
        content = self._download(offset, length, etag)
        if content is None:
            content = self._download(offset, length, self._pin())
        if content is None:
            raise StoreUnavailableError(f"read {self._archive.blob}: it changed during the read")
        if len(content) != length:
            raise StoreUnavailableError(
                f"read {self._archive.blob}: {len(content)} bytes came instead of {length} at {offset}"
            )
        return content

    def _download(self, offset: int, length: int, etag: str) -> bytes | None:
        """Read a range of one version; None if the blob is no longer that version."""
        with azure_errors(f"read {length} bytes at {offset} of {self._archive.blob}"):
            try:
                stream = self._blob.download_blob(
                    offset, length, etag=f'"{etag}"', match_condition=MatchConditions.IfNotModified
                )
                # Not readall, which would copy the bytes once more.
                return b"".join(stream.chunks())
            except HttpResponseError as exc:
                if exc.status_code == 412 or error_code(exc) == "BlobNotFound":
                    return None
                raise

    def _pin(self) -> str:
        """Return the archive's current ETag, which changes if its metadata is set although its bytes stay the same."""
        now = self._find(self._archive.blob)
        if now is not None and now.pending:
            raise StoreUnavailableError(f"read {self._archive.blob}: a copy into the blob is under way")
        if now is None or (now.version, now.size) != (self._archive.version, self._archive.size):
            change = "gone" if now is None else "replaced by another"
            raise ArchiveRefusedError(f"read {self._archive.blob}: the blob is {change} since its preprocessing began")
        self._etag = now.etag
        return self._etag


def list_blobs(container: ContainerClient, prefix: str) -> Iterator[BlobProperties]:
    """Yield the blobs whose names begin with `prefix`, with their metadata."""
    blobs = container.list_blobs(name_starts_with=prefix, include=["metadata", "copy"])
    return each(blobs, f"list {container.container_name}/{prefix}")


def list_entries(container: ContainerClient, prefix: str = "") -> list[BlobProperties | BlobPrefix]:
    """Return the blobs and folders in one folder; the names of folders end in `/`."""
    with azure_errors(f"list the folder {container.container_name}/{prefix}"):
        # With a hierarchical namespace a folder is listed twice: also as an empty blob.
        listed = list(
            container.walk_blobs(name_starts_with=prefix or None, include=["metadata", "copy"], delimiter="/")
        )
    return [entry for entry in listed if isinstance(entry, BlobPrefix) or not _is_folder(entry)]


def list_folders(container: ContainerClient) -> list[str]:
    """Return the names of a container's top folders that are valid names of sources and pipelines."""
    folders = (entry.name.rstrip("/") for entry in list_entries(container) if isinstance(entry, BlobPrefix))
    return [name for name in folders if NAME.fullmatch(name)]


def _copied(properties: BlobProperties) -> RawArchive | None:
    """Return the archive from the metadata that copying wrote; None without it, or if a copy into the blob failed.

    After a failed copy the blob has an archive's metadata but not its bytes: it must not end the real archive.
    """
    metadata = properties.metadata or {}
    if _copy_error(properties) is not None:
        return None
    if not (NAME.fullmatch(metadata.get("source", "")) and _VERSION.fullmatch(metadata.get("version", ""))):
        return None
    try:
        stamp = parse_stamp(metadata.get("stamp", ""))
        modified = parse_stamp(metadata["modified"]) if "modified" in metadata else None
    except ValueError:
        return None
    return RawArchive(
        source=metadata["source"],
        stamp=stamp,
        version=metadata["version"],
        blob=str(properties.name),
        size=properties.size,
        path=decode_path(metadata.get("path", str(properties.name))),
        origin=Origin.COPIED,
        complete=metadata.get("complete") != "false",
        sha256=metadata.get("sha256"),
        etag=properties.etag.strip('"'),
        modified=modified,
        replaces=read_replaces(metadata.get("replaces")),
        raw_at=properties.last_modified,
        offline=_is_offline(properties),
        pending=_is_pending(properties),
        traceparent=metadata.get(TRACEPARENT),
    )


def _is_offline(properties: BlobProperties) -> bool:
    # The tier stays `Archive` during the hours of rehydration.
    return str(properties.blob_tier) == "Archive"


def _is_pending(properties: BlobProperties) -> bool:
    return properties.copy.status == "pending" or _is_unverified(properties)


def _is_unverified(properties: BlobProperties) -> bool:
    """Return whether a blob was copied in several tries and is still to be read back, and removed if it differs.

    Not for ever: the process that has to do it may find neither the source nor its state again.
    """
    metadata = properties.metadata or {}
    if metadata.get("origin") != Origin.COPIED or "sha256" in metadata:
        return False
    return bool(datetime.now(UTC) - properties.last_modified < _READ_BACK_WITHIN)


def _copy_error(properties: BlobProperties) -> str | None:
    if properties.copy.status not in ("failed", "aborted"):
        return None
    return f"{properties.copy.status}: {properties.copy.status_description or 'Azure Storage gives no reason'}"


def _is_folder(properties: BlobProperties) -> bool:
    """Return True for a folder: a hierarchical namespace lists folders as empty blobs."""
    return (properties.metadata or {}).get("hdi_isfolder") == "true"


def _is_zip(properties: BlobProperties) -> bool:
    return str(properties.name).lower().endswith(".zip") and not _is_folder(properties) and not _is_pending(properties)


def days(first: date, last: date) -> Iterator[date]:
    """Yield the days from `first` to `last`, both included."""
    while first <= last:
        yield first
        first += timedelta(days=1)
