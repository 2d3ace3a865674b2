"""Copy one archive: stage blocks while the next are read, and publish the whole archive after all checks."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from config.errors import TransferTruncatedError
from imagefeed.errors import PermanentError, StoreUnavailableError
from ingest.model import Archive, CommitOutcome, CopyMetadata, Published, RemoteFile, Span
from ingest.ports import ArchiveStore, Connection, Reader, Upload, ZipEnd
from ingest.stager import BUFFERS, LARGEST, Stager, plan_blocks, runs

_PIECE = 256 * 2**10


class CopyOutcome(Enum):
    """How a copy ended without an error."""

    COPIED = "copied"
    SAME = "same"
    """The path's previous version has the same bytes; nothing was published."""
    TRUNCATED = "truncated"
    """The zip directory is missing or truncated; nothing was published yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """An archive to copy, and the options of the copy."""

    archive: Archive
    listed: RemoteFile
    """As the listing gave the file."""
    zip_end: ZipEnd
    block_size: int
    """Most bytes that are requested and not yet stored. Each staged block is a part of it, so that reading overlaps."""
    previous_sha256: str | None = None
    accept_truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyHooks:
    """Functions that are called during a copy."""

    check: Callable[[], None]
    """Called before each piece is read; raises to stop the copy."""
    started: Callable[[], None]
    """Called when the first block is staged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """Result of a copy; `received` bytes came from the source this time."""

    outcome: CopyOutcome
    metadata: CopyMetadata | None
    received: int


class StreamHasher:
    """Hashes and counts a file's bytes in order, and keeps the last ones."""

    def __init__(self, size: int, zip_end: ZipEnd) -> None:
        self._size = size
        self._zip_end = zip_end
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._tail = b""
        self.seen = 0

    def update(self, part: memoryview | bytes) -> None:
        """Add the next bytes."""
        self._sha256.update(part)
        self._md5.update(part)
        keep = self._zip_end.tail_length(self._size)
        self._tail = (self._tail + bytes(part[-keep:]))[-keep:]
        self.seen += len(part)

    @property
    def complete(self) -> bool:
        """Return whether the file ends in a complete zip directory."""
        return self._zip_end.is_complete(self._tail, self._size)

    def metadata(self) -> CopyMetadata:
        """Return the hashes of all bytes, and whether the zip directory is complete."""
        return CopyMetadata(sha256=self._sha256.hexdigest(), md5=self._md5.digest(), complete=self.complete)


