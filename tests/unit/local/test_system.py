"""A new start of a system removes an earlier run, and nothing else."""

import os
import sys
from pathlib import Path

import pytest

from imagefeed.errors import PermanentError
from local.azurite import Azurite, Ports
from local.child import Child
from local.reset import forget
from local.system import System, alone, clean_environment, system
from tests.fixtures.sample_app import wait_for


def test_a_folder_that_holds_something_else_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "only-copy.jpg").write_bytes(b"x")
    with pytest.raises(PermanentError, match="holds something else"), system(folder, fresh=True):
        pass
    assert (folder / "only-copy.jpg").exists()


def test_the_callers_own_settings_and_telemetry_are_kept_from_a_local_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATA_STORAGE",
        "DATA_STORAGE__clientId",
        "SOURCES__RADAR__PASSWORD",
        "PREPROCESS_WIDTH",
        "RECONCILE_SCHEDULE",
        "AzureWebJobsStorage",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "OTEL_SERVICE_NAME",
        "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    ):
        monkeypatch.setenv(name, "of the caller")
    monkeypatch.setenv("SSL_CERT_FILE", "/of/the/machine")
    environment = clean_environment()
    assert "of the caller" not in environment.values()
    assert environment["SSL_CERT_FILE"] == "/of/the/machine"


def test_what_ran_is_forgotten_but_not_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "azurite").mkdir(parents=True)
    with alone(folder), pytest.raises(PermanentError, match="another system runs there"):
        forget(folder)
    assert folder.exists()
    forget(folder)
    forget(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_grew_too_long_is_put_aside_and_goes_on_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.child._LONGEST_LOG", 10)
    child = Child(["true"], tmp_path, tmp_path / "a.log", {})
    child.trim()
    with child.log.open("ab") as log:
        log.write(b"0123456789\n")
        log.flush()
        child.trim()
        log.write(b"after\n")
    assert child.log.read_text() == "after\n"
    assert (tmp_path / "a.log.1").read_text() == "0123456789\n"
    child.trim()
    assert child.log.read_text() == "after\n"


def test_two_threads_that_start_a_program_start_it_once(tmp_path: Path) -> None:
    child = Child(["sleep", "30"], tmp_path, tmp_path / "a.log", {"PATH": os.environ["PATH"]})
    child.start()
    try:
        first = child.pid
        child.start()
        assert (child.pid, child.ended) == (first, False)
    finally:
        child.kill()


def test_an_emulator_that_ended_by_itself_stops_all_with_its_usual_reason(tmp_path: Path) -> None:
    class Dead(Azurite):
        ended = True

    storage = Dead(tmp_path, tmp_path, in_memory=True, ports=Ports())
    running = System(tmp_path / "run", storage=storage, settings={}, sources={}, host="local")
    with pytest.raises(PermanentError, match=r"Azurite has ended by itself.*its tables are full"):
        running.check()


def test_a_host_that_ends_is_started_again_until_it_has_ended_thrice_without_an_answer(tmp_path: Path) -> None:
    storage = Azurite(tmp_path, tmp_path, in_memory=True, ports=Ports())
    running = System(tmp_path / "run", storage=storage, settings={}, sources={}, host="local")
    running.logs.mkdir(parents=True)
    ends = Child([sys.executable, "-c", "print('the reason')"], tmp_path, running.logs / "host.log", {})
    running._host = ends
    ends.start()
    for _ in range(2):
        wait_for(lambda: ends.ended)
        assert running.check() == "the functions host has ended and is restarted, as Azure does: the reason"
    wait_for(lambda: ends.ended)
    with pytest.raises(PermanentError, match="the host has ended by itself, so everything is stopped"):
        running.check()
    assert running.host_ends == 2
