"""The contract of reading raw archives: the version that was opened, and exactly the requested bytes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from config.errors import ArchiveRefusedError
from imagefeed.errors import StoreUnavailableError
from imagefeed.model import ArchiveKey, Origin, RawArchive
from ingest.model import Archive, CopyMetadata, RemoteFile, version_of
from local.azurite import Azurite
from preprocess.ports import RawArchives
from storage.blobs import raw
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import BlobArchives
from storage.clients import Clients, connected, development_connection
from tests.fakes.preprocessing import MemoryRawArchives
from tests.faults.copies import Copy, CopyProxy
from tests.fixtures.blocks import stage_whole

NOW = datetime.now(UTC).replace(microsecond=0)
CONTENT = bytes(range(256)) * 64


class RawArchivesContract(ABC):
    raw: RawArchives
    source: str

    @abstractmethod
    def put(self, content: bytes = CONTENT, stamp: datetime = NOW, version: str = "0123abcd") -> str:
        """Write an archive as copying does, replacing an equal one. Return the blob's name."""

    @abstractmethod
    def remove(self, blob: str) -> None:
        """Delete a blob."""

    @abstractmethod
    def copy_anew(self, blob: str) -> None:
        """Begin to copy the same bytes and metadata into a blob again."""

    @abstractmethod
    def end_copy(self) -> None:
        """Let the copy that `copy_anew` began finish."""

    def archive(self, blob: str) -> RawArchive:
        archive = self.raw.find(blob)
        assert archive is not None
        return archive

    def test_what_was_copied_is_described(self) -> None:
        blob = self.put()
        archive = self.archive(blob)
        assert (archive.blob, archive.source, archive.stamp, archive.version) == (blob, self.source, NOW, "0123abcd")
        assert (archive.size, archive.origin, archive.complete) == (len(CONTENT), Origin.COPIED, True)

    def test_what_is_not_there_is_not_found(self) -> None:
        assert self.raw.find(f"{self.source}/nothing.zip") is None

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 0), (0, 1), (1, 255), (len(CONTENT) - 1, 1), (len(CONTENT), 0), (0, len(CONTENT))]
    )
    def test_exactly_the_bytes_asked_for_come(self, offset: int, length: int) -> None:
        reader = self.raw.open(self.archive(self.put()))
        assert reader.size == len(CONTENT)
        assert reader.read_range(offset, length) == CONTENT[offset : offset + length]

    def test_a_blob_that_was_replaced_is_refused(self) -> None:
        archive = self.archive(self.put())
        reader = self.raw.open(archive)
        reader.read_range(0, 10)
        self.put(CONTENT[:-1])
        with pytest.raises(ArchiveRefusedError, match="replaced"):
            reader.read_range(0, 10)

    def test_what_is_being_copied_is_pending_and_not_listed_until_it_is_whole(self) -> None:
        blob = self.put()
        assert not self.archive(blob).pending
        self.copy_anew(blob)
        assert self.archive(blob).pending
        assert list(self.raw.recent(self.source, NOW)) == []
        self.end_copy()
        assert not self.archive(blob).pending
        assert [archive.blob for archive in self.raw.recent(self.source, NOW)] == [blob]

    def test_a_reader_whose_blob_is_copied_anew_comes_back_later(self) -> None:
        blob = self.put()
        reader = self.raw.open(self.archive(blob))
        self.copy_anew(blob)
        with pytest.raises(StoreUnavailableError, match="a copy into the blob is under way"):
            reader.read_range(0, 10)
        self.end_copy()
        assert self.raw.open(self.archive(blob)).read_range(0, 10) == CONTENT[:10]

    def test_a_blob_that_was_deleted_is_refused(self) -> None:
        blob = self.put()
        reader = self.raw.open(self.archive(blob))
        self.remove(blob)
        with pytest.raises(ArchiveRefusedError):
            reader.read_range(0, 10)

    def test_recent_archives_are_those_of_the_source_from_that_stamp_on(self) -> None:
        days = [timedelta(), timedelta(days=1), timedelta(days=2, seconds=-1), timedelta(days=2), timedelta(days=3)]
        blobs = {self.put(stamp=NOW - age, version=f"{number:08}") for number, age in enumerate(days)}
        recent = self.raw.recent(self.source, NOW - timedelta(days=2))
        assert {archive.version for archive in recent} == {f"{number:08}" for number in range(4)}
        assert {archive.blob for archive in recent} < blobs
        assert list(self.raw.recent(f"{self.source}-2", NOW - timedelta(days=9))) == []


