"""Copy one archive: stage blocks while the next are read, and publish the whole archive after all checks."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from config.errors import InconsistentTransferError, SourceUnavailableError, TransferTruncatedError
from imagefeed.errors import PermanentError, StoreUnavailableError
from ingest.crc64 import crc64
from ingest.model import (
    Archive,
    Block,
    CommitOutcome,
    CopyMetadata,
    Generation,
    Published,
    RemoteFile,
    Scope,
    Span,
    Staged,
)
from ingest.ports import ArchiveStore, Connection, Reader, Upload, ZipEnd
from ingest.stager import BUFFERS, LARGEST, Stager, plan_blocks, runs


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
    generation: Generation
    """Only blocks of this generation are resumed. It is saved in the source's state."""
    previous_sha256: str | None = None
    accept_truncated: bool = False
    measured: bool = False
    """True if the server does not give the file's size: only a complete zip directory shows that all of it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyHooks:
    """Functions that are called during a copy."""

    check: Callable[[], None]
    """Called before each piece is read; raises to stop the copy."""
    started: Callable[[], None]
    """Called when the first block is staged."""
    renew: Callable[[Generation], None]
    """Called to save another generation before blocks are staged under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """Result of a copy; `received` bytes came from the source this time."""

    outcome: CopyOutcome
    metadata: CopyMetadata | None
    received: int
    unchecked: bool = False
    """True if the store did not answer with its checksum of what it received."""


class StreamHasher:
    """Hashes and counts a file's bytes in order, and keeps the last ones."""

    def __init__(self, size: int, zip_end: ZipEnd) -> None:
        self._size = size
        self._zip_end = zip_end
        self._sha256 = hashlib.sha256()
        self._tail = b""
        self.seen = 0

    def update(self, part: memoryview | bytes) -> None:
        """Add the next bytes."""
        self._sha256.update(part)
        keep = self._zip_end.tail_length(self._size)
        self._tail = (self._tail + bytes(part[-keep:]))[-keep:]
        self.seen += len(part)

    @property
    def complete(self) -> bool:
        """Return whether the file ends in a complete zip directory."""
        return self._zip_end.is_complete(self._tail, self._size)

    def metadata(self) -> CopyMetadata:
        """Return the hashes of all bytes, and whether the zip directory is complete."""
        return CopyMetadata(sha256=self._sha256.hexdigest(), complete=self.complete)


