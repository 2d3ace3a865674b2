"""Candidates that copy a served folder with this project's code, like a warm function."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

from benchmarks.model import BenchmarkError
from ingest import stager, transfer
from ingest.model import Archive, Endpoint, Generation, SourceSpec, version_of
from ingest.poll import poll
from ingest.protocols.connect import connector
from ingest.transfer import CopyHooks, CopyJob, copy_archive
from preprocess.zip import end
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected
from storage.tables.archives import TableCopyLedger

BLOCK_SIZE = SourceSpec(name="usual").block_size
RCLONES_BLOCK_SIZE = 4 * 8 * 2**20
"""Bytes in flight in tuned rclone: four blocks of 8 MiB."""


class _NoHash:
    """Replacement for a hash object that computes nothing."""

    def __init__(self, _content: object = b"", **_: object) -> None:
        pass

    def update(self, _part: object) -> None:
        pass

    def digest(self) -> bytes:
        return bytes(16)

    def hexdigest(self) -> str:
        return "00" * 32


@contextmanager
def polls(
    storage: str, endpoint: Endpoint, connections: int, size: int, block_size: int = BLOCK_SIZE
) -> Iterator[Callable[[], int]]:
    """Poll like the app, with lease, source state, ledger and verification, but without waiting for stable files."""
    with connected(storage) as clients:
        yield partial(_poll, clients, endpoint, connections, size, block_size)


@contextmanager
def copies(storage: str, endpoint: Endpoint, size: int, block_size: int = BLOCK_SIZE) -> Iterator[Callable[[], int]]:
    """Copy file by file, without the source state and the ledger, which the null service does not support."""
    with connected(storage) as clients:
        yield partial(_copy, clients, endpoint, size, block_size)


@contextmanager
def unchecked(
    make: Callable[..., AbstractContextManager[Callable[[], int]]], *arguments: object
) -> Iterator[Callable[[], int]]:
    """Run a candidate without hashes of the file and its blocks, like rclone, to measure the cost of checks.

    Use it only in a separate process, because the hashes are not restored.
    """
    setattr(transfer, "hashlib", SimpleNamespace(sha256=_NoHash))  # noqa: B010 - mypy rejects the assignment
    setattr(stager, "crc64", lambda _: 0)  # noqa: B010 - as above
    with make(*arguments) as run:
        yield run


def _poll(clients: Clients, endpoint: Endpoint, connections: int, size: int, block_size: int) -> int:
    spec = SourceSpec(
        name=f"s-{uuid4().hex[:8]}", max_connections=connections, stable_for=timedelta(0), block_size=block_size
    )
    adapters = BlobSourceStates(clients), BlobArchives(clients), TableCopyLedger(clients)
    report = poll(spec, connector(endpoint), *adapters, zip_end=end)
    return _all_of(size, sum(copied.received for copied in report.copied))


def _copy(clients: Clients, endpoint: Endpoint, size: int, block_size: int) -> int:
    source, received = f"s-{uuid4().hex[:8]}", 0
    hooks = CopyHooks(check=lambda: None, started=lambda: None, renew=lambda _: None)
    with connector(endpoint).connect() as connection:
        for listed in connection.list_files().files:
            # An FTP listing has no seconds.
            file = connection.stat(listed) or listed
            archive = Archive(source=source, file=file, version=version_of(file), stamp=file.modified)
            job = CopyJob(
                archive=archive, listed=listed, zip_end=end, block_size=block_size, generation=Generation.new()
            )
            received += copy_archive(connection, BlobArchives(clients), job, hooks).received
    return _all_of(size, received)


def _all_of(size: int, received: int) -> int:
    if received != size:
        raise BenchmarkError(f"copy {size} bytes: {received} came")
    return received
