"""A system that starts anew removes an earlier run, and nothing else."""

from pathlib import Path

import pytest

from errors import PermanentError
from local.child import Child
from local.reset import forget
from local.system import alone, clean_environment, system


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
    found = clean_environment()
    assert "of the caller" not in found.values()
    assert found["SSL_CERT_FILE"] == "/of/the/machine"


def test_what_ran_is_forgotten_but_not_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "azurite").mkdir(parents=True)
    with alone(folder), pytest.raises(PermanentError, match="another one runs there"):
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
