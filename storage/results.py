"""Writes a batch's results: its shard, then its rows; then removes rows that an older run left."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableEntity, TableTransactionError
from azure.storage.blob import ContentSettings

from config.near import highest, nearly
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.codec import Encoding, encode, encoding_of
from imagefeed.entities import Properties, scan, text
from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import format_stamp, image_stem
from imagefeed.model import Codec, Counts, ImageMetadata, Refusal
from imagefeed.rows import ROW_BYTES, TRANSACTION_ROWS, ImageRow, pack, pack_refusal, parts_of
from imagefeed.shards import Place, ShardWriter
from preprocess.model import Batch, Image
from storage.clients import Clients
from storage.tables.transactions import upsert_all

_MAX_TRIES = 10
_VERSIONS = {f"{library}_version": version(library) for library in ("numpy", "pillow")}
"""Recorded with the results, because another version may decode an image a little differently."""


class ShardsAndRows:
    """The processed container and the images table; a Results."""

    def __init__(self, clients: Clients, codec: Codec, max_rows_per_image: int) -> None:
        self._clients = clients
        self._codec = codec
        self._max_rows = max_rows_per_image

    @contextmanager
    def write(self, batch: Batch) -> Iterator["BatchWriter"]:
        """Yield a writer for a batch's results. Without `publish` nothing remains."""
        with ShardWriter() as shard:
            yield BatchWriter(self._clients, batch, shard, codec=self._codec, max_rows=self._max_rows)


class BatchWriter:
    """Writer of the results of one batch; a ResultWriter."""

    def __init__(self, clients: Clients, batch: Batch, shard: ShardWriter, *, codec: Codec, max_rows: int) -> None:
        archive = batch.archive
        self._clients = clients
        self._batch = batch
        self._shard = shard
        self._codec = codec
        self._max_rows = max_rows
        self._partition = archive.key.partition(batch.pipeline)
        self._name = archive.key.shard(batch.pipeline, archive.path, batch.number)
        self._rows: list[ImageRow] = []
        self._refusals: list[Refusal] = []
        self.near: Mapping[str, float] = {}
        """Used shares of the limits that an image nearly reached, by setting."""

    def add(self, images: Iterable[Image]) -> int:
        """Add one member's images in frame order: all, or none if `images` raises. Return their number."""
        size, count = self._shard.size, len(self._rows)
        try:
            for image in images:
                self._rows.append(self._append(image))
        except BaseException:
            self._shard.rewind(size)
            del self._rows[count:]
            raise
        return len(self._rows) - count

    def refuse(self, refusal: Refusal) -> None:
        """Add a refusal row."""
        self._refusals.append(refusal)

    def publish(self, counts: Counts | None = None) -> int:
        """Write the shard, then the rows, then remove rows that an older run left. Return the shard's bytes."""
        # Payloads are read back from the shard per transaction, so that they are never all in memory.
        size = self._write_shard(counts)
        written = self._write_rows()
        self._remove_others(written)
        return size

    def _append(self, image: Image) -> ImageRow:
        metadata = image.metadata
        payload = encode(image.pixels, self._codec)
        encoding = encoding_of(image.pixels, self._codec, payload)
        if 0 < len(payload) <= (allowed := self._max_rows * ROW_BYTES):
            # A larger payload is stored only in the shard. That is intended for large images, and no limit to warn of.
            self.near = highest(self.near, nearly({"TABLE_MAX_ROWS_PER_IMAGE": len(payload) / allowed}))
        record = {
            **_members(metadata),
            **_members(encoding),
            "stamp": format_stamp(metadata.stamp),
            "captured_at": metadata.captured_at.isoformat() if metadata.captured_at else None,
            "version": self._batch.archive.version,
        }
        # Each archive has its own folder, because WebDataset's `__key__` has to be unique over all shards.
        stem = f"{self._partition}/{image_stem(metadata.member, metadata.frame)}"
        place = self._shard.add(stem, self._codec, payload, record)
        return ImageRow(
            member=metadata.member,
            frame=metadata.frame,
            name=text(metadata.name),
            format=text(metadata.format),
            captured_at=metadata.captured_at,
            method=metadata.method,
            encoding=encoding,
            parts=parts_of(len(payload), self._max_rows),
            shard=self._name,
            offset=place.offset,
            length=place.length,
        )

    def _write_shard(self, counts: Counts | None) -> int:
        blob = self._clients.processed.get_blob_client(self._name)
        with azure_errors(f"write the shard {self._name}"):
            if not self._rows:
                try:
                    blob.delete_blob()
                except ResourceNotFoundError as exc:
                    if error_code(exc) == "ContainerNotFound":
                        raise
                return 0
            content = self._shard.finish()
            # Without concurrency, because several threads would each move the position of the one file object.
            blob.upload_blob(
                content,
                length=self._shard.size,
                overwrite=True,
                max_concurrency=1,
                content_settings=ContentSettings(content_type="application/x-tar"),
                metadata=self._metadata(counts),
            )
        return self._shard.size

    def _metadata(self, counts: Counts | None) -> dict[str, str]:
        """Return the shard's blob metadata: its archive, and what is needed to rebuild its batch in the ledger."""
        archive = self._batch.archive
        sums = {} if counts is None else {"counts": json.dumps({**asdict(counts), "bytes_out": self._shard.size})}
        return {
            "pipeline": self._batch.pipeline,
            "source": archive.source,
            "stamp": format_stamp(archive.stamp),
            "version": archive.version,
            "batch": str(self._batch.number),
            "batches": str(self._batch.batches),
            "first": str(self._batch.first),
            "end": str(self._batch.end),
            "images": str(len(self._rows)),
            **sums,
            **_VERSIONS,
        }

    def _write_rows(self) -> set[str]:
        return upsert_all(self._clients.images, self._entities(), f"write rows of {self._partition}")

    def _entities(self) -> Iterator[Properties]:
        for row in self._rows:
            payload = self._shard.payload(Place(row.offset, row.length)) if row.parts else b""
            yield from pack(self._partition, row, payload)
        for refusal in self._refusals:
            yield pack_refusal(self._partition, refusal)

    def _remove_others(self, written: set[str]) -> None:
        first, end = (f"{member:06}" for member in (self._batch.first, self._batch.end))
        for _ in range(_MAX_TRIES):
            rows = scan(self._clients.images, self._partition, first=first, end=end, select=["PartitionKey", "RowKey"])
            others = [row for row in rows if row["RowKey"] not in written]
            if all(self._removed(others[start : start + TRANSACTION_ROWS]) for start in _starts(others)):
                return
        raise StoreUnavailableError(
            f"remove older rows of {self._partition}: another worker removes them at the same time"
        )

    def _removed(self, rows: Sequence[TableEntity]) -> bool:
        """Delete rows in one transaction; return False if it failed because one of them no longer exists."""
        with azure_errors(f"remove older rows of {self._partition}"):
            try:
                self._clients.images.submit_transaction([("delete", row) for row in rows])
            except TableTransactionError as exc:
                if exc.status_code != 404:
                    raise
                return False
        return True


def _members(value: ImageMetadata | Encoding) -> dict[str, Any]:
    """Return a value's fields by name. Cheaper per image than asdict, which also copies each field."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _starts(rows: Sequence[TableEntity]) -> range:
    return range(0, len(rows), TRANSACTION_ROWS)
