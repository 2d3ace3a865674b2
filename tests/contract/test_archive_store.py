"""The contract of stores that copying writes archives to: nothing is visible before the commit, and one commit wins."""

import hashlib
from abc import ABC, abstractmethod
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagefeed.errors import StoreRefusedError
from ingest.model import Archive, Block, CommitOutcome, CopyMetadata, Published, RemoteFile, Span, Staged, version_of
from ingest.ports import ArchiveStore
from ingest.stager import LARGEST
from storage.blobs.raw_upload import BlobArchives
from storage.clients import Clients
from tests.fakes.copying import FakeArchives, key_of
from tests.fixtures.blocks import stage, stage_whole

MOMENT = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
CONTENT = bytes(range(256)) * 40


def archive_of(source: str, path: str = "out/radar 1.zip", size: int = len(CONTENT)) -> Archive:
    file = RemoteFile(path=path, size=size, modified=MOMENT)
    return Archive(source=source, file=file, version=version_of(file), stamp=MOMENT)


def metadata_of(content: bytes, *, complete: bool = True) -> CopyMetadata:
    return CopyMetadata(sha256=hashlib.sha256(content).hexdigest(), complete=complete)


METADATA = metadata_of(CONTENT)


class ArchiveStoreContract(ABC):
    store: ArchiveStore
    source: str

    @abstractmethod
    def peek(self, archive: Archive) -> bytes | None:
        """Read an archive behind the store's back; None if nothing is visible."""

    def stage(self, archive: Archive, content: bytes = CONTENT, block: int = 4096) -> list[Block]:
        """Stage all of `content`, the last block first."""
        spans = [Span(start, len(content[start : start + block])) for start in range(0, len(content), block)]
        return stage(self.store.upload(archive), content, spans[::-1])[::-1]

    def test_staged_blocks_are_invisible_until_the_commit(self) -> None:
        archive = archive_of(self.source)
        spans = self.stage(archive)
        assert self.peek(archive) is None
        assert self.store.find(archive) is None
        assert self.store.upload(archive).commit(spans, METADATA) is CommitOutcome.STORED
        assert self.peek(archive) == CONTENT

    def test_staged_blocks_are_known_to_whoever_goes_on_in_order_of_their_offsets(self) -> None:
        archive = archive_of(self.source)
        assert self.store.upload(archive).staged() == Staged()
        blocks = self.stage(archive)
        assert self.store.upload(archive).staged() == Staged(blocks=tuple(blocks))

    def test_blocks_of_one_place_that_differ_are_kept_apart_and_the_commit_chooses(self) -> None:
        archive = archive_of(self.source, size=4)
        upload = self.store.upload(archive)
        (junk,) = stage_whole(upload, b"junk")
        (good,) = stage_whole(upload, b"good")
        (later,) = stage(upload, b"good", [Span(0, 4)], "ffffff")
        assert stage_whole(upload, b"junk") == [junk]
        assert set(upload.staged().blocks) == {junk, good, later}
        upload.commit([good], metadata_of(b"good"))
        assert self.peek(archive) == b"good"
        assert list(upload.committed()) == [good]

    def test_the_largest_offset_and_every_checksum_fit_into_an_id(self) -> None:
        upload = self.store.upload(archive_of(self.source))
        blocks = [
            Block(Span(LARGEST - 1, 1), "ffffff", 2**64 - 1),
            Block(Span(0, 1), "000000", 0),
            *(Block(Span(1, 1), f"{n:06x}", 2**n) for n in range(64)),
        ]
        for block in blocks:
            upload.stage(block, memoryview(b"x"))
        assert set(upload.staged().blocks) == set(blocks)

    def test_a_blob_is_removed_after_it_was_read_back(self) -> None:
        archive = archive_of(self.source)
        upload = self.store.upload(archive)
        upload.commit(self.stage(archive), None)
        assert b"".join(upload.read_back()) == CONTENT
        upload.remove()
        upload.remove()
        assert self.store.find(archive) is None
        assert upload.commit(self.stage(archive), METADATA) is CommitOutcome.STORED

    def test_a_blob_that_was_published_after_the_read_back_is_not_removed(self) -> None:
        archive = archive_of(self.source)
        upload, other = self.store.upload(archive), self.store.upload(archive)
        for each in (upload, other):
            each.commit(self.stage(archive, CONTENT[::-1]), None)
            list(each.read_back())
        other.remove()
        other.commit(self.stage(archive), METADATA)
        upload.remove()
        assert self.peek(archive) == CONTENT

    def test_blocks_may_be_staged_by_several_threads(self) -> None:
        archive = archive_of(self.source)
        upload = self.store.upload(archive)
        spans = [Span(start, 512) for start in range(0, len(CONTENT), 512)]
        with ThreadPoolExecutor(8) as pool:
            blocks = list(pool.map(lambda span: stage(upload, CONTENT, [span])[0], spans))
        assert upload.commit(blocks, METADATA) is CommitOutcome.STORED
        assert self.peek(archive) == CONTENT

    def test_an_empty_archive_is_stored_too(self) -> None:
        archive = archive_of(self.source, size=0)
        assert self.store.upload(archive).commit([], metadata_of(b"")) is CommitOutcome.STORED
        assert self.peek(archive) == b""

    def test_metadata_come_back_as_they_were_committed(self) -> None:
        archive = archive_of(self.source)
        metadata = metadata_of(CONTENT, complete=False)
        self.store.upload(archive).commit(self.stage(archive), metadata)
        assert self.store.find(archive) == Published(metadata)

    def test_an_archive_without_hashes_is_there_with_nothing_known_until_they_are_set(self) -> None:
        archive = archive_of(self.source)
        upload = self.store.upload(archive)
        assert upload.commit(self.stage(archive), None) is CommitOutcome.STORED
        assert self.store.find(archive) == Published(None)
        assert b"".join(upload.read_back()) == CONTENT
        upload.amend(METADATA)
        assert self.store.find(archive) == Published(METADATA)
        assert self.peek(archive) == CONTENT

    def test_a_second_commit_leaves_the_first_alone(self) -> None:
        archive = archive_of(self.source)
        self.store.upload(archive).commit(self.stage(archive), METADATA)
        late = self.store.upload(archive)
        assert late.commit(stage_whole(late, b"late"), metadata_of(b"late")) is CommitOutcome.ALREADY_THERE
        assert self.peek(archive) == CONTENT
        assert self.store.find(archive) == Published(METADATA)

    def test_of_two_copiers_of_the_same_blocks_one_wins_and_the_other_sees_it(self) -> None:
        archive = archive_of(self.source)
        uploads = [self.store.upload(archive), self.store.upload(archive)]
        spans = self.stage(archive)
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda upload: upload.commit(spans, METADATA), uploads))
        assert sorted(outcome.name for outcome in outcomes) == ["ALREADY_THERE", "STORED"]
        assert self.peek(archive) == CONTENT

    def test_spans_with_a_gap_are_never_published(self) -> None:
        archive = archive_of(self.source)
        spans = self.stage(archive)
        with pytest.raises(ValueError, match="commit"):
            self.store.upload(archive).commit([spans[0], spans[2]], METADATA)
        assert self.peek(archive) is None

    def test_versions_of_one_path_are_archives_of_their_own(self) -> None:
        first, second = archive_of(self.source, size=3), archive_of(self.source, size=4)
        for archive, content in ((first, b"one"), (second, b"four")):
            self.store.upload(archive).commit(self.stage(archive, content), metadata_of(content))
        assert (self.peek(first), self.peek(second)) == (b"one", b"four")

    @pytest.mark.parametrize("path", ["ü/ß.zip", "a b%20+.ZIP", "no utf-8 \udcff.zip", "x" * 300 + ".zip", ".zip"])
    def test_odd_names_are_no_trouble(self, path: str) -> None:
        archive = archive_of(self.source, path=path)
        self.store.upload(archive).commit(self.stage(archive), METADATA)
        assert self.store.find(archive) == Published(METADATA)


