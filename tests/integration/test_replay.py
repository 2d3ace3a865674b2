"""The verb `replay`: the archives that it finds, its requests, and its output."""

import base64
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.settings import environment
from imagefeed.cli import build_parser
from imagefeed.model import ArchiveKey, Counts, RawArchive
from local.azurite import Azurite
from ops.cli.__main__ import add_verbs, main
from ops.cli.replay import run
from preprocess.image.formats import METHODS
from preprocess.model import Batch, Recipe
from preprocess.recipe import identify
from storage.blobs.pipelines import hold_pipeline
from storage.blobs.raw import RawBlobs
from storage.blobs.runs import LastRun, note_run
from storage.clients import Clients
from storage.queues.messages import BatchMessage, parse_batch_message
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.fixtures.azure_answers import listed_site
from tests.fixtures.azure_answers import settings as as_az_lists
from tests.fixtures.fake_tools import Answer, Tools
from tests.integration.test_reader import made

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
WIDTH = 16
IDENTITY = identify(Recipe(width=WIDTH), None)
PIPELINE = IDENTITY.pipeline


@pytest.fixture(autouse=True)
def _settings(azurite: Azurite, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings under which the app has run, and an empty queue of its own."""
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)
    monkeypatch.setenv("PREPROCESS_WIDTH", str(WIDTH))
    hold_pipeline(clients, PIPELINE, IDENTITY.fingerprint)
    clients.batch_queue.clear_messages()
    yield
    clients.batch_queue.clear_messages()


class Shelf:
    """Archives in the raw container, as after copying and preprocessing."""

    def __init__(self, clients: Clients, source: str) -> None:
        self.clients = clients
        self.source = source
        self.ledger = TableBatchLedger(clients)

    def put(self, age: timedelta = HOUR, version: str = "0123abcd", *, known: bool = True) -> RawArchive:
        stamp = NOW - age
        blob = ArchiveKey(self.source, stamp, version).raw_blob("out/a.zip")
        metadata = {"source": self.source, "stamp": f"{stamp:%Y%m%dT%H%M%SZ}", "version": version, "path": "out/a.zip"}
        self.clients.raw.upload_blob(blob, b"zip", metadata=metadata)
        archive = RawBlobs(self.clients, lambda _source, _name: None).find(blob)
        assert archive is not None
        if known:
            self.ledger.record_raw(archive, stamp)
        return archive

    def batches(self, archive: RawArchive, count: int = 2) -> list[Batch]:
        batches = [
            Batch(archive=archive, pipeline=PIPELINE, number=number, first=number, end=number + 1)
            for number in range(count)
        ]
        assert self.ledger.insert_plan(batches, NOW, NOW + HOUR)
        return batches

    def process(self, archive: RawArchive) -> None:
        for batch in self.batches(archive):
            self.ledger.finish(batch, Counts(members=1, images=1), NOW)

    def list_unfinished(self) -> set[str]:
        found = self.ledger.list_unfinished(self.source, PIPELINE, NOW - timedelta(days=400))
        return {archive.version for archive in found}

    def asked(self) -> list[BatchMessage]:
        """Take all messages off the queue, in order."""
        found = self.clients.queues.get_queue_client("batches").receive_messages()
        bodies = [base64.b64decode(message.content) for message in found]
        self.clients.batch_queue.clear_messages()
        return [parse_batch_message(body) for body in bodies]


@pytest.fixture
def shelf(clients: Clients, source: str) -> Shelf:
    return Shelf(clients, source)


@pytest.mark.parametrize("form", ["{source}/{version}", "{source}/{stamp}.{version}", "{blob}", "raw/{blob}"])
def test_an_archive_is_named_as_ls_or_its_blob_does_and_done_again(shelf: Shelf, form: str) -> None:
    archive = shelf.put()
    shelf.put(version="0000ffff")
    shelf.process(archive)
    handle = form.format(
        source=shelf.source, version=archive.version, stamp=f"{archive.stamp:%Y%m%dT%H%M%SZ}", blob=archive.blob
    )
    assert main(["replay", "--archive", handle]) == 0
    assert shelf.asked() == [
        BatchMessage(blob=archive.blob, pipeline=PIPELINE, batch=0),
        BatchMessage(blob=archive.blob, pipeline=PIPELINE, batch=1),
    ]
    assert archive.version in shelf.list_unfinished()


def test_an_archive_of_which_the_ledger_knows_nothing_is_asked_for_by_its_blob(shelf: Shelf) -> None:
    archive = shelf.put(known=False)
    assert main(["replay", "--archive", archive.blob]) == 0
    assert shelf.asked() == [BatchMessage(blob=archive.blob)]


def test_what_an_older_decoder_made_is_done_again_and_nothing_else(
    shelf: Shelf, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "JPEG", 3)
    for number, method in enumerate((1, 2)):
        archive = shelf.put(HOUR * (number + 1), f"0000000{number}")
        (batch,) = shelf.batches(archive, 1)
        with ShardsAndRows(clients, "npy", 2).write(batch) as writer:
            image = made(archive, 0)
            writer.add([replace(image, metadata=replace(image.metadata, method=method))])
            writer.publish()
        shelf.ledger.finish(batch, Counts(members=1, images=1), NOW)
    command = ["replay", "--since", "6h", "--source", shelf.source, "--method"]
    assert main([*command, "tiff<2"]) == 0
    assert not shelf.asked()
    assert main([*command, "jpeg<2"]) == 0
    (message,) = shelf.asked()
    assert ".00000000." in message.blob


@pytest.mark.parametrize("window", ["10h", "6h"])
def test_the_short_form_means_the_whole_of_the_window(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    monkeypatch.setenv("PIPELINE_WINDOW", window)
    old = shelf.put(HOUR * 9)
    shelf.ledger.fail(old, PIPELINE, "why", NOW)
    assert main(["replay", "--failed", "--source", shelf.source]) == 0
    assert shelf.asked() == ([BatchMessage(blob=old.blob)] if window == "10h" else [])


@pytest.mark.parametrize("ends", [["--refused"], ["--failed"], ["--refused", "--failed"]])
def test_what_ended_so_since_then_is_done_again(shelf: Shelf, ends: list[str]) -> None:
    refused, failed, old, fine = (shelf.put(HOUR * age, f"0000000{age}") for age in (1, 2, 9, 3))
    shelf.ledger.refuse(refused, PIPELINE, "why", NOW)
    shelf.ledger.fail(failed, PIPELINE, "why", NOW)
    shelf.ledger.refuse(old, PIPELINE, "why", NOW)
    shelf.process(fine)
    assert main(["replay", *ends, "--since", "6h", "--source", shelf.source]) == 0
    wanted = [archive for archive, end in ((refused, "--refused"), (failed, "--failed")) if end in ends]
    assert shelf.asked() == [BatchMessage(blob=archive.blob) for archive in wanted]
    assert shelf.list_unfinished() == {archive.version for archive in wanted}


def test_history_is_asked_for_newest_first_and_what_is_settled_is_passed_over(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = [shelf.put(timedelta(days=age), f"0000000{age}", known=age != 2) for age in range(1, 8)]
    shelf.process(archives[0])
    shelf.ledger.refuse(archives[2], PIPELINE, "why", NOW)
    shelf.batches(archives[3])
    arguments = ["replay", "--source", shelf.source, "--since", "160h", "--until", f"{NOW - timedelta(hours=1):%FT%T}"]
    assert main(arguments) == 0
    assert [message.blob for message in shelf.asked()] == [archives[number].blob for number in (1, 4, 5)]
    said = capsys.readouterr().out
    assert "4 archives to do; skipped: 1 processed, 1 refused, 0 empty, 0 failed" in said
    assert "3 queued, 1 under way" in said


def test_history_that_was_stopped_goes_on_where_it_was(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    archives = [shelf.put(HOUR * age, f"0000000{age}") for age in range(1, 5)]

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    arguments = ["replay", "--source", shelf.source, "--since", "6h", "--at-most", "2"]
    with pytest.raises(KeyboardInterrupt):
        run(build_parser([add_verbs]).parse_args(arguments), shelf.clients, environment(), interrupted)
    assert "2 to go: run the same command again" in capsys.readouterr().out
    asked = shelf.asked()
    assert [message.blob for message in asked] == [archives[0].blob, archives[1].blob]
    for archive in archives[:2]:
        shelf.process(archive)
    assert main(arguments) == 0
    assert [message.blob for message in shelf.asked()] == [archives[2].blob, archives[3].blob]


def test_a_blob_in_the_archive_tier_is_named_and_nothing_is_asked_for(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    cold, warm = shelf.put(HOUR, "0000c01d"), shelf.put(2 * HOUR, "00000042")
    for archive in (cold, warm):
        shelf.process(archive)
    blob = shelf.clients.raw.get_blob_client(cold.blob)
    blob.set_standard_blob_tier("Archive")
    names = [part for archive in (cold, warm) for part in ("--archive", archive.blob)]
    assert main(["replay", *names]) == 2
    assert {message.blob for message in shelf.asked()} == {warm.blob}
    assert shelf.list_unfinished() == {warm.version}
    said = capsys.readouterr()
    assert f"'{cold.blob}': in the archive tier" in said.out
    assert "1 of the archives are in the archive tier" in said.err
    blob.set_standard_blob_tier("Hot")
    assert main(["replay", "--archive", cold.blob]) == 0
    assert shelf.list_unfinished() == {warm.version, cold.version}


def test_settings_that_the_app_never_ran_with_ask_for_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shelf.put()
    shelf.process(archive)
    monkeypatch.setenv("PREPROCESS_WIDTH", "17")
    assert main(["replay", "--archive", archive.blob]) == 2
    said = capsys.readouterr().err
    assert "never run" in said
    assert PIPELINE in said
    assert shelf.asked() == []
    assert shelf.list_unfinished() == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "6h"], "--source"),
        (["--source", "radar"], "--source radar: --since is missing: how far back, such as 30d"),
        (["--method", "tiff<2"], "--method: --since is missing"),
        (["--archive", "radar/0123abcd", "--poison"], "one way"),
        ([], "nothing is selected: give --failed, --refused"),
        (["--source", "radr", "--since", "6h"], "replay source radr: there is no such source; there "),
        (["--failed", "--source", "radr"], "replay source radr: there is no such source; there "),
        (["--archive", "radar/ffffffff"], "no such archive"),
        (["--archive", "gone.zip"], "no such archive"),
        (["--archive", "x", "--pipeline", "p-other"], f"make the pipeline {PIPELINE}"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "text", "message"), [("--since", "soon", "2026-03-01T12:00"), ("--at-most", "0", "1 or more")]
)
def test_an_argument_that_is_none_is_explained(
    capsys: pytest.CaptureFixture[str], option: str, text: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "--refused", option, text])
    assert message in capsys.readouterr().err


def test_machines_get_what_became_of_it_as_json(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    archive = shelf.put()
    assert main(["replay", "--archive", archive.blob, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pipeline": PIPELINE, "outcomes": {"queued": 1}, "offline": []}
    assert main(["replay", "--poison", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["poison_messages"]) == {"sent_back", "kept", "left"}


def test_messages_and_events_that_were_given_up_go_back_to_work(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    poison = shelf.clients.queues.get_queue_client("batches-poison")
    poison.clear_messages()
    poison.send_message(base64.b64encode(b'{"blob": "a.zip"}').decode())
    event = {
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": "/blobServices/default/containers/raw/blobs/b.zip",
        "data": {"api": "PutBlob"},
    }
    shelf.clients.dead_letters.upload_blob(f"{shelf.source}.json", json.dumps([event]).encode())
    assert main(["replay", "--poison"]) == 0
    assert shelf.asked() == [BatchMessage(blob="a.zip")]
    assert main(["replay", "--dead-letters"]) == 0
    assert shelf.asked() == [BatchMessage(blob="b.zip")]
    assert capsys.readouterr().out.count("1 redriven") == 2


def in_azure(folder: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> AbstractContextManager[None]:
    """Make an az on PATH that knows an app with these settings."""
    az: dict[str, Sequence[Answer]] = {
        "functionapp list": [[listed_site()]],
        "functionapp config appsettings list": [as_az_lists(dict(given))],
    }
    tools = Tools(folder / "tools", az)
    monkeypatch.setenv("PATH", f"{tools.home / 'bin'}:/usr/bin:/bin")
    return tools.answering()


@pytest.mark.parametrize("named", [["--app", "images-abc"], ["--resource-group", "g"]])
def test_an_app_in_azure_lends_its_settings(
    shelf: Shelf, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: list[str]
) -> None:
    """An operator's shell needs no settings of its own, nor the right to read passwords."""
    archive = shelf.put()
    shelf.ledger.fail(archive, PIPELINE, "why", NOW)
    for name in ("DATA_STORAGE", "PREPROCESS_WIDTH"):
        monkeypatch.delenv(name)
    given = {
        "DATA_STORAGE": azurite.connection,
        "DATA_STORAGE__clientId": "an identity of Azure",
        "PREPROCESS_WIDTH": str(WIDTH),
        "SOURCES__RADAR__PASSWORD": "@Microsoft.KeyVault(VaultName=v;SecretName=may-not-be-read)",
    }
    with in_azure(tmp_path, monkeypatch, given):
        assert main(["replay", "--failed", "--source", shelf.source, *named]) == 0
        assert shelf.asked() == [BatchMessage(blob=archive.blob)]
        for verb in ("status", "refused", "audit"):
            assert main([verb, shelf.source, *named]) in (0, 1, 3)


def test_a_hook_that_is_not_the_apps_own_is_refused_under_the_apps_settings(
    shelf: Shelf, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its source is in no setting, so this shell may have another version of it."""
    hooks = tmp_path / "hooks_of_the_app.py"
    monkeypatch.syspath_prepend(tmp_path)
    given = {"PREPROCESS_HOOK": "hooks_of_the_app:darker", "PIPELINE_NAME": shelf.source}
    hooks.write_text("def darker(pixels, _): return pixels // 2\n")
    of_app = identify(Recipe(width=WIDTH, hook=given["PREPROCESS_HOOK"]), shelf.source)
    hold_pipeline(shelf.clients, shelf.source, of_app.fingerprint)
    hooks.write_text("def darker(pixels, _): return pixels // 20\n")
    monkeypatch.delitem(sys.modules, "hooks_of_the_app")
    settings = {"DATA_STORAGE": azurite.connection, "PREPROCESS_WIDTH": str(WIDTH), **given}
    with in_azure(tmp_path, monkeypatch, settings):
        assert main(["replay", "--failed", "--app", "images-abc"]) == 2
    assert "the app has never run with them" in capsys.readouterr().err
    assert shelf.asked() == []


@pytest.fixture
def app_runs(clients: Clients) -> Iterator[Callable[[LastRun], None]]:
    """Record a run of the app."""
    yield lambda run: note_run(clients, "poll_sources", run)
    note_run(clients, "poll_sources", LastRun(at=NOW))


def test_a_pipeline_that_the_app_runs_under_no_longer_is_refused_with_both_named(
    shelf: Shelf, app_runs: Callable[[LastRun], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The app ran under it once, and would drop requests for it now."""
    archive = shelf.put()
    shelf.process(archive)
    command = ["replay", "--archive", archive.blob]
    app_runs(LastRun(at=NOW, pipeline="p-newer", fingerprint="feedbeef" * 8))
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{PIPELINE} (fingerprint {IDENTITY.fingerprint[:8]})" in said
    assert "p-newer (fingerprint feedbeef)" in said
    assert "give this command the app's own PREPROCESS_ and PIPELINE_ settings and its hook" in said
    # The same name, made with another hook.
    app_runs(LastRun(at=NOW, pipeline=PIPELINE, fingerprint="feedbeef" * 8))
    assert main(command) == 2
    app_runs(LastRun(at=NOW, stopped="PREPROCESS_HOOK=hooks:x: cannot import hooks"))
    assert main(command) == 2
    assert "preprocesses nothing" in capsys.readouterr().err
    assert shelf.asked() == []
    assert shelf.list_unfinished() == set()
    app_runs(LastRun(at=NOW, pipeline=PIPELINE, fingerprint=IDENTITY.fingerprint))
    assert main(command) == 0
    assert len(shelf.asked()) == 2


@pytest.mark.parametrize("verb", ["status", "audit", "replay --failed", "refused radar", "doctor"])
def test_an_app_in_azure_needs_az(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main([*verb.split(), "--app", "images-abc"]) == 2
    assert f"{verb.split()[0]} --app: Azure CLI (az) is not on PATH" in capsys.readouterr().err