class TestMemoryRawArchives(RawArchivesContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.memory = MemoryRawArchives()
        self.raw = self.memory
        self.source = "radar"

    def put(self, content: bytes = CONTENT, stamp: datetime = NOW, version: str = "0123abcd") -> str:
        return self.memory.add(content, stamp, version, self.source).blob

    def remove(self, blob: str) -> None:
        del self.memory.blobs[blob]

    def copy_anew(self, blob: str) -> None:
        archive, content = self.memory.blobs[blob]
        self.memory.blobs[blob] = replace(archive, pending=True), content

    def end_copy(self) -> None:
        for blob, (archive, content) in self.memory.blobs.items():
            self.memory.blobs[blob] = replace(archive, pending=False), content


class TestRawBlobs(RawArchivesContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, azurite: Azurite, clients: Clients, source: str) -> Iterator[None]:
        self.source = source
        self.clients = clients
        with CopyProxy(azurite.ports.blob) as self.proxy:
            ports = {"Blob": self.proxy.port, "Queue": azurite.ports.queue, "Table": azurite.ports.table}
            with connected(development_connection(ports)) as through:
                self.raw = RawBlobs(through, lambda _source, _name: None)
                yield

    def put(self, content: bytes = CONTENT, stamp: datetime = NOW, version: str = "0123abcd") -> str:
        blob = ArchiveKey(self.source, stamp, version).raw_blob("out/ä b.zip")
        metadata = {
            "source": self.source,
            "stamp": f"{stamp:%Y%m%dT%H%M%SZ}",
            "version": version,
            "path": "out/%C3%A4%20b.zip",
            "sha256": "ab",
            "complete": "true",
        }
        self.clients.raw.upload_blob(blob, content, overwrite=True, metadata=metadata)
        return blob

    def remove(self, blob: str) -> None:
        self.clients.raw.delete_blob(blob)

    def copy_anew(self, blob: str) -> None:
        aside = self.clients.raw.get_blob_client(f"{self.source}/aside")
        aside.start_copy_from_url(self.clients.raw.get_blob_client(blob).url)
        self.clients.raw.get_blob_client(blob).start_copy_from_url(aside.url)
        self.proxy.copies[blob] = Copy("pending")

    def end_copy(self) -> None:
        self.proxy.copies.clear()

    def test_an_archive_that_copying_stored_is_described_as_it_was_on_its_server(self) -> None:
        file = RemoteFile(path="out/no utf-8 \udcff.zip", size=4, modified=NOW)
        archive = Archive(source=self.source, file=file, version=version_of(file), stamp=NOW)
        upload = BlobArchives(self.clients).upload(archive)
        copied = CopyMetadata(sha256=hashlib.sha256(b"zip!").hexdigest(), complete=False)
        upload.commit(stage_whole(upload, b"zip!"), copied)
        (raw,) = self.raw.recent(self.source, NOW)
        assert (raw.path, raw.key) == (file.path, archive.key)
        assert (raw.sha256, raw.complete, raw.origin) == (copied.sha256, False, Origin.COPIED)
        assert raw == self.raw.find(raw.blob)

    def test_a_blob_that_was_copied_in_several_tries_is_pending_until_it_was_read_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a blob that is then found to differ, and removed, would have been processed."""
        file = RemoteFile(path="out/a.zip", size=4, modified=NOW)
        archive = Archive(source=self.source, file=file, version=version_of(file), stamp=NOW)
        upload, blob = BlobArchives(self.clients).upload(archive), archive.key.raw_blob(file.path)
        upload.commit(stage_whole(upload, b"zip!"), None)
        assert self.archive(blob).pending
        assert not self.raw.recent(self.source, NOW)
        with monkeypatch.context() as later:
            later.setattr(raw, "_READ_BACK_WITHIN", timedelta(0))
            assert not self.archive(blob).pending, "not for ever"
        upload.amend(CopyMetadata(sha256="ab", complete=True))
        assert not self.archive(blob).pending
        assert [listed.blob for listed in self.raw.recent(self.source, NOW)] == [blob]

    def test_hashes_that_copying_adds_later_do_not_disturb_a_reader(self) -> None:
        blob = self.put()
        reader = self.raw.open(self.archive(blob))
        reader.read_range(0, 10)
        client = self.clients.raw.get_blob_client(blob)
        client.set_blob_metadata({**client.get_blob_properties().metadata, "sha256": "cd"})
        assert reader.read_range(5, 5) == CONTENT[5:10]

    def test_an_archive_of_which_the_ledger_knows_no_etag_is_read_all_the_same(self) -> None:
        reader = self.raw.open(replace(self.archive(self.put()), etag=""))
        assert reader.read_range(5, 5) == CONTENT[5:10]

    def test_a_directory_that_points_beyond_the_end_is_the_archives_fault(self) -> None:
        reader = self.raw.open(self.archive(self.put()))
        with pytest.raises(ArchiveRefusedError, match="damaged"):
            reader.read_range(len(CONTENT) - 1, 2)

    def test_a_zip_put_there_by_hand_has_its_facts_from_name_size_and_etag(self) -> None:
        blob = f"{self.source}/my ü.zip"
        self.clients.raw.upload_blob(blob, CONTENT)
        archive = self.archive(blob)
        assert (archive.source, archive.path, archive.origin) == (self.source, blob, Origin.MANUAL)
        assert abs(archive.stamp - datetime.now(UTC)) < timedelta(minutes=1)
        assert archive.stamp.microsecond == 0
        assert archive == self.archive(blob)
        self.clients.raw.upload_blob(blob, CONTENT, overwrite=True)
        again = self.archive(blob)
        assert again.version != archive.version
        with pytest.raises(ArchiveRefusedError, match="replaced"):
            self.raw.open(archive).read_range(0, 1)

    def test_the_stamp_of_a_zip_put_there_by_hand_may_be_in_its_name(self) -> None:
        asked: list[tuple[str, str]] = []

        def stamp_of(source: str, name: str) -> datetime:
            asked.append((source, name))
            return datetime(2020, 1, 2, tzinfo=UTC)

        self.clients.raw.upload_blob(f"{self.source}/sub/radar_20200102.zip", b"x")
        archive = RawBlobs(self.clients, stamp_of).find(f"{self.source}/sub/radar_20200102.zip")
        assert archive is not None
        assert archive.stamp == datetime(2020, 1, 2, tzinfo=UTC)
        assert asked == [(self.source, "radar_20200102.zip")]

    @pytest.mark.parametrize("prefix", ["", "No Name/", "x" * 33 + "/"])
    def test_what_lies_in_no_sources_folder_has_the_source_hand(self, prefix: str) -> None:
        blob = f"{prefix}{self.source}.zip"
        self.clients.raw.upload_blob(blob, b"x")
        assert self.archive(blob).source == "manual"

    @pytest.mark.parametrize("name", ["source", "stamp", "version"])
    def test_metadata_that_is_not_ours_is_not_believed(self, name: str) -> None:
        blob = self.put()
        client = self.clients.raw.get_blob_client(blob)
        client.set_blob_metadata({**client.get_blob_properties().metadata, name: "No/Such"})
        assert self.archive(blob).origin is Origin.MANUAL

    def test_folders_and_other_files_are_no_archives(self) -> None:
        day = f"{self.source}/{NOW:%Y/%m/%d}"
        self.clients.raw.upload_blob(f"{day}/10.zip", b"", metadata={"hdi_isfolder": "true"})
        self.clients.raw.upload_blob(f"{day}/read.me", b"x")
        assert list(self.raw.recent(self.source, NOW - timedelta(hours=1))) == []
        assert self.raw.find(f"{day}/10.zip") is None
