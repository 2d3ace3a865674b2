"""Read each archive's progress and, at the end, all its blobs, rows and images from storage."""

import hashlib
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

from azure.core.exceptions import ResourceModifiedError
from azure.storage.blob import ContainerClient

from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from imagefeed.tables import Reader, StoredImage
from local.demo.progress import UNSEEN, Progress
from local.demo.verification import Kept, KeptImage, Key, Place
from local.samples import CELLS, colour_grid
from storage.clients import Clients

_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_WITHOUT_RESULT = (State.REFUSED, State.EMPTY, State.FAILED, State.SAME, State.SUPERSEDED, State.EXPIRED)


def observe(clients: Clients, sources: Iterable[str]) -> dict[Key, Progress]:
    """Return the progress of every archive, from the ledger."""
    pairs = ((source, entry) for source in sources for entry in entries(clients, source))
    return {(source, entry.archive.version): _progress(entry) for source, entry in pairs}


def images(clients: Clients, sources: Iterable[str]) -> list[StoredImage]:
    """Return every image, read from rows like by an inference service."""
    reader = Reader(clients)
    return [image for source in sources for image in reader.between(source, _BEGINNING, _END)]


def collect(clients: Clients, stored: Iterable[StoredImage], progress: Mapping[Key, Progress]) -> dict[Key, Kept]:
    """Return all that storage holds of each archive, including results that readers do not see."""
    blobs, rows, shards = _by_key(_raw_blobs(clients)), _by_key(_rows(clients)), _by_key(_sharded(clients))
    kept_images = _by_key(((image.metadata.source, image.version), _kept(image)) for image in stored)
    return {
        key: Kept(
            blobs=blobs[key],
            images=kept_images[key],
            refused=[int(row.split("~")[0]) for row in rows[key] if row.endswith("~refused")],
            counted=_counts(progress.get(key, UNSEEN)),
            rows=rows[key],
            sharded=shards[key],
        )
        for key in progress.keys() | blobs.keys() | rows.keys() | shards.keys()
    }


def _progress(entry: Entry) -> Progress:
    counts = entry.counts
    ended = f"{entry.state}: {entry.reason or 'see the ledger'}" if entry.state in _WITHOUT_RESULT else None
    return Progress(
        seen=entry.times.get(State.SEEN),
        copying=entry.times.get(State.COPYING),
        raw=entry.times.get(State.RAW),
        processing=entry.times.get(State.PROCESSING),
        processed=entry.times.get(State.PROCESSED),
        images=counts.images if counts else 0,
        refused=counts.refused if counts else 0,
        skipped=sum(counts.skipped.values()) if counts else 0,
        ended=ended,
    )


def _counts(progress: Progress) -> tuple[int, int, int]:
    return progress.images, progress.refused, progress.skipped


def _kept(image: StoredImage) -> KeptImage:
    shape = image.pixels.shape
    square = len(shape) == 3 and shape[0] == shape[1] and shape[0] % CELLS == 0 and shape[2] == 3
    seen = colour_grid(image.pixels) if square else None
    return KeptImage(member=image.metadata.member, frame=image.metadata.frame, shape=shape, colours=seen)


def _raw_blobs(clients: Clients) -> Iterator[tuple[Key, tuple[int, str]]]:
    """Yield the size and SHA-256 of every raw blob, computed from its bytes instead of trusting its metadata."""
    for name in clients.raw.list_blob_names():
        yield key_of_raw_blob(name), _size_and_hash(clients.raw, name)


def key_of_raw_blob(name: str) -> Key:
    """Return the archive of a raw blob from its name, `{source}/…/{stamp}.{version}.{stem}.zip`."""
    return name.split("/")[0], name.rsplit("/", 1)[-1].split(".")[1]


def _size_and_hash(raw: ContainerClient, name: str) -> tuple[int, str]:
    """Return a blob's size and its SHA-256 in hexadecimal."""
    while True:
        digest, size = hashlib.sha256(), 0
        try:
            for chunk in raw.download_blob(name).chunks():
                digest.update(chunk)
                size += len(chunk)
        except ResourceModifiedError:
            # The hashes of a resumed copy are set late, and change the ETag meanwhile.
            continue
        return size, digest.hexdigest()


def _rows(clients: Clients) -> Iterator[tuple[Key, str]]:
    """Yield the keys of all rows, also of archives that readers do not see."""
    for row in clients.images.list_entities(select=["PartitionKey", "RowKey"]):
        _, source, _, version = row["PartitionKey"].split("~")
        yield (source, version), row["RowKey"]


def _sharded(clients: Clients) -> Iterator[tuple[Key, Place]]:
    """Yield every image in a shard."""
    for name in clients.processed.list_blob_names():
        if not name.endswith(".tar"):
            continue
        # `{pipeline}/{source}/…/{stamp}.{version}.{stem}/{batch}.tar`
        source, folder = name.split("/")[1], name.split("/")[-2]
        with tarfile.open(fileobj=io.BytesIO(clients.processed.download_blob(name).readall())) as shard:
            for stem in (PurePosixPath(entry).stem for entry in shard.getnames() if entry.endswith(".npy")):
                member, frame = stem.split("-")
                yield (source, folder.split(".")[1]), (int(member), int(frame))


def _by_key[T](pairs: Iterable[tuple[Key, T]]) -> defaultdict[Key, list[T]]:
    grouped: defaultdict[Key, list[T]] = defaultdict(list)
    for key, thing in pairs:
        grouped[key].append(thing)
    return grouped
