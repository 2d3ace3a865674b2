"""Sides that copy a served folder: ours, as a warm function does it, and rclone, as its own process."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from uuid import uuid4

from benchmarks import rclone
from benchmarks.model import BenchmarkError
from ingest.connect import connector
from ingest.model import Archive, Endpoint, SourceSpec, version_of
from ingest.poll import poll
from ingest.transfer import CopyHooks, CopyJob, copy_archive
from storage.blobs import BlobArchives
from storage.clients import Clients, connected
from storage.ledger import TableCopyLedger
from storage.rosters import BlobRosters


@contextmanager
def polls(storage: str, endpoint: Endpoint, connections: int, size: int) -> Iterator[Callable[[], int]]:
    """Poll as the app does, with lease, roster, ledger and all verification, but without the pause for settling."""
    with connected(storage) as clients:
        yield partial(_poll, clients, endpoint, connections, size)


@contextmanager
def copies(storage: str, endpoint: Endpoint, size: int) -> Iterator[Callable[[], int]]:
    """Copy file by file, without the roster and the ledger, which a sink does not have."""
    with connected(storage) as clients:
        yield partial(_copy, clients, endpoint, size)


@contextmanager
def rclones(
    told: Mapping[str, str], folder: str, options: tuple[str, ...], container: str
) -> Iterator[Callable[[], rclone.Run]]:
    """Let rclone copy the folder, each time to another place."""
    numbers = itertools.count()
    yield lambda: rclone.copy(told, folder, f"{container}/{uuid4().hex[:8]}-{next(numbers)}", options)


def _poll(clients: Clients, endpoint: Endpoint, connections: int, size: int) -> int:
    spec = SourceSpec(name=f"s-{uuid4().hex[:8]}", max_connections=connections, settle=timedelta(0))
    report = poll(spec, connector(endpoint), BlobRosters(clients), BlobArchives(clients), TableCopyLedger(clients))
    return _all_of(size, sum(copied.received for copied in report.copied))


def _copy(clients: Clients, endpoint: Endpoint, size: int) -> int:
    source, received = f"s-{uuid4().hex[:8]}", 0
    hooks = CopyHooks(check=lambda: None, started=lambda: None)
    with connector(endpoint).connect() as connection:
        for listed in connection.list_files():
            # A listing of FTP knows no seconds.
            file = connection.look(listed) or listed
            archive = Archive(source=source, file=file, version=version_of(file), stamp=file.modified)
            job = CopyJob(archive=archive, block_size=SourceSpec(name=source).block_size)
            received += copy_archive(connection, BlobArchives(clients), job, hooks).received
    return _all_of(size, received)


def _all_of(size: int, received: int) -> int:
    if received != size:
        raise BenchmarkError(f"copy {size} bytes: {received} came")
    return received
