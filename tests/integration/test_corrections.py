"""Files that are corrected under their old names, from a server to readers: which version readers use."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.operations import counted
from imagefeed.ledger import entries
from imagefeed.model import RawArchive, Replaces, State
from imagefeed.tables import Reader, StoredImage
from ingest.model import SourceSpec
from ingest.poll import poll
from local.azurite import Azurite
from ops.cli.__main__ import main
from ops.health.audit import audit
from ops.health.findings import Finding, Severity, Slug
from ops.health.load import read_source
from ops.health.promises import Held
from preprocess.context import Context
from preprocess.handlers import handle_archive_created
from preprocess.model import BatchSizes, Limits, Recipe
from preprocess.zip import end
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.queues.messages import BatchMessages
from storage.rebuild import rebuild
from storage.results import ShardsAndRows
from storage.tables.archives import TableCopyLedger
from storage.tables.batches import TableBatchLedger
from tests.fakes.remote import FakeServer
from tests.unit.preprocess.pictures import encoded
from tests.unit.preprocess.zips import zipped

NOW = datetime.now(UTC).replace(microsecond=0)
STAMP = (NOW - timedelta(hours=2)).replace(second=0)
MINUTE = timedelta(minutes=1)
NAME = f"radar_{STAMP:%Y%m%d%H%M}.zip"
WAYS = ("between", "rows", "shards")
BROKEN = b"PK\x05\x06" + bytes(18)
"""A zip without members, from which nothing can be read."""


class World:
    """A server's files, polled into a real storage and preprocessed there."""

    def __init__(self, clients: Clients, source: str) -> None:
        self.clients, self.source = clients, source
        self.server = FakeServer()
        self.spec = SourceSpec(name=source, stamp="radar_%Y%m%d%H%M", max_connections=1, stable_for=timedelta(0))
        self.pipeline = f"p-{source[2:]}"
        self.context = Context(
            raw=RawBlobs(clients, lambda _source, _name: None),
            results=ShardsAndRows(clients, "npy", 8),
            ledger=TableBatchLedger(clients),
            queue=BatchMessages(clients),
            recipe=Recipe(width=8, height=8, fit="none"),
            hook=None,
            pipeline=self.pipeline,
            limits=Limits(),
            sizes=BatchSizes(),
        )

    def send(self, grey: int, modified: datetime, name: str = NAME, *, process: bool = True) -> RawArchive:
        """Put a file of one grey image on the server; it is copied and preprocessed."""
        image = encoded(np.full((8, 8, 3), grey, np.uint8), "PNG")
        return self.put(zipped(("a.png", image)), modified, name, process=process)

    def put(self, content: bytes, modified: datetime, name: str = NAME, *, process: bool = True) -> RawArchive:
        self.server.put(name, content, modified)
        states, store = BlobSourceStates(self.clients), BlobArchives(self.clients)
        report = poll(self.spec, self.server, states, store, TableCopyLedger(self.clients), zip_end=end)
        assert (report.error, len(report.copied)) == (None, 1)
        version = report.copied[0].version
        (archive,) = (e.archive for e in entries(self.clients, self.source) if e.archive.version == version)
        if process:
            handle_archive_created(archive.blob, self.context)
        return archive

    def read(self, way: str, start: datetime = STAMP, end: datetime = NOW, **more: Any) -> list[int]:
        """Return the greys that one way of reading returns."""
        reader = Reader(self.clients, self.pipeline)
        images = getattr(reader, way)(self.source, start, end, **more)
        return greys(reader.image(image) if way == "rows" else image for image in images)

    def latest(self, archives: int = 1, **more: Any) -> list[int]:
        return greys(Reader(self.clients, self.pipeline).latest(self.source, archives, **more))

    def findings(self) -> Sequence[Finding]:
        """Return an audit's findings about corrections."""
        held = Held(promises={self.source: self.spec})
        since = STAMP - timedelta(hours=1)
        outcome = audit(
            self.clients, self.source, since=since, now=NOW, held=held, stamp_of=lambda _source, _name: None
        )
        return [finding for finding in outcome.findings if finding.slug.startswith("correction")]