class BlockChecker:
    """Compares a file's bytes, in order, with the CRC64 of each of its blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = deque(blocks)
        self._left = blocks[0].span.length if blocks else 0
        self._crc64 = 0
        self._differs = False

    def update(self, part: bytes) -> None:
        """Add the next bytes."""
        rest = memoryview(part)
        while self._blocks and rest:
            piece, rest = rest[: self._left], rest[self._left :]
            self._crc64, self._left = crc64(piece, self._crc64), self._left - len(piece)
            if not self._left:
                self._differs |= self._blocks.popleft().crc64 != self._crc64
                self._crc64, self._left = 0, self._blocks[0].span.length if self._blocks else 0

    @property
    def passed(self) -> bool:
        """Return whether every block was complete and equal."""
        return not (self._blocks or self._differs)


def copy_archive(connection: Connection, store: ArchiveStore, job: CopyJob, hooks: CopyHooks) -> CopyResult:
    """Copy an archive into the store, continuing where an earlier try stopped. A published archive is left as it is.

    Raises InconsistentTransferError if the file differs from its listing or from itself, PermanentError if its size is
    negative or above `LARGEST`, and the errors of the ports. Staged blocks are kept: the next try resumes them unless
    this one was inconsistent, or the job names another generation.
    """
    archive = job.archive
    if not 0 <= archive.file.size <= LARGEST:
        raise PermanentError(
            f"copy {archive.file.path!r}: the server reports a size of {archive.file.size} bytes, which is not between "
            f"0 and the {LARGEST} that can be copied; ask the server's owner"
        )
    upload, published = store.upload(archive), store.find(archive)
    if published is not None:
        return CopyResult(outcome=CopyOutcome.COPIED, metadata=_metadata_of(published, upload, job, hooks), received=0)
    plan = plan_blocks(archive.file.size, job.block_size // BUFFERS)
    generation, known = _resumable(job.generation, upload.staged(), hooks)
    spans = _to_read(plan, known, archive.file.size - job.zip_end.tail_length(archive.file.size))
    hasher = StreamHasher(archive.file.size, job.zip_end)
    resumed = len(spans) < len(plan)
    read = _read_and_stage(connection, upload, generation, archive.file, spans, known, hasher.update, hooks)
    blocks = [read.get(span) or known[span] for span in plan]
    last_chance = _check_unchanged(connection, job, hooks)
    if job.measured and not hasher.complete:
        raise SourceUnavailableError(
            f"copy {archive.file.path!r}: the server does not give its size, and the {archive.file.size} bytes that it "
            "sends do not end in a complete zip directory, so more of it may be missing; tried again later, or ask the "
            "server's owner"
        )
    if not (hasher.complete or job.accept_truncated or last_chance):
        return CopyResult(
            outcome=CopyOutcome.TRUNCATED, metadata=None, received=hasher.seen, unchecked=upload.unchecked
        )
    # A resumed copy did not read every byte, so the whole file's hash is unknown.
    metadata = None if resumed else hasher.metadata()
    if metadata and metadata.sha256 == job.previous_sha256:
        return CopyResult(outcome=CopyOutcome.SAME, metadata=metadata, received=hasher.seen, unchecked=upload.unchecked)
    metadata = _publish(store, upload, job, blocks, metadata, hooks)
    return CopyResult(outcome=CopyOutcome.COPIED, metadata=metadata, received=hasher.seen, unchecked=upload.unchecked)


def _resumable(generation: Generation, staged: Staged, hooks: CopyHooks) -> tuple[Generation, Mapping[Span, Block]]:
    """Return the generation to stage under, and its staged blocks.

    A new one begins where two blocks of the same place differ, or another program began to stage blocks.
    """
    if not generation.resumable:
        return generation, {}
    blocks = defaultdict[Span, set[Block]](set)
    for block in staged.blocks:
        if block.generation == generation.token:
            blocks[block.span].add(block)
    if staged.foreign > generation.foreign or any(len(same) > 1 for same in blocks.values()):
        generation = Generation.new(inconsistent=generation.inconsistent, foreign=staged.foreign)
        hooks.renew(generation)
        return generation, {}
    return generation, {span: block for span, (block,) in blocks.items()}


def _to_read(plan: Sequence[Span], known: Mapping[Span, Block], tail: int) -> Sequence[Span]:
    """Return the blocks to read: those not staged, and those that reach beyond offset `tail`, always checked.

    The staged block before each of them is read again too. It shows whether the server continues at the right offset.
    """
    needed = [span not in known or span.offset + span.length > tail for span in plan]
    return [span for span, *needs in zip(plan, needed, [*needed, False][1:], strict=True) if any(needs)]


def _read_and_stage(
    connection: Connection,
    upload: Upload,
    generation: Generation,
    file: RemoteFile,
    spans: Sequence[Span],
    known: Mapping[Span, Block],
    update: Callable[[memoryview], None],
    hooks: CopyHooks,
) -> dict[Span, Block]:
    """Read and stage blocks, and return them. Raises InconsistentTransferError if one of the `known` differs."""
    length = max((span.length for span in spans), default=0)
    with Stager(upload, generation.token, length, update, hooks.started) as stager:
        for run in runs(spans):
            with connection.open(file, run[0].offset) as reader:
                left = sum(span.length for span in run)
                for span in run:
                    buffer = stager.buffer()
                    _fill(reader, buffer[: span.length], left, stager, file, hooks.check)
                    left -= span.length
                    # Before anything that follows is read, so that nothing from a wrong offset is staged.
                    if span in known and crc64(buffer[: span.length]) != known[span].crc64:
                        raise InconsistentTransferError(
                            f"copy {file.path!r}: the server's bytes at {span.offset} differ from those that it sent "
                            "before: the file changed, or the server continues at a wrong offset; copied again from "
                            "its start"
                        )
                    stager.stage(span, buffer)
                if run[-1] is spans[-1]:
                    _expect_end(reader, file)
        if not spans:
            # A file that is listed as empty may not be.
            with connection.open(file, 0) as reader:
                _expect_end(reader, file)
        stager.finish()
    return stager.staged


def _fill(
    reader: Reader, buffer: memoryview, left: int, stager: Stager, file: RemoteFile, check: Callable[[], None]
) -> None:
    """Fill a buffer. Request more of the `left` bytes of the run ahead, as far as free buffers can hold them."""
    filled = 0
    while filled < len(buffer):
        check()
        got = reader.readinto(buffer[filled:], min(stager.room, left - len(buffer)))
        if got == 0:
            raise TransferTruncatedError(
                f"copy {file.path!r}: it ended before its listed {file.size} bytes; tried again later"
            )
        filled += got or 0


def _expect_end(reader: Reader, file: RemoteFile) -> None:
    if reader.readinto(memoryview(bytearray(1))):
        raise TransferTruncatedError(f"copy {file.path!r}: it exceeds its listed {file.size} bytes; tried again later")


def _check_unchanged(connection: Connection, job: CopyJob, hooks: CopyHooks) -> bool:
    """Return whether a file was deleted since it was read. Raises TransferTruncatedError if it changed.

    A server that refuses to answer for one file may still have it: only a listing shows that it was deleted.
    """
    file = job.archive.file
    now = connection.stat(file)
    deleted = False
    if now is None:
        listing = connection.list_files(Scope(wants=file.path.__eq__, check=hooks.check))
        listed = listing.find(file.path, file.size)
        now = file if listed in (None, job.listed) else listed
        deleted = bool(listing.lacks([file.path]))
    if now != file:
        raise TransferTruncatedError(f"copy {file.path!r}: it changed while it was copied; tried again later")
    return deleted


def _publish(
    store: ArchiveStore,
    upload: Upload,
    job: CopyJob,
    blocks: Sequence[Block],
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
    """Return an archive's metadata. If the copy was resumed, read the blob back once to hash it, and set the hashes.

    A blob that differs from what its blocks' ids say is removed; this raises InconsistentTransferError.
    """
    if published.metadata is not None:
        return published.metadata
    file = job.archive.file
    hasher, checker = StreamHasher(file.size, job.zip_end), BlockChecker(upload.committed())
    for chunk in upload.read_back():
        hooks.check()
        hasher.update(chunk)
        checker.update(chunk)
    if hasher.seen != file.size or not checker.passed:
        upload.remove()
        raise InconsistentTransferError(
            f"read back {file.path!r}: {hasher.seen} of {file.size} bytes are stored, or a block differs from its "
            "checksum; the blob is removed and copied again"
        )
    metadata = hasher.metadata()
    upload.amend(metadata)
    return metadata
