"""Benchmarks of writing and reading arrays as shards and rows, compared with one blob or one row each."""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import batched, count
from pathlib import Path

import numpy as np
from azure.storage.blob import generate_blob_sas

from benchmarks import pictures
from benchmarks.bench import Bench, benchmark
from benchmarks.child import Candidate
from benchmarks.machine import program
from benchmarks.model import BenchmarkError, Goal, Measured, ratio
from imagefeed.codec import decode, encode, encoding_of
from imagefeed.model import Counts, ImageMetadata, RawArchive
from imagefeed.rows import ImageRow, pack
from imagefeed.shards import ShardWriter
from imagefeed.tables import Reader
from preprocess.model import Batch, Image
from storage.clients import DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, Clients, connected
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from storage.tables.transactions import upsert_all

_SIDE = 224
_THREADS = 16
_BATCH = 64
_STAMP = datetime(2026, 1, 1, tzinfo=UTC)
_PIPELINE = "bench"
_SOURCE = "bench"


@benchmark(
    "write-shard",
    task="write 500 arrays of 224×224×3, as shards of 64",
    against="one blob each, 16 threads",
    prototype="3.6",
    goals={"speed": Goal(at_least=3.5)},
    why="the goal leaves 0.35 s; Azurite's single thread needs that for the bytes alone, and 0.1 s for rows; "
    "metadata, checksums and rows, which the blobs lack, take 0.35 s of ours before and after",
)
def write_shard(bench: Bench) -> Measured:
    """Write arrays as tars, with metadata, checksums and a row that links to each, or as one blob each."""
    number = bench.size(500, 20)
    with bench.azurite() as server:
        candidates = {
            "shard": Candidate(_shard_candidate, (server.connection, number)),
            "shard without rows": Candidate(_tar_candidate, (server.connection, number)),
            "blobs": Candidate(_blobs_candidate, (server.connection, number)),
            "blobs and rows": Candidate(_blobs_and_rows_candidate, (server.connection, number)),
        }
        timings = bench.compare(candidates, servers=[server.pid])
    alone = ratio(timings, "shard without rows", "blobs").value
    alike = ratio(timings, "shard", "blobs and rows").value
    notes = [
        f"without the rows that link to it: {alone:.2f}×",
        f"beside blobs that have a checksum and a row each, as the images in shards have: {alike:.2f}×",
    ]
    return Measured({"speed": ratio(timings, "shard", "blobs")}, timings, notes)


@benchmark(
    "write-rows",
    task="write the same 500 arrays as rows",
    against="row by row",
    prototype="1.6",
    goals={"speed": Goal(at_least=2.5)},
    why="Azurite's single thread takes 1.4 s, a third of it to decode bodies like URLs and to format a log line that "
    "it does not write; ours takes 0.3 s, and 1.6 s row by row",
)
def write_rows(bench: Bench) -> Measured:
    """Write arrays as rows, in transactions or one by one."""
    number = bench.size(500, 20)
    with bench.azurite() as server:
        candidates = {
            "transactions": Candidate(_transactions_candidate, (server.connection, number)),
            "row by row": Candidate(_one_by_one_candidate, (server.connection, number)),
        }
        timings = bench.compare(candidates, servers=[server.pid], rounds=3)
    return Measured({"speed": ratio(timings, "transactions", "row by row")}, timings)


@benchmark(
    "read-back",
    task="read the same 500 arrays for training, with checksums",
    against="one blob each, 16 threads",
    prototype="one tar 5, rows 1.1",
    goals={"speed shards": Goal(at_least=4.5), "speed rows": Goal(at_least=2)},
    why="Azurite's single thread takes 0.75 s to write rows as base64 in JSON, more than half of the blobs' total "
    "time; ours, 0.35 s, runs meanwhile",
)
def read_back(bench: Bench) -> Measured:
    """Read arrays from shards, from rows and from one blob each."""
    number, curl = bench.size(500, 20), program("curl")
    with bench.azurite() as server:
        with connected(server.connection) as clients:
            _prepare_reading(clients, number)
        candidates = {
            "shards": Candidate(_read_shards_candidate, (server.connection, number)),
            "rows": Candidate(_read_rows_candidate, (server.connection, number)),
            "WebDataset": Candidate(_read_webdataset_candidate, (server.connection, number, curl)),
            "blobs": Candidate(_read_blobs_candidate, (server.connection, number)),
        }
        timings = bench.compare(candidates, servers=[server.pid])
    if len({timing.outcome for timing in timings.values()}) != 1:
        raise BenchmarkError(f"read arrays back: the candidates read different ones: {timings}")
    figures = {
        "speed shards": ratio(timings, "shards", "blobs"),
        "speed rows": ratio(timings, "rows", "blobs"),
    }
    beside = ratio(timings, "shards", "WebDataset").value
    return Measured(figures, timings, [f"shards beside WebDataset, which checks no sums: {beside:.2f}×"])