def greys(images: Iterable[StoredImage]) -> list[int]:
    return [int(image.pixels[0, 0, 0]) for image in images]


@pytest.fixture
def world(clients: Clients, source: str) -> World:
    return World(clients, source)


@pytest.fixture
def command(
    world: World, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)

    def run(*arguments: str) -> Any:
        assert main([*arguments, "--pipeline", world.pipeline, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_corrected_file_alone_is_read_and_all_versions_on_request(world: World, way: str) -> None:
    world.send(10, STAMP)
    world.send(20, STAMP + MINUTE)
    assert [entry.state for entry in entries(world.clients, world.source)] == [State.PROCESSED] * 2
    assert world.read(way) == [20]
    assert sorted(world.read(way, versions="all")) == [10, 20]
    assert world.latest(2) == [20]
    assert sorted(world.latest(2, versions="all")) == [10, 20]


def test_an_older_file_that_comes_later_replaces_nothing(world: World) -> None:
    world.send(20, STAMP + MINUTE)
    world.send(10, STAMP)
    assert [world.read(way) for way in WAYS] == [[20]] * 3
    assert not world.findings()


def test_readers_keep_the_older_version_until_the_newer_one_is_processed(world: World) -> None:
    older = world.send(10, STAMP)
    newer = world.send(20, STAMP + MINUTE, process=False)
    assert [world.read(way) for way in WAYS] == [[10]] * 3
    (finding,) = world.findings()
    assert (finding.slug, finding.severity) == (Slug.CORRECTION_PENDING, Severity.NOTICE)
    assert (finding.archive, finding.name) == (newer.key.id, NAME)
    assert finding.detail == f"readers use version {older.version}; it is raw"
    handle_archive_created(newer.blob, world.context)
    assert world.read("between") == [20]
    assert not world.findings()


def test_the_older_version_is_read_again_while_the_newer_one_is_replayed(world: World) -> None:
    world.send(10, STAMP)
    newer = world.send(20, STAMP + MINUTE)
    world.context.ledger.reset(newer, world.pipeline, NOW, NOW)
    assert [world.read(way) for way in WAYS] == [[10]] * 3


def test_a_pipeline_that_has_the_older_version_alone_is_read_with_that(world: World) -> None:
    older = world.send(10, STAMP)
    world.send(20, STAMP + MINUTE)
    world.pipeline += "-2"
    world.context = replace(world.context, pipeline=world.pipeline)
    handle_archive_created(older.blob, world.context)
    assert [world.read(way) for way in WAYS] == [[10]] * 3


def test_a_correction_that_is_refused_is_missing_until_another_one_is_processed(world: World) -> None:
    world.send(10, STAMP)
    refused = world.put(BROKEN, STAMP + MINUTE, process=False)
    TableBatchLedger(world.clients).refuse(refused, world.pipeline, "no zip at all", NOW)
    (finding,) = world.findings()
    assert (finding.slug, finding.severity) == (Slug.CORRECTION_FAILED, Severity.MISSING)
    assert "it is refused: no zip at all" in finding.detail
    assert world.read("between") == [10]
    world.send(30, STAMP + 2 * MINUTE)
    assert world.read("between") == [30]
    assert not world.findings()


def test_twenty_contents_of_one_name_are_twenty_archives(world: World) -> None:
    for number in range(20):
        world.send(number, STAMP + number * MINUTE, "latest.zip")
    assert [world.read(way) for way in ("between", "rows")] == [list(range(20))] * 2
    assert world.read("shards") == [*reversed(range(20))]


@pytest.mark.parametrize(("rule", "read"), [("path", [5]), ("never", [3, 4, 5])])
def test_the_setting_says_what_is_replaced(world: World, rule: Replaces, read: list[int]) -> None:
    world.spec = replace(world.spec, replaces=rule)
    for number in (3, 4, 5):
        world.send(number, STAMP + number * MINUTE, "latest.zip")
    assert world.read("between") == read
    assert world.latest(3) == read[::-1]


def test_what_a_version_behind_the_range_replaces_is_left_out_for_one_request(world: World) -> None:
    world.spec = replace(world.spec, replaces="path")
    for number in range(4):
        world.send(number, STAMP + number * MINUTE, "latest.zip")
    assert world.read("between", end=STAMP + 2 * MINUTE) == []
    assert world.read("between", end=STAMP + 2 * MINUTE, versions="all") == [0, 1]
    with counted() as inside:
        world.read("rows")
    with counted() as before:
        world.read("rows", end=STAMP + 2 * MINUTE)
    # The time behind the range is requested too, even if it has no archives.
    assert (inside.kinds["GET archives"], before.kinds["GET archives"]) == (2, 2)


def test_a_range_whose_stamps_are_named_costs_no_request_more(world: World) -> None:
    world.send(10, STAMP)
    world.send(20, STAMP + MINUTE)
    with counted() as taken:
        world.read("between")
    assert taken.kinds["GET archives"] == 1


def test_the_blob_and_every_row_of_the_ledger_tell_by_which_rule_a_version_replaces(world: World) -> None:
    archive = world.send(10, STAMP)
    described = world.context.raw.find(archive.blob)
    assert described is not None
    assert (described.replaces, described.modified, described.path) == ("stamp", STAMP, NAME)
    rows = list(world.clients.archives.query_entities(f"PartitionKey eq '{world.source}'"))
    assert [(row["replaces"], row["modified"]) for row in rows] == [("stamp", STAMP)] * 2


def test_a_ledger_that_was_made_again_tells_the_same(world: World) -> None:
    world.send(10, STAMP)
    world.send(20, STAMP + MINUTE)
    for row in world.clients.archives.query_entities(f"PartitionKey eq '{world.source}'"):
        world.clients.archives.delete_entity(row)
    rebuild(world.clients, world.source, None)
    assert [world.read(way) for way in WAYS] == [[20]] * 3


def test_a_zip_that_was_put_there_by_hand_is_read_beside_what_was_copied(world: World) -> None:
    world.send(10, STAMP)
    world.context = replace(world.context, raw=RawBlobs(world.clients, lambda _source, _name: STAMP))
    content = zipped(("a.png", encoded(np.full((8, 8, 3), 30, np.uint8), "PNG")))
    world.clients.raw.upload_blob(f"{world.source}/{NAME}", content)
    handle_archive_created(f"{world.source}/{NAME}", world.context)
    world.send(20, STAMP + MINUTE)
    assert sorted(world.read("between")) == [20, 30]


def test_ls_marks_what_is_replaced_and_export_writes_the_correction(
    world: World, command: Callable[..., Any], tmp_path: Path
) -> None:
    older, newer = world.send(10, STAMP), world.send(20, STAMP + MINUTE)
    listed = {each["version"]: each["replaced_by"] for each in command("ls", world.source)["archives"]}
    assert listed == {older.version: newer.version, newer.version: None}
    export = ("export", world.source, "--since", "6h", "--as", "npy", "--to", str(tmp_path))
    assert command(*export)["images"] == 1
    assert [np.load(path)[0, 0, 0] for path in tmp_path.rglob("*.npy")] == [20]
    assert command(*export, "--versions", "all")["images"] == 2
    assert len(command("latest", world.source, "--archives", "5", "--versions", "all")["images"]) == 2


def test_ls_says_in_its_table_which_version_replaces_an_archive(
    world: World, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)
    world.send(10, STAMP)
    newer = world.send(20, STAMP + MINUTE)
    assert main(["ls", world.source]) == 0
    assert f"version {newer.version} replaces it" in capsys.readouterr().out


def test_the_page_shows_images_of_the_correction(world: World) -> None:
    # The ledger lists them by their versions, which are hashes.
    *_, newer = [world.send(grey, STAMP + grey * MINUTE) for grey in range(8)]
    stored = read_source(world.clients, world.source, STAMP)
    assert {image.archive.version for image in stored.images} == {newer.version}


@pytest.mark.parametrize("way", [*WAYS, "latest"])
def test_versions_that_do_not_exist_are_an_error(world: World, way: str) -> None:
    with pytest.raises(ValueError, match="versions is 'every': it must be one of newest, all"):
        world.latest(versions="every") if way == "latest" else world.read(way, versions="every")
