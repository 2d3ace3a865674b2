"""Zips of formats that are not read go through the whole pipeline, and every view shows their outcome."""

import io
import json
import os
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from imagefeed.ledger import Entry, entries
from imagefeed.model import ArchiveKey, State
from ingest.model import Promises
from local.azurite import Azurite
from ops.cli.__main__ import main
from ops.health.load_archive import StoredArchive
from ops.health.promises import Held
from ops.web.pages import archive_page, status_page
from ops.web.responses import Request
from ops.web.views import load_current
from preprocess.context import Context
from preprocess.handlers import handle_archive_created
from preprocess.model import BatchSizes, Limits, Recipe
from storage.blobs.raw import RawBlobs
from storage.blobs.shard_metadata import read_shard
from storage.clients import Clients
from storage.queues.messages import BatchMessages
from storage.rebuild import rebuild
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.unit.preprocess.kinds import CASES

MINUTE = timedelta(minutes=1)


def context(clients: Clients, pipeline: str) -> Context:
    return Context(
        raw=RawBlobs(clients, lambda _source, _name: None),
        results=ShardsAndRows(clients, "npy", 8),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=Recipe(width=16, height=16),
        hook=None,
        pipeline=pipeline,
        limits=Limits(),
        sizes=BatchSizes(),
    )


@pytest.fixture(scope="module")
def suite(clients: Clients) -> tuple[str, Mapping[str, Entry]]:
    """A source with one archive of each case, preprocessed, by the cases' names."""
    source, now = f"s-{uuid4().hex[:12]}", datetime.now(UTC).replace(microsecond=0)
    ctx = context(clients, f"p-{source[2:10]}")
    stamps = {name: now - (number + 1) * MINUTE for number, name in enumerate(CASES)}
    for number, (name, stamp) in enumerate(stamps.items()):
        version = f"{number:08x}"
        metadata = {"source": source, "stamp": f"{stamp:%Y%m%dT%H%M%SZ}", "version": version, "path": f"{number}.zip"}
        blob = ArchiveKey(source, stamp, version).raw_blob(f"{number}.zip")
        clients.raw.upload_blob(blob, CASES[name].content, metadata=metadata)
        handle_archive_created(blob, ctx)
    found = {entry.archive.stamp: entry for entry in entries(clients, source)}
    return source, {name: found[stamp] for name, stamp in stamps.items()}


def test_every_archive_adds_up_and_none_is_processed_without_an_image(suite: tuple[str, Mapping[str, Entry]]) -> None:
    for name, entry in suite[1].items():
        case, counts = CASES[name], entry.counts
        assert counts is not None
        assert (name, entry.state, counts.images) == (name, case.state, case.images)
        assert (counts.refused_kinds, counts.skipped) == (case.refused, case.skipped)
        assert counts.images + counts.refused + sum(counts.skipped.values()) == counts.members == case.members
        assert (entry.state is State.PROCESSED) == (counts.images > 0)
        assert (entry.reason is None) == (counts.images > 0)


