"""Reads the data of an archive's page in bounded requests: ledger rows, image rows and single images."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from imagefeed.entities import scan
from imagefeed.errors import PermanentError
from imagefeed.layout import image_row
from imagefeed.ledger import ARCHIVE_COLUMNS, Entry, entry_of
from imagefeed.model import ArchiveKey, RawArchive, Refusal
from imagefeed.rows import ROW_COLUMNS, ImageRow, read_row
from imagefeed.tables import Reader, Result, StoredImage, StoredRow
from ops import text
from storage.clients import Clients

MAX_ROWS = 1_000
"""Most rows of the images table to read: one request."""
MAX_BYTES = 32 * 2**20
"""Largest stored image to show, in bytes."""
_MAX_PIPELINES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArchive:
    """Stored data of one archive."""

    entry: Entry
    images: Sequence[ImageRow]
    refusals: Sequence[Refusal]
    cut: bool
    """More rows exist than were read."""


def read_archive(clients: Clients, source: str, stamp: datetime, version: str) -> StoredArchive | None:
    """Return the stored data of an archive; None if it is not in the ledger."""
    first = ArchiveKey(source, stamp, version).ledger_row()
    ledger = scan(clients.archives, source, first=first, end=f"{first}~~", select=ARCHIVE_COLUMNS)
    rows = list(islice(ledger, _MAX_PIPELINES))
    if not rows:
        return None
    entry = entry_of(source, rows, None)
    if entry.pipeline is None:
        return StoredArchive(entry=entry, images=(), refusals=(), cut=False)
    result = Result(pipeline=entry.pipeline, archive=entry.archive)
    columns = [*ROW_COLUMNS, "reason", "error"]
    image_rows = list(islice(scan(clients.images, result.partition, select=columns), MAX_ROWS))
    return StoredArchive(
        entry=entry,
        images=[read_row(row) for row in image_rows if row.get("part") == 0],
        refusals=[
            Refusal(member=row["member"], name=row["name"], reason=row["reason"], error=row["error"])
            for row in image_rows
            if row.get("reason") is not None
        ],
        cut=len(image_rows) == MAX_ROWS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKey:
    """Key of a stored image."""

    source: str
    stamp: datetime
    version: str
    pipeline: str
    member: int
    frame: int


def read_image(clients: Clients, key: ImageKey, limit: int = MAX_BYTES) -> StoredImage | None:
    """Return an image after checking its checksum; None if it does not exist.

    Raises PermanentError if the image is too large to show, ImageDamagedError if its checksum differs.
    """
    archive = RawArchive(
        source=key.source, stamp=key.stamp, version=key.version, blob="", size=0, path="", sha256=None, etag=""
    )
    result = Result(pipeline=key.pipeline, archive=archive)
    first = image_row(key.member, key.frame, 0)
    row = next(scan(clients.images, result.partition, first=first, end=f"{first}~", select=ROW_COLUMNS), None)
    if row is None:
        return None
    image = read_row(row)
    if image.length > limit:
        raise PermanentError(
            f"show the image {result.partition}/{first}: it has {image.length} bytes, more than {limit}; "
            f"`imagefeed export {key.source} {text.only(key.stamp)}` writes it as a file"
        )
    return Reader(clients).image(StoredRow(result=result, row=image))