BENCHMARKS = (write_shard, write_rows, read_back)


def _images(number: int) -> list[Image]:
    """Return images of nine photographs, repeated under other names."""
    arrays = [np.asarray(picture) for picture in pictures.pictures(9, (_SIDE, _SIDE))]
    return [Image(metadata=_metadata(index), pixels=arrays[index % len(arrays)]) for index in range(number)]


def _metadata(member: int) -> ImageMetadata:
    return ImageMetadata(
        source=_SOURCE,
        archive="a.zip",
        stamp=_STAMP,
        member=member,
        frame=0,
        name=f"images/{member:06}.jpg",
        format="JPEG",
        captured_at=_STAMP,
    )


def _batch(version: int, number: int) -> Batch:
    """Return a batch of a new archive, so that each round writes everything again."""
    archive = RawArchive(
        source=_SOURCE, stamp=_STAMP, version=f"{version:08x}", blob=f"{version}.zip", size=1, path="a.zip", etag="e"
    )
    return Batch(archive=archive, pipeline=_PIPELINE, number=0, first=0, end=number, batches=1)


def _write(clients: Clients, batch: Batch, images: list[Image], *, rows: int) -> Counts:
    with ShardsAndRows(clients, "npy", rows).write(batch) as writer:
        for image in images:
            writer.add([image])
        size = writer.publish()
    return Counts(members=len(images), images=len(images), bytes_out=size)


@contextmanager
def _shard_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, versions = _images(number), count()
    with connected(connection) as clients:

        def run() -> object:
            # Batches of 64 members, like the app's. `rows=0`: rows hold only links, no part of an image.
            batches = (list(some) for some in batched(images, _BATCH, strict=False))
            return sum(_write(clients, _batch(next(versions), number), some, rows=0).images for some in batches)

        yield run


@contextmanager
def _tar_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, names = _images(number), count()
    with connected(connection) as clients:

        def put(some: Iterable[Image]) -> int:
            with ShardWriter() as shard:
                for image in some:
                    payload = encode(image.pixels, "npy")
                    metadata = {"name": image.metadata.name, **asdict(encoding_of(image.pixels, "npy", payload))}
                    shard.add(f"{image.metadata.member:06}", "npy", payload, metadata)
                clients.processed.upload_blob(f"tar/{next(names)}.tar", shard.finish(), length=shard.size)
                return shard.size

        def run() -> object:
            return sum(put(some) for some in batched(images, _BATCH, strict=False))

        yield run


@contextmanager
def _blobs_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, rounds = _images(number), count()
    with connected(connection) as clients:

        def put(place: str, image: Image) -> None:
            name = f"single/{place}/{image.metadata.member}.npy"
            clients.processed.upload_blob(name, encode(image.pixels, "npy"), overwrite=True)

        def run() -> object:
            place = str(next(rounds))
            with ThreadPoolExecutor(_THREADS) as threads:
                return len(list(threads.map(lambda image: put(place, image), images)))

        yield run


@contextmanager
def _blobs_and_rows_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, rounds = _images(number), count()
    with connected(connection) as clients:

        def put(place: str, image: Image) -> None:
            name, payload = f"linked/{place}/{image.metadata.member}.npy", encode(image.pixels, "npy")
            clients.processed.upload_blob(name, payload, overwrite=True)
            # Into a separate table, because the emulator scans the whole table for each inserted row.
            link = next(pack(place, _row(image, payload, parts=0, shard=name), payload))
            # Retried, because the emulator may have closed an idle connection.
            clients.archives.upsert_entity(link, retry_on_methods=frozenset({"PATCH"}))

        def run() -> object:
            place = str(next(rounds))
            with ThreadPoolExecutor(_THREADS) as threads:
                return len(list(threads.map(lambda image: put(place, image), images)))

        yield run


