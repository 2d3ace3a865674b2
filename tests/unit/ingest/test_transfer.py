"""Copying one archive: exact, bounded, resumable, and published completely or not at all."""

import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from config.errors import OutOfTimeError, SourceUnavailableError, TransferTruncatedError
from imagefeed.errors import PermanentError, StoreUnavailableError
from ingest.model import Archive, CopyMetadata, Generation, Published, RemoteFile, Span, Unread, version_of
from ingest.stager import BUFFERS, LARGEST, plan_blocks, runs
from ingest.transfer import CopyHooks, CopyJob, CopyOutcome, CopyResult, copy_archive
from preprocess.zip import end
from tests.fakes.copying import FakeArchives, key_of
from tests.fakes.remote import FakeServer
from tests.fixtures.blocks import GENERATION, stage
from tests.unit.ingest.test_poll import make_zip

MIB = 2**20
WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Copying:
    """A server, a store, and a copy of one file between them."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.store = FakeArchives()
        self.events: list[str] = []
        self.pieces_until_stop = 10**9
        self.renewed: list[Generation] = []

    def put(self, content: bytes) -> CopyJob:
        file = self.server.put("a.zip", content, WHEN)
        archive = Archive(source="radar", file=file, version=version_of(file), stamp=WHEN)
        return CopyJob(
            archive=archive, listed=file, zip_end=end, block_size=BUFFERS * MIB, generation=Generation(token=GENERATION)
        )

    def check(self) -> None:
        self.pieces_until_stop -= 1
        if self.pieces_until_stop < 0:
            raise OutOfTimeError("out of time")

    def run(self, job: CopyJob) -> CopyResult:
        hooks = CopyHooks(check=self.check, started=lambda: self.events.append("started"), renew=self.renewed.append)
        with self.server.connect() as connection:
            return copy_archive(connection, self.store, job, hooks)

    def published(self) -> list[bytes]:
        return self.store.content("a.zip")

    def reads(self) -> list[int]:
        return [int(call.split()[2]) for call in self.server.calls if call.startswith("open")]


@pytest.fixture
def copying() -> Copying:
    return Copying()


def zip_of(size: int) -> bytes:
    """Make a complete zip of exactly so many bytes."""
    empty = len(make_zip())
    return make_zip(size - empty)


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 7 * MIB + 11])
@pytest.mark.parametrize("piece", [1000, MIB, 3 * MIB])
def test_every_size_arrives_byte_for_byte_with_its_hashes(copying: Copying, size: int, piece: int) -> None:
    content = zip_of(size)
    copying.server.piece = piece
    result = copying.run(copying.put(content))
    assert copying.published() == [content]
    assert result == CopyResult(
        outcome=CopyOutcome.COPIED,
        metadata=CopyMetadata(sha256=hashlib.sha256(content).hexdigest(), complete=True),
        received=size,
    )
    assert copying.events == ["started"]


def test_a_server_that_sends_whole_blocks_is_asked_once_for_each(copying: Copying) -> None:
    content = zip_of(3 * MIB)
    copying.server.piece = MIB
    copying.pieces_until_stop = 3
    copying.run(copying.put(content))
    assert copying.published() == [content]


@pytest.mark.parametrize("content", [b"", b"x", make_zip()])
def test_tiny_files_arrive_too(copying: Copying, content: bytes) -> None:
    copying.run(replace(copying.put(content), accept_truncated=True))
    assert copying.published() == [content]


@pytest.mark.parametrize("size", [-1, -(2**32), LARGEST + 1])
def test_a_size_below_zero_or_beyond_all_files_reaches_no_commit(copying: Copying, size: int) -> None:
    job = copying.put(b"")
    file = replace(job.archive.file, size=size)
    with pytest.raises(PermanentError, match=f"a size of {size} bytes"):
        copying.run(replace(job, archive=replace(job.archive, file=file), listed=file, accept_truncated=True))
    assert copying.published() == []


@pytest.mark.parametrize("cut", [1, 100, MIB, MIB + 1])
def test_a_file_that_ends_early_is_not_published(copying: Copying, cut: int) -> None:
    content = zip_of(3 * MIB)
    job = copying.put(content)
    copying.server.files["a.zip"] = (content[:-cut], WHEN)
    with pytest.raises(TransferTruncatedError, match="ended before"):
        copying.run(replace(job, accept_truncated=True))
    assert copying.published() == []


def test_a_file_that_goes_on_is_not_published(copying: Copying) -> None:
    content = zip_of(2 * MIB)
    job = copying.put(content)
    copying.server.files["a.zip"] = (content + b"x", WHEN)
    with pytest.raises(TransferTruncatedError, match="exceeds its listed"):
        copying.run(replace(job, accept_truncated=True))
    assert copying.published() == []


def test_a_file_that_was_replaced_meanwhile_is_not_published(copying: Copying) -> None:
    job = copying.put(zip_of(2 * MIB))
    later = WHEN.replace(second=8)
    copying.server.before_stat = lambda: copying.server.put("a.zip", zip_of(2 * MIB), later)
    with pytest.raises(TransferTruncatedError, match="changed"):
        copying.run(job)
    assert copying.published() == []


def test_a_file_that_was_deleted_after_its_last_byte_is_published(copying: Copying) -> None:
    for content in (zip_of(2 * MIB), b"no zip"):
        job = copying.put(content)
        copying.server.before_stat = copying.server.files.clear
        copying.run(job)
        assert copying.published()[-1] == content


@pytest.mark.parametrize("listed", [True, False])
def test_a_half_written_file_that_the_server_refuses_to_stat_is_not_published(copying: Copying, listed: bool) -> None:
    job = copying.put(zip_of(2 * MIB)[:MIB])
    copying.server.forbidden_to_stat.add("a.zip")
    if not listed:
        copying.server.unlisted.add("a.zip")
        copying.server.unread = (Unread(text="??? a.zip"),)
    assert copying.run(job).outcome is CopyOutcome.TRUNCATED
    assert copying.published() == []


def test_a_file_that_the_server_refuses_to_stat_and_lists_anew_is_not_published(copying: Copying) -> None:
    job = copying.put(zip_of(2 * MIB))
    copying.server.forbidden_to_stat.add("a.zip")
    later = WHEN.replace(second=8)
    copying.server.before_list = lambda: copying.server.put("a.zip", zip_of(2 * MIB), later)
    with pytest.raises(TransferTruncatedError, match="changed"):
        copying.run(job)
    assert copying.published() == []


def test_a_file_that_is_listed_as_empty_and_is_not_is_not_published(copying: Copying) -> None:
    job = copying.put(b"")
    copying.server.put("a.zip", b"content", WHEN)
    with pytest.raises(TransferTruncatedError, match="exceeds its listed 0 bytes"):
        copying.run(job)
    assert copying.published() == []


def test_a_truncated_tail_is_published_only_when_it_is_accepted(copying: Copying) -> None:
    job = copying.put(b"x" * 3 * MIB)
    assert copying.run(job).outcome is CopyOutcome.TRUNCATED
    assert copying.published() == []
    result = copying.run(replace(job, accept_truncated=True))
    assert result.metadata is not None
    assert not result.metadata.complete
    assert len(copying.published()) == 1


def test_bytes_of_the_previous_version_are_not_published_again(copying: Copying) -> None:
    content = zip_of(MIB)
    job = replace(copying.put(content), previous_sha256=hashlib.sha256(content).hexdigest())
    assert copying.run(job).outcome is CopyOutcome.SAME
    assert copying.published() == []


def test_what_is_there_is_not_copied(copying: Copying) -> None:
    job = copying.put(zip_of(MIB))
    first = copying.run(job)
    copying.server.calls.clear()
    again = copying.run(job)
    assert (again.metadata, again.received) == (first.metadata, 0)
    assert copying.reads() == []


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_broken_transfer_keeps_its_blocks_and_goes_on_there(copying: Copying, at: int) -> None:
    content = zip_of(6 * MIB)
    job = copying.put(content)
    copying.server.breaks_at["a.zip"] = at * MIB
    with pytest.raises(SourceUnavailableError):
        copying.run(job)
    assert copying.published() == []
    copying.server.calls.clear()
    result = copying.run(job)
    # The last known block shows whether the server continues at the right offset.
    assert copying.reads() == [(at - 1) * MIB]
    assert result.received == len(content) - (at - 1) * MIB
    assert copying.published() == [content]
    assert result.metadata is not None
    assert result.metadata.sha256 == hashlib.sha256(content).hexdigest()


def test_gaps_are_filled_and_the_last_block_is_always_read(copying: Copying) -> None:
    content = zip_of(6 * MIB)
    job = copying.put(content)
    blob = copying.store.upload(job.archive)
    stage(blob, content, [Span(number * MIB, MIB) for number in (0, 1, 3, 4, 5)])
    result = copying.run(job)
    # From the block before the gap, and from the one before the last.
    assert copying.reads() == [MIB, 4 * MIB]
    assert result.received == 4 * MIB
    assert copying.published() == [content]


def test_blocks_of_another_grid_are_not_used(copying: Copying) -> None:
    content = zip_of(4 * MIB)
    job = copying.put(content)
    stage(copying.store.upload(job.archive), bytes(4 * MIB), [Span(0, 2 * MIB), Span(MIB // 2, MIB)])
    copying.run(job)
    assert copying.reads() == [0]
    assert copying.published() == [content]


def test_running_out_of_time_keeps_what_was_staged(copying: Copying) -> None:
    content = zip_of(6 * MIB)
    job = copying.put(content)
    copying.server.piece = MIB // 4
    copying.pieces_until_stop = 3 * 4 + 2
    with pytest.raises(OutOfTimeError):
        copying.run(job)
    assert len(copying.store.staged) == 3
    copying.pieces_until_stop = 10**9
    assert copying.run(job).received == 4 * MIB
    assert copying.published() == [content]


def test_of_two_copiers_one_wins_and_the_other_sees_what_it_published(copying: Copying) -> None:
    content = zip_of(2 * MIB)
    job = copying.put(content)
    other = Copying()
    other.server, other.store = copying.server, copying.store
    results: list[CopyResult] = []

    def overtaken() -> None:
        copying.server.before_stat = lambda: None
        results.append(other.run(job))

    copying.server.before_stat = overtaken
    results.append(copying.run(job))
    assert results[0].metadata == results[1].metadata
    assert copying.published() == [content]


def test_a_committed_archive_without_hashes_is_read_back_not_copied_again(copying: Copying) -> None:
    content = zip_of(2 * MIB)
    job = copying.put(content)
    copying.run(job)
    copying.store.blobs[key_of(job.archive)].metadata = None
    copying.server.calls.clear()
    result = copying.run(job)
    assert copying.reads() == []
    assert copying.store.find(job.archive) == Published(result.metadata)
    assert result.metadata is not None
    assert result.metadata.sha256 == hashlib.sha256(content).hexdigest()


def test_an_error_of_the_store_passes_through_and_nothing_is_published(copying: Copying) -> None:
    def refuse(offset: int) -> None:
        if offset == 2 * MIB:
            raise StoreUnavailableError("stage: 503")

    copying.store.before_stage = refuse
    with pytest.raises(StoreUnavailableError):
        copying.run(copying.put(zip_of(9 * MIB)))
    assert copying.published() == []


def test_memory_is_bounded_by_blocks_in_flight(copying: Copying) -> None:
    """However slow the store is, no more is read than the buffers hold."""
    total, release, furthest = 30, threading.Event(), 0
    full = threading.Event()

    def read(offset: int) -> None:
        nonlocal furthest
        furthest = max(furthest, offset)
        if offset >= (BUFFERS - 1) * MIB:
            full.set()

    def stage(_: int) -> None:
        assert release.wait(10)

    copying.server.before_read["a.zip"] = read
    copying.store.before_stage = stage
    job = copying.put(zip_of(total * MIB))
    copier = threading.Thread(target=copying.run, args=(job,))
    copier.start()
    assert full.wait(10)
    assert not copying.store.staged
    # There is no event to wait for: reading that stops can only be observed for a moment.
    copier.join(0.05)
    assert furthest < BUFFERS * MIB
    release.set()
    copier.join(10)
    assert len(copying.published()[0]) == total * MIB


def test_blocks_are_staged_while_the_next_are_read(copying: Copying) -> None:
    first_staged = threading.Event()
    copying.store.before_stage = lambda offset: first_staged.set() if offset == 0 else None
    copying.server.before_read["a.zip"] = lambda offset: first_staged.wait(10) if offset == 3 * MIB else None
    copying.run(copying.put(zip_of(5 * MIB)))
    assert first_staged.is_set()


@pytest.mark.parametrize("size", [0, 1, MIB, 8 * MIB, 400 * 2**30, 30_000 * 8 * MIB + 1, LARGEST])
def test_thirty_thousand_blocks_always_suffice(size: int) -> None:
    blocks = plan_blocks(size, 8 * MIB)
    assert len(blocks) <= 30_000
    assert sum(block.length for block in blocks) == size
    assert all(block.length >= 8 * MIB for block in blocks[:-1])


def test_runs_join_neighbours() -> None:
    blocks = [Span(0, 2), Span(2, 2), Span(6, 2), Span(10, 1), Span(11, 1)]
    assert [list(run) for run in runs(blocks)] == [blocks[:2], blocks[2:3], blocks[3:]]
    assert list(runs([])) == []


def test_a_version_is_made_of_path_size_and_time() -> None:
    file = RemoteFile(path="a.zip", size=1, modified=WHEN)
    others = [replace(file, path="b.zip"), replace(file, size=2), replace(file, modified=WHEN.replace(second=8))]
    assert len({version_of(each) for each in [file, *others]}) == 4
    assert version_of(replace(file)) == version_of(file)
