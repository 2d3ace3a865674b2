"""Reads every byte and compares raw blobs with their SHA-256, images of rows and shards with their checksums."""

import hashlib
from collections.abc import Callable, Iterable, Iterator

from imagefeed.azure_errors import azure_errors
from imagefeed.errors import ImageDamagedError, StoreRefusedError
from imagefeed.ledger import Entry
from imagefeed.model import RawArchive, State
from imagefeed.tables import Reader, Result, StoredImage
from ops.health.archive_checks import of_archive
from ops.health.audit import AuditOutcome
from ops.health.findings import Finding, Slug
from storage.clients import Clients


def read_everything(clients: Clients, audited: AuditOutcome) -> Iterator[Finding]:
    """Read every blob and image of an audit and yield the damaged ones."""
    for archive in audited.raw.values():
        yield from _check_raw(clients, archive)
    for entry in audited.entries:
        if entry.state is State.PROCESSED and entry.pipeline is not None:
            yield from _check_images(clients, entry, entry.pipeline)


def _check_raw(clients: Clients, archive: RawArchive) -> Iterator[Finding]:
    if archive.offline or archive.sha256 is None:
        # The archive tier cannot be read, and a manual upload has no recorded hash.
        return
    digest = hashlib.sha256()
    for chunk in _chunks(clients, archive.blob):
        digest.update(chunk)
    if digest.hexdigest() != archive.sha256:
        detail = f"its SHA-256 is {digest.hexdigest()}, when it was copied it was {archive.sha256}"
        yield of_archive(Slug.RAW_DAMAGED, archive.key, archive.blob, detail)


def _check_images(clients: Clients, entry: Entry, pipeline: str) -> Iterator[Finding]:
    reader, result = Reader(clients, pipeline), Result(pipeline=pipeline, archive=entry.archive)
    yield from _check_readable(reader.of_rows, result, Slug.ROWS_DAMAGED)
    yield from _check_readable(reader.of_shards, result, Slug.SHARD_DAMAGED)


def _check_readable(images: Callable[[Result], Iterable[StoredImage]], result: Result, slug: Slug) -> Iterator[Finding]:
    try:
        for _ in images(result):
            # The reader compares each image with its checksum; the pixels are not needed.
            continue
    except (ImageDamagedError, StoreRefusedError) as exc:
        yield of_archive(slug, result.archive.key, result.partition, str(exc))


def _chunks(clients: Clients, blob: str) -> Iterator[bytes]:
    with azure_errors(f"read {blob}"):
        yield from clients.raw.get_blob_client(blob).download_blob().chunks()
