"""The command: its views of the ledger, its exports, and its error messages."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from imagefeed import cli, terminal
from imagefeed.cli import build_parser, connect
from imagefeed.errors import NotListeningError, PermanentError
from imagefeed.export import export
from imagefeed.ledger import known_sources
from imagefeed.model import Counts, Refusal
from imagefeed.stores import development_connection
from imagefeed.tables import Reader, StoredImage
from ingest.model import SourceState, UnreadParts
from local.azurite import Azurite
from local.servers.child import free_port
from ops.cli.__main__ import add_verbs, main
from preprocess.model import Batch
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.integration.test_reader import Producer, made

Said = pytest.CaptureFixture[str]
NOW = datetime.now(UTC).replace(microsecond=0)
PROJECT = Path(__file__).parents[2]
VERBS = ("ls", "latest", "export", "init", "status", "refused", "replay", "audit", "rebuild", "pipeline", "doctor")


@pytest.fixture(autouse=True)
def _settings(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)


@pytest.fixture
def producer(clients: Clients, source: str) -> Producer:
    return Producer(clients, source)


def test_init_makes_everything_and_may_run_again() -> None:
    assert main(["init"]) == 0


def test_ls_shows_archives_with_state_and_counts(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    producer.process(NOW, 4)
    refused = producer.archive(NOW - timedelta(hours=1), "0000dead")
    TableBatchLedger(producer.clients).record_raw(refused, NOW)
    TableBatchLedger(producer.clients).refuse(refused, "p1", "no [zip] at all\x1b[2J \udcff", NOW)
    assert main(["ls", producer.source]) == 0
    _, first, second, reason = map(str.strip, capsys.readouterr().out.splitlines())
    assert first.split()[:3] == [producer.source, f"{NOW:%Y-%m-%d}", f"{NOW:%H:%M:%S}"]
    assert {"processed", "4", "p1", "out/ä.zip"} <= set(first.split())
    assert "refused" in second
    assert reason.startswith("no [zip] at all")
    assert "\x1b" not in reason


def test_ls_tells_what_of_the_listing_could_not_be_read(producer: Producer, capsys: Said) -> None:
    producer.process(NOW, 1)
    unread = UnreadParts(count=2, texts=("\x1b[2J??? a.zip \udcff",), incomplete=True)
    with BlobSourceStates(producer.clients).hold(producer.source) as hold:
        hold.save(SourceState(source=producer.source, listed_at=NOW, unread=unread))
    assert main(["ls", producer.source]) == 0
    note = capsys.readouterr().out.splitlines()[-1]
    assert note.startswith(f"{producer.source}: 2 parts of its last listing could not be read")
    assert "??? a.zip" in note
    assert "\x1b" not in note
    assert main(["ls", producer.source, "--json"]) == 0
    assert "??? a.zip" in json.loads(capsys.readouterr().out)["notes"][0]


def test_refused_members_are_shown_with_their_reasons(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    archive = producer.archive(NOW, "0000beef")
    batch = Batch(archive=archive, pipeline="p1", number=0, first=0, end=2)
    TableBatchLedger(producer.clients).record_raw(archive, NOW)
    TableBatchLedger(producer.clients).insert_plan([batch], NOW, NOW)
    with ShardsAndRows(producer.clients, "npy", 8).write(batch) as writer:
        writer.refuse(Refusal(member=1, name="b.png", reason="it is [cut] off", error="MemberRefusedError"))
        writer.publish()
    TableBatchLedger(producer.clients).finish(batch, Counts(members=2, images=1, refused=1), NOW)
    assert main(["refused", producer.source]) == 0
    line, reason = capsys.readouterr().out.splitlines()[-2:]
    assert {"0000beef", "b.png", "MemberRefusedError"} <= set(line.split())
    assert reason == "  it is [cut] off"
    assert main(["refused", producer.source, "--since", "0s"]) == 0
    assert "no member" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["ls"], ["refused", "radar"], ["latest", "radar"], ["audit"]])
def test_a_pipeline_that_never_was_is_told(
    producer: Producer, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    producer.process(NOW, 1, batches=1)
    assert main([*command, "--pipeline", "zzz"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no such pipeline; there are " in said.err
    assert "p1" in said.err


def test_a_number_that_makes_no_sense_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ls", "--limit", "-1"])
    assert "must be 1 or more" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    producer: Producer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    producer.process(NOW, 1, batches=1)
    (tmp_path / "file").write_text("")
    assert main(["export", producer.source, "--since", "1h", "--to", str(tmp_path / "file" / "x")]) == 2
    assert "error: " in capsys.readouterr().err


def test_ls_knows_all_sources_and_keeps_to_its_limit(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    other = Producer(producer.clients, f"{producer.source}-2")
    long = replace(producer.archive(NOW, "0000cafe"), path="x" * 1_000)
    TableBatchLedger(producer.clients).record_raw(replace(long, source=f"{producer.source}-long"), NOW)
    for hour in range(3):
        producer.process(NOW - timedelta(hours=hour), 1, batches=1)
        other.process(NOW - timedelta(hours=hour), 1, batches=1)
    assert main(["ls", "--limit", "2"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert (shown.count(producer.source), shown.count(other.source)) == (2, 2)


def test_latest_shows_the_images_of_the_newest_archive(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    producer.process(NOW, 2)
    producer.process(NOW - timedelta(hours=1), 3, batches=1)
    assert main(["latest", producer.source]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "ü 1.jpg" in lines[2]
    assert "uint8 6x6x3" in lines[2]


@pytest.mark.parametrize("form", ["png", "npy"])
def test_export_writes_every_image_since_then_with_its_metadata(producer: Producer, tmp_path: Path, form: str) -> None:
    (batch,) = producer.process(NOW, 3, batches=1)
    producer.process(NOW - timedelta(hours=7), 3)
    assert main(["export", producer.source, "--since", "6h", "--to", str(tmp_path), "--as", form]) == 0
    folder = tmp_path / f"{NOW:%Y%m%dT%H%M%SZ}.0123abcd"
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list(folder.iterdir())) == 6
    path = folder / f"000001-0000-1.{form}"
    pixels = np.load(path) if form == "npy" else np.asarray(Image.open(path))
    assert np.array_equal(pixels, made(batch.archive, 1).pixels)
    metadata = json.loads(path.with_suffix(".json").read_text())
    assert (metadata["name"], metadata["member"], metadata["pipeline"]) == ("ü 1.jpg", 1, "p1")
    assert metadata["stamp"] == NOW.isoformat()


def test_export_tells_how_many_images_it_wrote_itself(producer: Producer, tmp_path: Path) -> None:
    class Meanwhile(Reader):
        """One more archive is processed just after the images were counted."""

        def shards(self, source: str, start: datetime, end: datetime, **_: Any) -> Generator[StoredImage]:
            producer.process(NOW - timedelta(hours=1), 1, batches=1)
            return super().shards(source, start, end)

    producer.process(NOW, 1, batches=1)
    reader = Meanwhile(producer.clients)
    assert export(producer.clients, reader, producer.source, NOW - timedelta(hours=6), tmp_path, "npy") == 2
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_settings_that_are_wrong_have_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_STORAGE_", "x")
    monkeypatch.setenv("DATA_STORAGE__blobUri", "x")
    monkeypatch.delenv("DATA_STORAGE")
    assert main(["refused", "radar"]) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "error: settings:"
    assert [line.split()[0] for line in others] == ["DATA_STORAGE__BLOBURI", "DATA_STORAGE"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "nothing"],
        ["latest", "nothing"],
        ["export", "nothing"],
        ["refused", "nothing"],
        ["status", "nothing"],
        ["status", "--watch", "nothing"],
        ["audit", "nothing"],
        ["rebuild", "nothing"],
        ["pipeline", "ls", "--source", "nothing"],
    ],
)
def test_a_misspelt_source_is_the_same_error_everywhere(
    producer: Producer, arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    producer.process(NOW, 1, batches=1)
    assert main(arguments) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch("error: .* source nothing: there is no such source; there .*", said)
    assert producer.source in said
    assert list(tmp_path.iterdir()) == []


def test_a_source_of_which_nothing_came_yet_is_no_error(source: str, clients: Clients, capsys: Said) -> None:
    with BlobSourceStates(clients).hold(source) as held:
        held.save(SourceState(source=source, listed_at=NOW))
    assert main(["ls", source]) == 0
    assert capsys.readouterr().out == f"there is no archive of source {source}\n"
    assert machine_readable(capsys, "ls", source) == {"archives": [], "notes": []}


def test_all_that_failed_since_then_is_listed_however_many_came_after_it(producer: Producer, capsys: Said) -> None:
    ledger = TableBatchLedger(producer.clients)
    failed = producer.archive(NOW - timedelta(hours=4), "0000dead")
    ledger.record_raw(failed, NOW)
    ledger.fail(failed, "p1", "6 tries are spent", NOW)
    for number in range(21):
        ledger.record_raw(producer.archive(NOW - timedelta(minutes=number), f"0000000{number:x}"[-8:]), NOW)
    ls = ("ls", producer.source)
    assert len(machine_readable(capsys, *ls)["archives"]) == 20
    assert len(machine_readable(capsys, *ls, "--since", "1d")["archives"]) == 22
    for more in (("--state", "failed"), ("--since", f"{NOW - timedelta(days=1):%Y-%m-%d}", "--state", "failed")):
        (listed,) = machine_readable(capsys, *ls, *more)["archives"]
        assert (listed["version"], listed["reason"]) == ("0000dead", "6 tries are spent")
    assert machine_readable(capsys, *ls, "--since", "1d", "--until", "5h") == {"archives": [], "notes": []}


@pytest.mark.parametrize("verb", ["ls", "export radar", "refused radar", "replay --failed", "audit"])
def test_a_range_that_ends_before_it_begins_is_refused(verb: str, capsys: Said) -> None:
    with pytest.raises(SystemExit):
        main([*verb.split(), "--since", "1h", "--until", "2026-03-01"])
    assert "--until 2026-03-01T00:00:00Z is not after --since" in capsys.readouterr().err


def test_a_range_is_the_same_for_every_verb(producer: Producer, capsys: Said, tmp_path: Path) -> None:
    for hours in (1, 2, 3):
        producer.process(NOW - timedelta(hours=hours), 1, batches=1)
    within = (producer.source, "--since", "175m", "--until", f"{NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}")
    assert len(machine_readable(capsys, "ls", *within)["archives"]) == 1
    assert machine_readable(capsys, "export", *within, "--to", str(tmp_path))["images"] == 1
    assert main(["audit", *within, "--json"]) in (1, 3)
    assert json.loads(capsys.readouterr().out)["sources"][0]["archives"] == 1


def test_a_pipeline_may_stand_before_the_verb_or_behind_it(producer: Producer, capsys: Said) -> None:
    producer.process(NOW, 1, batches=1)
    for arguments in (["--pipeline", "zzz", "ls"], ["ls", "--pipeline", "zzz"]):
        assert main(arguments) == 2
        assert "--pipeline zzz: there is no such pipeline" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--pipeline", "p1", "init"])
    assert "init has no option --pipeline" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["ls", "status", "refused radar", "latest radar", "export radar"])
def test_an_emulator_that_is_not_there_is_told_at_once_and_which_file_has_the_settings_of_now(
    verb: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = {kind: free_port() for kind in ("Blob", "Queue", "Table")}
    monkeypatch.setenv("DATA_STORAGE", development_connection(ports))
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(time, "sleep", waited := MagicMock())
    assert main(verb.split()) == 2
    said = capsys.readouterr().err
    assert "nothing listens at 127.0.0.1, port " in said
    assert f"`. {PROJECT / '.local' / 'env'}`" in said
    # The app itself waits longer, because the platform's storage may be unreachable for a while.
    assert waited.call_count == 0
    with connected(development_connection(ports)) as patient, pytest.raises(NotListeningError):
        known_sources(patient)
    assert waited.call_count > 0


def test_every_verb_writes_json(capsys: Said) -> None:
    parser = build_parser([add_verbs])
    needed = {"latest": ["x"], "export": ["x"], "refused": ["x"], "pipeline": ["ls"]}
    assert all(parser.parse_args([verb, *needed.get(verb, []), "--json"]).json for verb in VERBS)
    assert set(machine_readable(capsys, "init")) == {"containers", "tables", "queues"}
    assert machine_readable(capsys, "rebuild")["archives"] >= 0


@pytest.mark.parametrize("verb", ["ls", "status"])
def test_a_missing_setting_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.delenv("DATA_STORAGE")
    assert main([verb]) == 2
    assert "DATA_STORAGE is missing" in capsys.readouterr().err


def test_readers_find_storage_by_the_addresses_and_the_identity_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = MagicMock()
    monkeypatch.setattr("imagefeed.stores.default_identity", identity)
    where = {"DATA_STORAGE__blobServiceUri": "https://images.example", "DATA_STORAGE__clientId": "1-2"}
    stores = connect({**where, "DATA_STORAGE__tableServiceUri": "https://tables.example"})
    assert (stores.blobs.url, stores.tables.url) == ("https://images.example/", "https://tables.example")
    with pytest.raises(PermanentError, match=r"open a reader at images\.example: give"):
        connect(where)
    identity.assert_called_with("1-2")


def test_a_module_of_ours_that_is_missing_is_a_defect_and_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagefeed.pipelines", None)
    with pytest.raises(ImportError, match=r"imagefeed\.pipelines"):
        main(["ls"])


def test_a_folder_that_cannot_be_written_is_named(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    producer.process(NOW, 1, batches=1)
    assert main(["export", producer.source, "--since", "6h", "--to", "/dev/null/images"]) == 2
    assert f"error: export source {producer.source}: write /dev/null/images/" in capsys.readouterr().err


def test_a_number_that_is_none_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ls", "--limit", "many"])
    assert "'many' is not a number" in capsys.readouterr().err


def test_a_duration_that_is_none_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for text, message in (("soon", "90s, 10m, 48h or 7d"), ("9999999d", "3650d at most"), ("9" * 20 + "d", "3650d")):
        with pytest.raises(SystemExit) as caught:
            main(["audit", "radar", "--since", text])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_an_account_is_named_in_place_of_the_environment(
    producer: Producer, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    producer.process(NOW, 1, batches=1)
    monkeypatch.setenv("DATA_STORAGE", "elsewhere")
    assert main(["latest", producer.source, "--account", azurite.connection]) == 0
    assert "uint8 6x6x3" in capsys.readouterr().out
    assert main(["latest", producer.source]) == 2
    assert "invalid connection string" in capsys.readouterr().err


def test_machines_get_json(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    producer.process(NOW, 2, batches=1)
    (archive,) = machine_readable(capsys, "ls", producer.source)["archives"]
    assert (archive["source"], archive["state"], archive["counts"]["images"]) == (producer.source, "processed", 2)
    assert archive["stamp"] == NOW.isoformat()
    images = machine_readable(capsys, "latest", producer.source)["images"]
    assert [(image["member"], image["dtype"], image["shape"]) for image in images] == [
        (0, "uint8", [6, 6, 3]),
        (1, "uint8", [6, 6, 3]),
    ]
    assert machine_readable(capsys, "refused", producer.source)["refused"] == []
    assert machine_readable(capsys, "status", producer.source)["sources"][0]["name"] == producer.source


def machine_readable(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", ["ls", "latest", "refused", "status", "audit"])
def test_without_rich_the_same_is_said_in_plain_text(
    producer: Producer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    producer.process(NOW, 1, batches=1)
    words = []
    for rich in (True, False):
        monkeypatch.setattr(terminal, "RICH", rich)
        assert main([verb, producer.source]) in (0, 1)
        words.append([re.sub(r"[\d:.]+|\W", "", word) for word in capsys.readouterr().out.split()])
    assert words[0] == words[1]


def test_every_verb_has_examples_that_it_understands(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser([add_verbs])
    for verb in VERBS:
        with pytest.raises(SystemExit):
            parser.parse_args([verb, "--help"])
        shown = capsys.readouterr().out
        examples = re.findall(r"^  imagefeed (.+?)(?:  |$)", shown.partition("examples:")[2], re.MULTILINE)
        assert examples
        assert all(parser.parse_args(example.split()).verb == verb for example in examples)
        assert "exit status: 0 " in shown


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]
)
def test_the_verbs_that_pages_name_exist(page: str) -> None:
    text = (PROJECT / page).read_text()
    named = set(re.findall(r"(?:^|`|\$ |&& )imagefeed ([a-z-]+)", text, re.MULTILINE))
    assert named <= set(VERBS)


def test_the_launcher_works_from_any_folder_whatever_lies_there(tmp_path: Path) -> None:
    for package in ("storage", "imagefeed", "ops"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('not ours')")
    done = subprocess.run(
        [PROJECT / "local" / "bin" / "imagefeed", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"\n    {verb} " in done.stdout for verb in VERBS)


def test_a_distribution_that_is_installed_adds_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more_verbs.py").write_text(
        "from imagefeed.arguments import add_verb\n"
        "def add(verbs): add_verb(verbs, 'hello', lambda _: print('hello'), 'greet', {'hello': 'greets'})\n"
    )
    metadata = tmp_path / "more-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[imagefeed.commands]\nmore = more_verbs:add\ngone = no_such_module:add\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["hello"]) == 0
    said = capsys.readouterr()
    assert said.out == "hello\n"
    assert said.err.startswith("warning: cannot load the verbs of no_such_module:add: ")
