"""The wiring: functions end in order before the host ends them, and note that they have run."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import bootstrap
from local.host.app import parse_time_span
from storage.blobs.runs import FUNCTION_TIMEOUT


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