def copy_archive(connection: Connection, store: ArchiveStore, job: CopyJob, hooks: CopyHooks) -> CopyResult:
    """Copy an archive into the store, continuing where an earlier try stopped. A published archive is left as it is.

    Raises TransferTruncatedError if the file differs from the archive's listing, PermanentError if it is larger than
    `LARGEST`, and the errors of the ports. Blocks that were staged are kept for the next try.
    """
    archive = job.archive
    if archive.file.size > LARGEST:
        raise PermanentError(
            f"copy {archive.file.path!r}: the server reports a size of {archive.file.size} bytes, more than the "
            f"{LARGEST} that can be copied; ask the server's owner"
        )
    upload, published = store.upload(archive), store.find(archive)
    if published is not None:
        return CopyResult(outcome=CopyOutcome.COPIED, metadata=_metadata_of(published, upload, job, hooks), received=0)
    blocks = plan_blocks(archive.file.size, job.block_size // BUFFERS)
    missing = _missing(blocks, upload.staged(), archive.file.size - job.zip_end.tail_length(archive.file.size))
    hasher = StreamHasher(archive.file.size, job.zip_end)
    resumed = len(missing) < len(blocks)
    _read_and_stage(connection, upload, archive.file, missing, hasher.update, hooks)
    last_chance = _check_unchanged(connection, job)
    if not (hasher.complete or job.accept_truncated or last_chance):
        return CopyResult(outcome=CopyOutcome.TRUNCATED, metadata=None, received=hasher.seen)
    # A resumed copy did not read every byte, so the whole file's hash is unknown.
    metadata = None if resumed else hasher.metadata()
    if metadata and metadata.sha256 == job.previous_sha256:
        return CopyResult(outcome=CopyOutcome.SAME, metadata=metadata, received=hasher.seen)
    metadata = _publish(store, upload, job, blocks, metadata, hooks)
    return CopyResult(outcome=CopyOutcome.COPIED, metadata=metadata, received=hasher.seen)


def _missing(blocks: Sequence[Span], staged: Sequence[Span], tail: int) -> Sequence[Span]:
    """Return the blocks to read: those not staged, and those that reach beyond offset `tail`, always checked."""
    done = set(staged)
    return [block for block in blocks if block not in done or block.offset + block.length > tail]


def _read_and_stage(
    connection: Connection,
    upload: Upload,
    file: RemoteFile,
    blocks: Sequence[Span],
    update: Callable[[memoryview], None],
    hooks: CopyHooks,
) -> None:
    length = max((block.length for block in blocks), default=0)
    with Stager(upload, length, update, hooks.started) as stager:
        for run in runs(blocks):
            with connection.open(file, run[0].offset) as reader:
                left = sum(block.length for block in run)
                for block in run:
                    buffer = stager.buffer()
                    _fill(reader, buffer[: block.length], left, stager, file, hooks.check)
                    left -= block.length
                    stager.stage(block.offset, buffer, block.length)
                if run[-1] is blocks[-1]:
                    _expect_end(reader, file)
        stager.finish()


def _fill(
    reader: Reader, buffer: memoryview, left: int, stager: Stager, file: RemoteFile, check: Callable[[], None]
) -> None:
    """Fill a buffer. Request more of the `left` bytes of the run ahead, as far as free buffers can hold them."""
    filled = 0
    while filled < len(buffer):
        # In pieces, because a block from a slow server may take longer than a tick or the lease lasts.
        check()
        piece = buffer[filled : filled + _PIECE]
        ahead = min(len(buffer) + stager.room, left) - filled - len(piece)
        got = reader.readinto(piece, ahead)
        if got == 0:
            raise TransferTruncatedError(
                f"copy {file.path!r}: it ended before its listed {file.size} bytes; tried again later"
            )
        filled += got or 0


def _expect_end(reader: Reader, file: RemoteFile) -> None:
    if reader.readinto(memoryview(bytearray(1))):
        raise TransferTruncatedError(f"copy {file.path!r}: it exceeds its listed {file.size} bytes; tried again later")


def _check_unchanged(connection: Connection, job: CopyJob) -> bool:
    """Return whether a file was deleted since it was read. Raises TransferTruncatedError if it changed.

    A server that refuses to answer for one file may still have it: only a listing shows that it was deleted.
    """
    file = job.archive.file
    now = connection.stat(file)
    deleted = False
    if now is None:
        listing = connection.list_files()
        listed = next((one for one in listing.files if one.path == file.path), None)
        now = file if listed in (None, job.listed) else listed
        deleted = bool(listing.lacks([file.path]))
    if now != file:
        raise TransferTruncatedError(f"copy {file.path!r}: it changed while it was copied; tried again later")
    return deleted


def _publish(
    store: ArchiveStore,
    upload: Upload,
    job: CopyJob,
    blocks: Sequence[Span],
    metadata: CopyMetadata | None,
    hooks: CopyHooks,
) -> CopyMetadata:
    stored = upload.commit(blocks, metadata) is CommitOutcome.STORED
    # If another process published the archive first, its metadata counts.
    published = Published(metadata) if stored else store.find(job.archive)
    if published is None:
        raise StoreUnavailableError(
            f"publish {job.archive.file.path!r}: the store reports that it exists but cannot find it; tried again later"
        )
    return _metadata_of(published, upload, job, hooks)


def _metadata_of(published: Published, upload: Upload, job: CopyJob, hooks: CopyHooks) -> CopyMetadata:
    """Return an archive's metadata. If the copy was resumed, read the blob back once to hash it, and set the hashes."""
    if published.metadata is not None:
        return published.metadata
    file = job.archive.file
    hasher = StreamHasher(file.size, job.zip_end)
    for chunk in upload.read_back():
        hooks.check()
        hasher.update(chunk)
    if hasher.seen != file.size:
        raise TransferTruncatedError(f"read back {file.path!r}: {hasher.seen} of {file.size} bytes; tried again later")
    metadata = hasher.metadata()
    upload.amend(metadata)
    return metadata
