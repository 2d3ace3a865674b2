"""The smoke test on the whole system: it passes if everything works, and names a trigger that is disabled."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from imagefeed.layout import SMOKE
from local.system import PROJECT, System, system
from storage.clients import Clients, connected
from tests.e2e.conftest import SETTINGS


def smoke(running: System, within: str) -> tuple[int, str]:
    """Run the command as a person does, in a shell that has the settings of the app."""
    env = {"PATH": os.environ["PATH"], **running.settings}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "doctor", "--smoke", "--within", within],
        cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert not done.stderr
    return done.returncode, done.stdout


def left(stored: Clients) -> list[str]:
    """Return the names of its data in storage."""
    containers = (stored.raw, stored.processed, stored.state)
    blobs = [name for container in containers for name in container.list_blob_names() if SMOKE in name]
    tables = (stored.archives, stored.batches, stored.images)
    return blobs + [
        row["PartitionKey"] for table in tables for row in table.list_entities() if SMOKE in row["PartitionKey"]
    ]


def test_it_passes_where_all_is_well(running: System, stored: Clients) -> None:
    status, output = smoke(running, "60s")
    assert status == 0, output
    steps = ("uploaded raw/smoke/", "planned by on_raw_archive: 3 batches", "taken from the queue by process_batch")
    for step in (
        *steps,
        "read back by rows and by shards: 3 images, equal",
        "queue poll by poll_source",
        "was removed",
    ):
        assert step in output, output
    assert left(stored) == []
    # It is not a misspelt source, about whose name a warning would be right.
    log = (running.logs / "host.log").read_text(errors="replace")
    assert ("poll.smoke" in log, "poll.unknown" in log) == (True, False)


class TestSwitchedOff:
    """Both queue triggers are disabled by the host's own switch; the rest of the system works."""

    @pytest.fixture(scope="class")
    @staticmethod
    def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
        off = {f"AzureWebJobs.{name}.Disabled": "true" for name in ("process_batch", "poll_source")}
        folder = tmp_path_factory.mktemp("deaf")
        with system(folder, sources={"north": "sftp", "south": "ftp"}, settings={**SETTINGS, **off}) as started:
            yield started

    def test_each_is_named_and_nothing_is_left(self, running: System) -> None:
        status, output = smoke(running, "5s")
        assert status == 1
        wrong = [line for line in output.splitlines() if line.startswith(" WRONG")]
        assert [
            name for line in wrong for name in ("process_batch", "poll_source") if f"of {name} does not" in line
        ] == [
            "process_batch",
            "poll_source",
        ]
        assert "AzureWebJobs.process_batch.Disabled is not set" in wrong[0]
        with connected(running.connection) as stored:
            assert left(stored) == []

    @pytest.mark.long
    @pytest.mark.timeout(240)
    def test_reconcile_tells_of_the_requests_to_poll_that_nobody_takes(self, running: System) -> None:
        log, deadline = running.logs / "host.log", time.monotonic() + 180
        while "function.stands_still function=poll_source a message has waited" not in log.read_text(errors="replace"):
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)