def _row(image: Image, payload: bytes, *, parts: int, shard: str) -> ImageRow:
    metadata = image.metadata
    return ImageRow(
        member=metadata.member,
        frame=metadata.frame,
        name=metadata.name,
        format=metadata.format,
        captured_at=metadata.captured_at,
        encoding=encoding_of(image.pixels, "npy", payload),
        parts=parts,
        shard=shard,
        offset=0,
        length=len(payload),
    )


def _entities(partition: str, images: list[Image]) -> Iterator[dict[str, object]]:
    for image in images:
        payload = encode(image.pixels, "npy")
        yield from pack(partition, _row(image, payload, parts=1, shard="shard"), payload)


@contextmanager
def _transactions_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, rounds = _images(number), count()
    with connected(connection) as clients:
        yield lambda: len(upsert_all(clients.images, _entities(f"t{next(rounds)}", images), "write rows"))


@contextmanager
def _one_by_one_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    images, rounds = _images(number), count()
    with connected(connection) as clients:

        def run() -> object:
            entities = list(_entities(f"o{next(rounds)}", images))
            for entity in entities:
                clients.images.upsert_entity(entity)
            return len(entities)

        yield run


def _prepare_reading(clients: Clients, number: int) -> None:
    """Write an archive like the app, until it is processed in the ledger, and each array as a blob."""
    images, batch, ledger = _images(number), _batch(0, number), TableBatchLedger(clients)
    ledger.record_raw(batch.archive, _STAMP)
    ledger.insert_plan([batch], _STAMP, _STAMP)
    ledger.finish(batch, _write(clients, batch, images, rows=8), _STAMP)
    for image in images:
        clients.processed.upload_blob(
            f"single/{image.metadata.member}.npy", encode(image.pixels, "npy"), overwrite=True
        )


@contextmanager
def _read_shards_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    with connected(connection) as clients:
        reader = Reader(clients, _PIPELINE)
        until = _STAMP + timedelta(hours=1)
        yield lambda: _sum((image.pixels for image in reader.shards(_SOURCE, _STAMP, until)), number)


@contextmanager
def _read_rows_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    with connected(connection) as clients:
        reader = Reader(clients, _PIPELINE)
        yield lambda: _sum((image.pixels for image in reader.latest(_SOURCE)), number)


@contextmanager
def _read_webdataset_candidate(connection: str, number: int, curl: Path) -> Iterator[Callable[[], object]]:
    """Read the same shards with WebDataset."""
    import webdataset

    until = datetime.now(UTC) + timedelta(days=1)
    with connected(connection) as clients:
        account, container = DEVELOPMENT_ACCOUNT, clients.processed.container_name
        names = list(clients.processed.list_blob_names(name_starts_with=f"{_PIPELINE}/"))
        urls = [clients.processed.get_blob_client(name).url for name in names]
    allow = partial(generate_blob_sas, account, container, account_key=DEVELOPMENT_KEY, permission="r", expiry=until)
    pipes = [f"pipe:{curl} -sf '{url}?{allow(name)}'" for name, url in zip(names, urls, strict=True)]

    def run() -> object:
        dataset = webdataset.WebDataset(pipes, shardshuffle=False).decode()
        return _sum((sample["npy"] for sample in dataset), number)

    yield run


@contextmanager
def _read_blobs_candidate(connection: str, number: int) -> Iterator[Callable[[], object]]:
    with connected(connection) as clients:

        def get(member: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
            stream = io.BytesIO()
            clients.processed.download_blob(f"single/{member}.npy").readinto(stream)
            return decode(stream.getvalue(), "npy")

        def run() -> object:
            with ThreadPoolExecutor(_THREADS) as threads:
                return _sum(threads.map(get, range(number)), number)

        yield run


def _sum(arrays: Iterator[np.ndarray[tuple[int, ...], np.dtype[np.generic]]], number: int) -> int:
    """Return a checksum that uses every array, like training does. Raises BenchmarkError if any are missing."""
    sums = [int(array[::16, ::16].sum()) for array in arrays]
    if len(sums) != number:
        raise BenchmarkError(f"read arrays back: {len(sums)} came, {number} were written")
    return sum(sums)
