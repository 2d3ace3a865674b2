"""What copying relies on when it writes archives: nothing shows before the commit, and one commit wins."""

import hashlib
from abc import ABC, abstractmethod
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from azure.storage.blob import BlobServiceClient

from ingest.model import Archive, CommitOutcome, CopyMetadata, Published, RemoteFile, Span, version_of
from ingest.ports import ArchiveStore
from local.azurite import Azurite
from storage.blobs.raw_upload import BlobArchives
from storage.clients import Clients
from tests.fakes.copying import FakeArchives, key_of

MOMENT = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
CONTENT = bytes(range(256)) * 40


def archive_of(source: str, path: str = "out/radar 1.zip", size: int = len(CONTENT)) -> Archive:
    file = RemoteFile(path=path, size=size, modified=MOMENT)
    return Archive(source=source, file=file, version=version_of(file), stamp=MOMENT)


def metadata_of(content: bytes, *, complete: bool = True) -> CopyMetadata:
    # MD5 is what Azure calls Content-MD5.
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    return CopyMetadata(sha256=hashlib.sha256(content).hexdigest(), md5=md5, complete=complete)


METADATA = metadata_of(CONTENT)


class ArchiveStoreContract(ABC):
    store: ArchiveStore
    source: str

    @abstractmethod
    def peek(self, archive: Archive) -> bytes | None:
        """Read an archive behind the store's back; None if nothing is visible."""

    def stage(self, archive: Archive, content: bytes = CONTENT, block: int = 4096) -> list[Span]:
        """Stage all of `content`, the last block first."""
        upload = self.store.upload(archive)
        spans = [Span(start, len(content[start : start + block])) for start in range(0, len(content), block)]
        for span in reversed(spans):
            upload.stage(span.offset, memoryview(content)[span.offset : span.offset + span.length])
        return spans

    def test_staged_blocks_are_invisible_until_the_commit(self) -> None:
        archive = archive_of(self.source)
        spans = self.stage(archive)
        assert self.peek(archive) is None
        assert self.store.find(archive) is None
        assert self.store.upload(archive).commit(spans, METADATA) is CommitOutcome.STORED
        assert self.peek(archive) == CONTENT

    def test_staged_blocks_are_known_to_whoever_goes_on_in_order_of_their_offsets(self) -> None:
        archive = archive_of(self.source)
        assert list(self.store.upload(archive).staged()) == []
        spans = self.stage(archive)
        assert list(self.store.upload(archive).staged()) == spans

    def test_a_block_staged_again_replaces_the_first(self) -> None:
        archive = archive_of(self.source, size=4)
        upload = self.store.upload(archive)
        upload.stage(0, memoryview(b"junk"))
        upload.stage(0, memoryview(b"good"))
        assert list(upload.staged()) == [Span(0, 4)]
        upload.commit([Span(0, 4)], metadata_of(b"good"))
        assert self.peek(archive) == b"good"

    def test_blocks_may_be_staged_by_several_threads(self) -> None:
        archive = archive_of(self.source)
        upload = self.store.upload(archive)
        spans = [Span(start, 512) for start in range(0, len(CONTENT), 512)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda span: upload.stage(span.offset, memoryview(CONTENT)[span.offset :][:512]), spans))
        assert upload.commit(spans, METADATA) is CommitOutcome.STORED
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
        late.stage(0, memoryview(b"late"))
        assert late.commit([Span(0, 4)], metadata_of(b"late")) is CommitOutcome.ALREADY_THERE
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
        assert bytes(found.content_settings.content_md5 or b"") == METADATA.md5

    def test_the_service_is_given_the_means_to_refuse_a_damaged_block(self, azurite: Azurite) -> None:
        sent: list[str | None] = []
        service = BlobServiceClient.from_connection_string(
            azurite.connection,
            raw_request_hook=lambda request: sent.append(request.http_request.headers.get("Content-MD5")),
        )
        with service:
            watched = BlobArchives(replace(self.clients, raw=service.get_container_client("raw")))
            watched.upload(archive_of(self.source)).stage(0, memoryview(CONTENT))
        assert sent == [b64encode(METADATA.md5).decode()]

    def test_a_commit_whose_blocks_another_commit_took_along_sees_that_it_is_there(self) -> None:
        archive = archive_of(self.source)
        spans = self.stage(archive)
        self.store.upload(archive).commit(spans, METADATA)
        assert self.store.upload(archive).commit(spans, METADATA) is CommitOutcome.ALREADY_THERE
