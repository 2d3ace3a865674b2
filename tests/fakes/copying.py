"""The storing side of copying in memory. It passes the same contract as the real one, and tests can make it fail."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from config.errors import LeaseLostError
from imagefeed.errors import StoreUnavailableError
from ingest.model import Archive, Block, CommitOutcome, CopyMetadata, Published, SourceState, Staged, Step
from ingest.ports import SourceStateHold, Upload

type Key = tuple[str, str, str]


def key_of(archive: Archive) -> Key:
    """Return a key that distinguishes archives as blob names do."""
    return archive.source, archive.file.path, archive.version


@dataclass
class FakeBlob:
    """A stored archive."""

    blocks: dict[Block, bytes] = field(default_factory=dict)
    foreign: int = 0
    """Blocks that another program staged."""
    committed: Sequence[Block] = ()
    content: bytes | None = None
    metadata: CopyMetadata | None = None


class FakeArchives:
    """An ArchiveStore."""

    def __init__(self) -> None:
        self.blobs: dict[Key, FakeBlob] = {}
        self.staged: list[Block] = []
        """Every block that was staged, in the order in which that ended."""
        self.read_backs = 0
        self.before_stage: Callable[[int], object] = lambda _: None
        self.before_amend: Callable[[], object] = lambda: None
        self.lock = threading.Lock()

    def find(self, archive: Archive) -> Published | None:
        """Return the metadata of an archive that exists."""
        blob = self.blobs.get(key_of(archive))
        return Published(blob.metadata) if blob and blob.content is not None else None

    def upload(self, archive: Archive) -> Upload:
        """Begin or resume an archive."""
        return FakeUpload(self, key_of(archive))

    def content(self, path: str) -> list[bytes]:
        """Return the published content of a path, version by version."""
        return [blob.content for key, blob in self.blobs.items() if key[1] == path and blob.content is not None]


class FakeUpload:
    """An Upload."""

    def __init__(self, store: FakeArchives, key: Key) -> None:
        self._store = store
        self._key = key
        self._read: bytes | None = None
        self.unchecked = False

    @property
    def _blob(self) -> FakeBlob:
        return self._store.blobs.setdefault(self._key, FakeBlob())

    def staged(self) -> Staged:
        """Blocks that are staged and uncommitted."""
        blocks = sorted(self._blob.blocks, key=lambda block: (block.span.offset, block.span.length))
        return Staged(blocks=tuple(blocks), foreign=self._blob.foreign)

    def stage(self, block: Block, content: memoryview) -> None:
        """Stage one block."""
        self._store.before_stage(block.span.offset)
        with self._store.lock:
            self._blob.blocks[block] = bytes(content)
            self._store.staged.append(block)

    def commit(self, blocks: Sequence[Block], metadata: CopyMetadata | None) -> CommitOutcome:
        """Publish unless it exists."""
        ends = [0, *(block.span.offset + block.span.length for block in blocks)]
        if [block.span.offset for block in blocks] != ends[:-1]:
            raise ValueError(f"commit {self._key}: the blocks are not gapless")
        with self._store.lock:
            blob = self._blob
            if blob.content is not None:
                return CommitOutcome.ALREADY_THERE
            if missing := [block for block in blocks if block not in blob.blocks]:
                raise StoreUnavailableError(f"commit {self._key}: {missing} are not staged; the file is copied again")
            blob.content = b"".join(blob.blocks[block] for block in blocks)
            blob.blocks, blob.foreign, blob.committed, blob.metadata = {}, 0, blocks, metadata
        return CommitOutcome.STORED

    def read_back(self) -> Iterator[bytes]:
        """The committed bytes."""
        content = self._blob.content
        if content is None:
            raise StoreUnavailableError(f"read back {self._key}: it is not there")
        self._store.read_backs += 1
        self._read = content
        for offset in range(0, len(content), 1000):
            yield content[offset : offset + 1000]

    def committed(self) -> Sequence[Block]:
        """The blocks of the committed blob."""
        return self._blob.committed

    def remove(self) -> None:
        """Remove the blob after it was read back."""
        if self._blob.content is self._read:
            self._blob.content = self._blob.metadata = None

    def amend(self, metadata: CopyMetadata) -> None:
        """Set the hashes."""
        self._store.before_amend()
        self._blob.metadata = metadata


class FakeSourceStates:
    """A SourceStateStore."""

    def __init__(self) -> None:
        self.source_states: dict[str, SourceState] = {}
        self.saves = 0
        self.loads = 0
        self.before_save: Callable[[], object] = lambda: None
        self.lost = False
        """Let another process take the lease."""
        self._held = set[str]()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, source: str) -> Iterator[SourceStateHold]:
        """Take the lease."""
        with self._lock:
            if source in self._held:
                raise LeaseLostError(f"poll source {source}: another process is polling it")
            self._held.add(source)
        try:
            yield FakeHold(self, source)
        finally:
            self._held.discard(source)


class FakeHold:
    """A SourceStateHold."""

    def __init__(self, store: FakeSourceStates, source: str) -> None:
        self._store = store
        self._source = source

    def load(self) -> SourceState:
        """Read it."""
        self._store.loads += 1
        return self._store.source_states.get(self._source, SourceState(source=self._source))

    def save(self, source_state: SourceState) -> None:
        """Write it."""
        self.check()
        self._store.before_save()
        self._store.saves += 1
        self._store.source_states[self._source] = source_state

    def check(self) -> None:
        """Raise if the lease is lost."""
        if self._store.lost:
            raise LeaseLostError(f"poll source {self._source}: the lease was lost")


class FakeLedger:
    """A CopyLedger."""

    def __init__(self) -> None:
        self.times: dict[Key, dict[Step, datetime]] = {}
        self.metadata: dict[Key, CopyMetadata] = {}
        self.errors: dict[Key, str] = {}
        self.archives: dict[Key, Archive] = {}
        self.writes = 0
        self.before_record: Callable[[Archive, Step], object] = lambda _archive, _step: None

    def record(self, archive: Archive, step: Step, at: datetime, metadata: CopyMetadata | None = None) -> None:
        """Set the time of a step, once."""
        self.before_record(archive, step)
        self.writes += 1
        self.archives.setdefault(key_of(archive), archive)
        self.times.setdefault(key_of(archive), {}).setdefault(step, at)
        if metadata is not None:
            self.metadata.setdefault(key_of(archive), metadata)

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Note an error."""
        self.writes += 1
        self.errors[key_of(archive)] = error

    def steps(self, path: str) -> list[set[Step]]:
        """Steps of each version of a path, in the order in which they were first seen."""
        return [set(times) for key, times in self.times.items() if key[1] == path]
