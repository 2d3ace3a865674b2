"""The command: what people see of the ledger and take out of the store, and what they are told when they cannot."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from local.azurite import Azurite
from storage.__main__ import main
from storage.batches import TableBatchLedger
from storage.clients import Clients
from tests.contract.test_reader import Producer, made

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def _settings(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE", azurite.connection)


@pytest.fixture
def producer(clients: Clients, source: str) -> Producer:
    return Producer(clients, source)


def test_init_makes_everything_and_may_run_again() -> None:
    assert main(["init"]) == 0


def test_ls_shows_archives_with_state_and_counts(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    producer.process(NOW, 4)
    refused = producer.archive(NOW - timedelta(hours=1), "0000dead")
    TableBatchLedger(producer.clients).arrived(refused, NOW)
    TableBatchLedger(producer.clients).refuse(refused, "p1", "no [zip] at all\x1b[2J \udcff", NOW)
    assert main(["ls", producer.source]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:3] == [producer.source, f"{NOW:%Y-%m-%d}", f"{NOW:%H:%M:%S}"]
    assert {"processed", "4", "p1", "out/ä.zip"} <= set(first.split())
    assert "refused" in second
    assert "no [zip] at all" in second
    assert "\x1b" not in second


def test_ls_knows_all_sources_and_keeps_to_its_limit(producer: Producer, capsys: pytest.CaptureFixture[str]) -> None:
    other = Producer(producer.clients, f"{producer.source}-2")
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
def test_export_writes_every_image_since_then_with_its_facts(producer: Producer, tmp_path: Path, form: str) -> None:
    (batch,) = producer.process(NOW, 3, batches=1)
    producer.process(NOW - timedelta(hours=7), 3)
    assert main(["export", producer.source, "--since", "6h", "--to", str(tmp_path), "--as", form]) == 0
    folder = tmp_path / f"{NOW:%Y%m%dT%H%M%SZ}.0123abcd"
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list(folder.iterdir())) == 6
    path = folder / f"000001-0000-1.{form}"
    pixels = np.load(path) if form == "npy" else np.asarray(Image.open(path))
    assert np.array_equal(pixels, made(batch.archive, 1).pixels)
    told = json.loads(path.with_suffix(".json").read_text())
    assert (told["name"], told["member"], told["pipeline"]) == ("ü 1.jpg", 1, "p1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ls", "nothing"], "knows none of source nothing"),
        (["latest", "nothing"], "none of its archives"),
        (["export", "nothing", "--since", "6h", "--to", "unused"], "no archive since"),
    ],
)
def test_nothing_to_show_is_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert not Path("unused").exists()


def test_a_missing_setting_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STORAGE")
    assert main(["ls"]) == 2
    assert "STORAGE is missing" in capsys.readouterr().err


def test_a_duration_that_is_none_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", "radar", "--since", "soon", "--to", "x"])
    assert caught.value.code == 2
    assert "90s, 10m, 48h or 7d" in capsys.readouterr().err