@pytest.fixture
def _settings(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SOURCES__")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)


@pytest.mark.usefixtures("_settings")
def test_ls_shows_refused_and_skipped_members_by_kind(
    suite: tuple[str, Mapping[str, Entry]], capsys: pytest.CaptureFixture[str]
) -> None:
    source, found = suite
    assert main(["ls", source, "--limit", "99"]) == 0
    output = capsys.readouterr().out
    assert all(entry.reason in output for entry in found.values() if entry.reason)
    (line,) = [line for line in output.splitlines() if found["h5 and a quicklook"].archive.version in line]
    assert ("12 .h5" in line, "1 text" in line, "processed" in line) == (True, True, True)
    assert main(["ls", source, "--state", "empty", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["archives"]
    assert {item["version"] for item in listed} == {
        entry.archive.version for name, entry in found.items() if CASES[name].state is State.EMPTY
    }
    assert {item["reason"] for item in listed} == {
        "all of its members are skipped: 1 text", "the zip has no members",
    }  # fmt: skip


@pytest.mark.usefixtures("_settings")
def test_audit_finds_what_was_refused_and_what_is_empty(
    suite: tuple[str, Mapping[str, Entry]], capsys: pytest.CaptureFixture[str]
) -> None:
    source, found = suite
    assert main(["audit", source, "--json", "--deep"]) == 3, "nobody knows its promises; nothing is missing"
    (report,) = json.loads(capsys.readouterr().out)["sources"]
    shown = {finding["archive"]: finding for finding in report["findings"] if finding["slug"] in ("refused", "empty")}
    for name, entry in found.items():
        finding = shown.pop(entry.archive.key.id, None)
        if CASES[name].images:
            assert finding is None
        else:
            assert finding is not None
            assert (finding["slug"], finding["detail"]) == (CASES[name].state, entry.reason)
    assert shown == {}
    (members,) = [finding for finding in report["findings"] if finding["slug"] == "members_refused"]
    assert (members["archive"], members["name"]) == (
        found["h5 and a quicklook"].archive.key.id,
        "12 members of 1 archive",
    )
    assert members["detail"] == "12 .h5; all others can be read"


@pytest.mark.usefixtures("_settings")
def test_status_is_not_green_and_counts_by_kind(
    suite: tuple[str, Mapping[str, Entry]], capsys: pytest.CaptureFixture[str]
) -> None:
    source, found = suite
    assert main(["status", source, "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)["sources"]
    assert status["severity"] != "fine"
    assert status["counts"]["empty"] == sum(case.state is State.EMPTY for case in CASES.values())
    marks = {mark["id"]: mark for mark in status["marks"]}
    for name, entry in found.items():
        mark = marks[entry.archive.key.id]
        assert (mark["refused_kinds"], mark["skipped"]) == (CASES[name].refused, CASES[name].skipped)


def test_the_page_shows_refused_and_skipped_members_by_kind(
    clients: Clients, suite: tuple[str, Mapping[str, Entry]]
) -> None:
    source, found = suite
    status = load_current(clients, Held(promises={source: Promises()}), [source], datetime.now(UTC))
    body = status_page(Request(), status).body.decode()
    assert ">12 .h5</td>" in body
    assert ">1 text</td>" in body
    stored = StoredArchive(entry=found["h5 and a quicklook"], images=[], refusals=[], cut=False)
    one = archive_page(Request(root="../../"), stored, None, datetime.now(UTC)).body.decode()
    assert "14: 1 image, 12 refused (12 .h5), 1 skipped (1 text)" in one


def test_shards_and_rows_have_the_counts_and_reasons(clients: Clients, suite: tuple[str, Mapping[str, Entry]]) -> None:
    entry = suite[1]["h5 and a quicklook"]
    assert entry.pipeline is not None
    blob = clients.processed.get_blob_client(entry.archive.key.shard(entry.pipeline, entry.archive.path, 0))
    shard = read_shard(blob.get_blob_properties())
    assert shard is not None
    assert shard.counts == entry.counts
    rows = clients.images.query_entities(f"PartitionKey eq '{entry.archive.key.partition(entry.pipeline)}'")
    refused = [row for row in rows if row["RowKey"].endswith("~refused")]
    assert {(row["error"], row["reason"][:41]) for row in refused} == {
        ("UnreadFormatError", "no format that is read: suffix .h5, begin")
    }
    with tarfile.open(fileobj=io.BytesIO(blob.download_blob().readall())) as tar:
        assert len(tar.getnames()) == 2


@pytest.mark.parametrize("name", ["h5 and a quicklook", "a readme"])
def test_a_ledger_that_was_lost_is_made_again_with_the_same_end(
    clients: Clients, suite: tuple[str, Mapping[str, Entry]], name: str
) -> None:
    """An empty archive has no shard to prove its outcome: it is preprocessed again, with the same outcome."""
    source, found = suite
    entry = found[name]
    archive, pipeline = entry.archive, entry.pipeline or ""
    clients.archives.delete_entity(source, archive.key.ledger_row(pipeline))
    for row in clients.batches.query_entities(f"PartitionKey eq '{archive.key.partition(pipeline)}'"):
        clients.batches.delete_entity(row["PartitionKey"], row["RowKey"])
    rebuild(clients, source, lambda _source, _name: None)
    if name == "a readme":
        handle_archive_created(archive.blob, context(clients, pipeline))
    (again,) = [one for one in entries(clients, source) if one.archive.key == archive.key]
    assert (again.state, again.counts, again.reason) == (entry.state, entry.counts, entry.reason)
