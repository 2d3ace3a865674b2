"""The wiring: functions end in order before the host ends them, and record their runs."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

import bootstrap
from config.errors import PipelineMismatchError
from local.host.app import parse_time_span
from preprocess.recipe import Identity
from storage.blobs import runs
from storage.blobs.runs import FUNCTION_TIMEOUT, LastRun


def test_a_run_of_reconcile_that_has_taken_its_time_begins_with_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    assert list(bootstrap.in_time([1, 2, 3], now)) == [1, 2, 3]
    assert list(bootstrap.in_time([1, 2, 3], now - timedelta(minutes=16))) == []
    assert "reconcile.cut" in caplog.text


def test_a_run_that_cannot_be_noted_fails_nothing_and_is_tried_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in os.environ if name.upper().startswith(("DATA_STORAGE", "SOURCES__"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(bootstrap, "_NOTED", {})
    for function in ("reconcile", "reconcile", "process_batch", "on_raw_archive"):
        bootstrap.record_run(function)
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "reconcile",
        "process_batch",
    ]


def test_a_batch_may_take_as_long_as_the_host_lets_it() -> None:
    host = json.loads((Path(bootstrap.__file__).parent / "host.json").read_text())
    assert parse_time_span(host["functionTimeout"]) == FUNCTION_TIMEOUT


def test_a_poll_records_the_pipeline_that_the_app_runs_under_or_why_it_runs_under_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: dict[str, LastRun] = {}
    monkeypatch.setattr(runs, "note_run", lambda _clients, function, run: noted.update({function: run}))
    monkeypatch.setattr(runs, "describe_run", lambda _function, _settings, at: LastRun(at=at))
    monkeypatch.setattr(bootstrap, "build_services", lambda: SimpleNamespace(settings=None, clients=None))
    monkeypatch.setattr(bootstrap, "build_replay_context", lambda: None)
    monkeypatch.setattr(bootstrap, "_identity", lambda: Identity(pipeline="p-1", fingerprint="feed", hook=None))
    monkeypatch.setattr(bootstrap, "_NOTED", {})
    bootstrap.record_run("poll_sources")
    bootstrap.record_run("reconcile")
    assert [(run.pipeline, run.fingerprint, run.stopped) for run in noted.values()] == [
        ("p-1", "feed", None),
        (None, None, None),
    ]

    def mismatch() -> NoReturn:
        raise PipelineMismatchError("pipeline p-1: its results were made with another hook")

    monkeypatch.setattr(bootstrap, "build_replay_context", mismatch)
    monkeypatch.setattr(bootstrap, "_NOTED", {})
    bootstrap.record_run("poll_sources")
    run = noted["poll_sources"]
    assert (run.pipeline, run.stopped) == (None, "pipeline p-1: its results were made with another hook")
