"""Reads preprocessed images as arrays: by rows for inference and random access, by whole shards for training."""

import logging
import warnings
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Self, get_args

from imagefeed.azure_errors import azure_errors, each
from imagefeed.codec import checked_pixels
from imagefeed.current import OlderResultsWarning, current_pipeline, pipeline_of_ranges
from imagefeed.entities import Answer, scan, scan_answers
from imagefeed.errors import ImageDamagedError
from imagefeed.layout import format_stamp, image_row
from imagefeed.ledger import NEWEST, ShardEntry, entries, known_sources, newest_pipeline, require_source, shard_entries
from imagefeed.model import ImageMetadata, Pixels, RawArchive, State
from imagefeed.prefetch import read_ahead
from imagefeed.rows import ROW_COLUMNS, ImageRow, read_row, unpack
from imagefeed.shards import read_images
from imagefeed.stores import Stores, connect_stores
from imagefeed.versions import Versions, list_versions

if TYPE_CHECKING:
    from types import TracebackType

    from azure.core.credentials import TokenCredential

log = logging.getLogger("imagefeed")

_CHUNKS_AHEAD = 8
_ROWS_AT_ONCE = 32
"""Rows in one answer, each of up to 1 MiB."""
_ANSWERS_AHEAD = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An archive that a pipeline has processed."""

    pipeline: str
    archive: RawArchive
    processed_at: datetime | None = None
    """When it became readable; None if that was not looked up."""
    replaced_by: str | None = None
    """The version of the same file that is read instead; None if there is none or it was not looked up."""

    @property
    def partition(self) -> str:
        """The PartitionKey of its rows."""
        return self.archive.key.partition(self.pipeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """An image's row in the table, without its pixels."""

    result: Result
    row: ImageRow

    def __repr__(self) -> str:
        archive, row = self.result.archive, self.row
        return (
            f"<StoredRow {archive.source} {format_stamp(archive.stamp)} {archive.version}: "
            f"{_picture(row.member, row.frame, row.name, row.encoding.dtype, row.encoding.shape)}>"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredImage:
    """An image's pixels and metadata."""

    pipeline: str
    version: str
    """The version of its archive."""
    metadata: ImageMetadata
    pixels: Pixels

    def __repr__(self) -> str:
        metadata, pixels = self.metadata, self.pixels
        return (
            f"<StoredImage {metadata.source} {format_stamp(metadata.stamp)} {self.version}: "
            f"{_picture(metadata.member, metadata.frame, metadata.name, pixels.dtype.name, pixels.shape)}>"
        )


def _picture(member: int, frame: int, name: str, dtype: str, shape: tuple[int, ...]) -> str:
    return f"member {member}, frame {frame}, {name!r}, {dtype} {'x'.join(map(str, shape))}"


class Reader:
    """A reader of preprocessed images, only of archives whose state in the ledger is processed.

    Every image's length, checksum, shape and type are verified; ImageDamagedError is raised if one does not fit. All
    methods also raise StoreUnavailableError and StoreRefusedError, PermanentError for an unknown source, and TypeError
    or ValueError for an invalid range: times must be datetimes with time zones.
    """

    def __init__(self, clients: Stores, pipeline: str | None = None) -> None:
        """Read results of `pipeline`; if None, ranges read the current pipeline's and `latest` the newest one's."""
        self._clients = clients
        self._pipeline = pipeline
        self._said: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Reader of {self._clients.processed.primary_hostname}, pipeline {self._pipeline or 'of each source'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: "TracebackType | None") -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, including those that were passed to the Reader."""
        self._clients.close()

    def latest(self, source: str, archives: int = 1, *, versions: Versions = "newest") -> Iterator[StoredImage]:
        """Yield the images of a source's newest processed archives, newest archive first, each in its newest version.

        They are of the pipeline that made the newest results. If that is not yet the current pipeline, from which
        ranges are read, the logger `imagefeed` warns once.
        """
        _require_versions(versions)
        pipeline = self._pipeline or newest_pipeline(self._clients, source)
        if self._pipeline is None and pipeline is not None:
            self._say_running(source, pipeline)
        results = _chosen(self._processed(source, pipeline, page=NEWEST), versions)
        yield from self._of_rows(islice(results, archives))

    def between(
        self, source: str, start: datetime, end: datetime, *, versions: Versions = "newest"
    ) -> Iterator[StoredImage]:
        """Yield the images of archives with `start` <= stamp < `end`, oldest archive first.

        If a file was corrected under its old name, only its newest processed version is read (see
        `imagefeed.model.replaces`); `versions="all"` reads every version.
        """
        yield from self._of_rows(iter(self._in_order(source, start, end, versions)))

    def rows(
        self, source: str, start: datetime, end: datetime, *, versions: Versions = "newest"
    ) -> Iterator[StoredRow]:
        """Yield the rows of the images of `between`, without pixels; `image` reads the pixels of a chosen row."""
        for result in self._in_order(source, start, end, versions):
            for entity in scan(self._clients.images, result.partition, select=ROW_COLUMNS):
                if entity.get("part") == 0:
                    yield StoredRow(result=result, row=read_row(entity))

    def image(self, row: StoredRow) -> StoredImage:
        """Return the image of a row. Raises ImageDamagedError if its rows are gone."""
        first = image_row(row.row.member, row.row.frame, 0)
        entities = list(scan(self._clients.images, row.result.partition, first=first, end=f"{first[:-2]}~"))
        if not entities:
            raise ImageDamagedError(f"read the image {row.result.partition}/{first}: it is gone")
        return self._stored(row.result, *unpack(entities))

    def shards(
        self,
        source: str,
        start: datetime,
        end: datetime,
        *,
        worker: int = 0,
        workers: int = 1,
        versions: Versions = "newest",
    ) -> Generator[StoredImage, None, None]:
        """Yield the same images as `between` from whole shards, prefetched, newest archives first: for training.

        Each of `workers` (processes, machines) reads its share of the shards, which depends only on the shards' names.
        So no image is read twice or missed, even if workers start at different times. To stop early, close the
        iterator, which ends the thread that prefetches.
        """
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}: workers count from 0")
        chunks = read_ahead(self._chunks(self._share(source, start, end, worker, workers, versions)), _CHUNKS_AHEAD)
        try:
            for shard, group in groupby(chunks, key=lambda chunk: chunk[0]):
                yield from _of_shard(shard, (content for _, content in group))
        finally:
            chunks.close()

    def of_shards(self, result: Result) -> Iterator[StoredImage]:
        """Yield one archive's images, read from its shards."""
        for shard in self._shards(result):
            yield from _of_shard(shard, (content for _, content in self._chunks(iter((shard,)))))

    def sources(self) -> list[str]:
        """Return the names of all sources that were polled or have archives."""
        return sorted(known_sources(self._clients))

    def pipeline(self, source: str) -> str | None:
        """Return the pipeline whose results are read for ranges; None if there are none yet."""
        return self._pipeline or pipeline_of_ranges(self._clients, source)

    def _say_running(self, source: str, pipeline: str) -> None:
        current = current_pipeline(self._clients, source)
        if current is not None and current.pipeline != pipeline and (source, pipeline) not in self._said:
            self._said.add((source, pipeline))
            log.warning(
                "the newest images of %s are made by the pipeline %s; ranges are still read from %s",
                source,
                pipeline,
                current.pipeline,
            )

    def _processed(
        self,
        source: str,
        pipeline: str | None,
        start: datetime | None = None,
        end: datetime | None = None,
        page: int | None = None,
    ) -> Iterator[Result]:
        entry = None
        if pipeline is not None:
            listed = list_versions(self._clients, source, pipeline=pipeline, start=start, end=end, page=page)
            for entry, newer in listed:
                if entry.state is State.PROCESSED:
                    yield Result(
                        pipeline=pipeline,
                        archive=entry.archive,
                        processed_at=entry.times[State.PROCESSED],
                        replaced_by=newer.archive.version if newer else None,
                    )
        if entry is None:
            require_source(self._clients, source, "read images of source")

    def _range(self, source: str, start: datetime, end: datetime, versions: Versions) -> list[Result]:
        """Return the processed archives of a range that `versions` selects, newest first."""
        _require_versions(versions)
        pipeline = self.pipeline(source)
        results = [*self._processed(source, pipeline, start, end)]
        if self._pipeline is None and pipeline is not None:
            self._warn_of_older(source, pipeline, start, results[-1].archive.stamp if results else end)
        return [*_chosen(results, versions)]

    def _warn_of_older(self, source: str, pipeline: str, start: datetime, first: datetime) -> None:
        """Warn if only other pipelines have images of the range from `start` to `first`, the first archive read."""
        older = entries(self._clients, source, start=start, end=first)
        others = sorted({e.pipeline for e in older if e.state is State.PROCESSED and e.pipeline} - {pipeline})
        if others:
            warnings.warn(
                f"images of {source} from {start:%Y-%m-%d %H:%M} to {first:%Y-%m-%d %H:%M} UTC are not read: the "
                f"pipeline {pipeline}, which is read by default, has made none of them, but {', '.join(others)} has; "
                f"read them with pipeline={others[0]!r}, or have them made again: `imagefeed replay --source {source} "
                f"--since {start:%Y-%m-%d}`",
                OlderResultsWarning,
                stacklevel=4,
            )

    def _in_order(self, source: str, start: datetime, end: datetime, versions: Versions) -> list[Result]:
        _require_range(start, end)
        return self._range(source, start, end, versions)[::-1]

    def of_rows(self, result: Result) -> Iterator[StoredImage]:
        """Yield one archive's images, read from its rows."""
        return self._of_rows(iter((result,)))

    def _of_rows(self, results: Iterator[Result]) -> Iterator[StoredImage]:
        """Yield archives' images, read from their rows; the next rows are requested while these are used."""
        answers = read_ahead(self._answers(results), _ANSWERS_AHEAD)
        try:
            rows = ((result, row) for result, answer in answers for row in answer.rows())
            images = (pair for pair in rows if pair[1].get("part") is not None)
            for (result, _, _), parts in groupby(images, key=_image_key):
                yield self._stored(result, *unpack([row for _, row in parts]))
        finally:
            answers.close()

    def _answers(self, results: Iterator[Result]) -> Iterator[tuple[Result, Answer]]:
        for result in results:
            for answer in scan_answers(self._clients.images, result.partition, page=_ROWS_AT_ONCE):
                yield result, answer

    def _stored(self, result: Result, row: ImageRow, payload: bytearray | None) -> StoredImage:
        where = f"{row.shard}, member {row.member}, frame {row.frame}"
        if payload is None:
            payload = self._from_shard(row)
        return StoredImage(
            pipeline=result.pipeline,
            version=result.archive.version,
            metadata=ImageMetadata.from_row(result.archive, row),
            pixels=checked_pixels(payload, row.encoding, where),
        )

    def _from_shard(self, row: ImageRow) -> bytearray:
        with azure_errors(f"read {row.length} bytes at {row.offset} of the shard {row.shard}"):
            stream = self._clients.processed.get_blob_client(row.shard).download_blob(row.offset, row.length)
            return bytearray().join(stream.chunks())

    def _share(
        self, source: str, start: datetime, end: datetime, worker: int, workers: int, versions: Versions
    ) -> Iterator[ShardEntry]:
        _require_range(start, end)
        for result in self._range(source, start, end, versions):
            for shard in self._shards(result):
                if zlib.crc32(shard.name.encode()) % workers == worker:
                    yield shard

    def _shards(self, result: Result) -> Sequence[ShardEntry]:
        return shard_entries(self._clients, result.archive, result.pipeline)

    def _chunks(self, shards: Iterator[ShardEntry]) -> Iterator[tuple[ShardEntry, bytes]]:
        for shard in shards:
            # Yield each shard at least once, so that an empty one is noticed.
            yield shard, b""
            doing = f"read the shard {shard.name}"
            with azure_errors(doing):
                chunks = self._clients.processed.get_blob_client(shard.name).download_blob().chunks()
            for chunk in each(chunks, doing):
                yield shard, chunk


def _chosen(results: Iterable[Result], versions: Versions) -> Iterator[Result]:
    """Yield the results that no other version replaces, or with `all` every result."""
    return (result for result in results if versions == "all" or result.replaced_by is None)


def _require_versions(versions: object) -> None:
    """Raise ValueError if `versions` is none of `Versions`."""
    if versions not in get_args(Versions):
        raise ValueError(f"versions is {versions!r}: it must be one of {', '.join(get_args(Versions))}")


def _require_range(start: object, end: object) -> None:
    """Raise TypeError if a time is no datetime, ValueError if it has no time zone or the end is before the start."""
    for name, time in (("start", start), ("end", end)):
        if not isinstance(time, datetime):
            raise TypeError(f"{name} is {time!r}: give a datetime with its time zone, such as datetime.now(UTC)")
        if time.utcoffset() is None:
            raise ValueError(f"{name} {time} has no time zone: give one, such as datetime.now(UTC), not utcnow()")
    if isinstance(start, datetime) and isinstance(end, datetime) and start > end:
        raise ValueError(f"the range ends at {end}, before its start {start}")


def _image_key(pair: tuple[Result, Mapping[str, Any]]) -> tuple[Result, int, int]:
    result, row = pair
    return result, row["member"], row["frame"]


def _of_shard(shard: ShardEntry, chunks: Iterator[bytes]) -> Iterator[StoredImage]:
    count = 0
    for metadata, pixels in read_images(shard.name, chunks, folder=shard.archive.key.partition(shard.pipeline)):
        count += 1
        yield StoredImage(pipeline=shard.pipeline, version=shard.archive.version, metadata=metadata, pixels=pixels)
    if count != shard.images:
        raise ImageDamagedError(f"read the shard {shard.name}: {count} images, but {shard.images} in the ledger")


def open_reader(where: str, *, credential: "TokenCredential | None" = None, pipeline: str | None = None) -> Reader:
    """Return a Reader of the results in a storage account. Sends no request; reading never writes.

    `where` is the address of the account's blob service in any cloud, such as `https://ACCOUNT.blob.core.windows.net`,
    from which the table service's address follows, or a connection string (also `UseDevelopmentStorage=true`). With an
    address, `credential` is used, or else azure.identity's DefaultAzureCredential, which needs the extra `identity`.
    The identity needs only the roles Storage Blob Data Reader and Storage Table Data Reader. Results of `pipeline` are
    read; if None, at each call those of the source's current pipeline (`imagefeed pipeline ls`), and for `latest` those
    of the pipeline that made the newest. If a range begins before the current pipeline's first archive and another
    pipeline has images there, an OlderResultsWarning is issued.

    Close the Reader, or use it in a `with` statement. Raises PermanentError if `where` is neither an address nor a
    connection string, and ImportError if azure-identity is needed and missing.
    """
    return Reader(connect_stores(where, credential), pipeline)