class TestFakeArchives(ArchiveStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.fake = FakeArchives()
        self.store = self.fake
        self.source = "radar"

    def peek(self, archive: Archive) -> bytes | None:
        blob = self.fake.blobs.get(key_of(archive))
        return blob.content if blob else None


class TestBlobArchives(ArchiveStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.store = BlobArchives(clients)
        self.source = source
        self.clients = clients

    def peek(self, archive: Archive) -> bytes | None:
        names = self.names(archive)
        return self.clients.raw.download_blob(names[0]).readall() if names else None

    def names(self, archive: Archive) -> list[str]:
        listed = self.clients.raw.list_blob_names(name_starts_with=f"{archive.source}/")
        return [name for name in listed if f".{archive.version}." in name]

    def test_the_name_lists_by_hour_and_the_metadata_tells_the_rest(self) -> None:
        archive = replace(archive_of(self.source, path="ä/radar 1.zip"), replaces="stamp")
        self.store.upload(archive).commit(self.stage(archive), METADATA)
        (name,) = self.names(archive)
        assert name == f"{self.source}/2026/03/01/10/20260301T102030Z.{archive.version}.radar_1.zip"
        found = self.clients.raw.get_blob_client(name).get_blob_properties()
        assert found.metadata == {
            "origin": "copied",
            "source": self.source,
            "path": "%C3%A4/radar%201.zip",
            "size": str(len(CONTENT)),
            "modified": "20260301T102030Z",
            "stamp": "20260301T102030Z",
            "stamp_replaced": "false",
            "replaces": "stamp",
            "version": archive.version,
            "sha256": METADATA.sha256,
            "complete": "true",
        }
        assert found.content_settings.content_type == "application/zip"
        assert found.content_settings.content_md5 is None

    @pytest.mark.parametrize("length", [1, 2, 3, 11, 22, 23, 24, 44, 48, 64])
    def test_blocks_of_another_program_hold_up_nothing_whatever_their_ids(self, length: int) -> None:
        """The service refuses a block whose id is shorter or longer than the blob's other ids."""
        archive = archive_of(self.source)
        blob = self.clients.raw.get_blob_client(archive.key.raw_blob(archive.file.path))
        blob.stage_block("7" * length, b"other")
        upload = self.store.upload(archive)
        assert upload.staged() == Staged(foreign=1)
        spans = [Span(start, 1024) for start in range(0, len(CONTENT), 1024)]
        blocks = stage(upload, CONTENT, spans)
        assert stage(upload, CONTENT, spans[:2]) == blocks[:2]
        if length >= 23:
            assert self.store.upload(archive).staged() == Staged(blocks=tuple(blocks), foreign=1)
        assert upload.commit(blocks, METADATA) is CommitOutcome.STORED
        assert self.peek(archive) == CONTENT
        assert list(upload.committed()) == (blocks if length >= 23 else [])

    def test_ids_that_are_no_text_hold_up_nothing_either(self) -> None:
        archive = archive_of(self.source)
        blob = self.clients.raw.get_blob_client(archive.key.raw_blob(archive.file.path))
        # As .NET's SDK makes them, around the offset.
        name = (128).to_bytes(8, "little") + bytes(40)
        blob._client.block_blob.stage_block(b64encode(name).decode(), 5, b"other")
        upload = self.store.upload(archive)
        assert upload.staged() == Staged(foreign=1)
        assert upload.commit(stage_whole(upload, CONTENT), METADATA) is CommitOutcome.STORED

    def test_ids_too_short_for_all_blocks_are_an_error_that_says_what_to_do(self) -> None:
        archive = archive_of(self.source)
        self.clients.raw.get_blob_client(archive.key.raw_blob(archive.file.path)).stage_block("7", b"other")
        upload = self.store.upload(archive)
        upload.staged()
        with pytest.raises(StoreRefusedError, match="ids of 1 bytes leave room for 64 blocks; delete"):
            stage(upload, CONTENT, [Span(number, 1) for number in range(65)])

    def test_a_commit_whose_blocks_another_commit_took_along_sees_that_it_is_there(self) -> None:
        archive = archive_of(self.source)
        blocks = self.stage(archive)
        self.store.upload(archive).commit(blocks, METADATA)
        assert self.store.upload(archive).commit(blocks, METADATA) is CommitOutcome.ALREADY_THERE
