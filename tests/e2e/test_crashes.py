"""Work of dead processes is resumed by the tick of the poll alone: `reconcile` does not run here."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from local.system import QUICK, System, system
from storage.blobs.runs import last_run
from storage.clients import Clients, connected
from tests.e2e.test_stories import archive, drop, eventually, images_of, picture, row_of, settled

SETTINGS = {
    **QUICK,
    "RECONCILE_SCHEDULE": "0 0 0 29 2 *",
    # A claim runs out after 5 s then. The host's leases are shorter by the factor 4: a message's lasts 150 s.
    "PIPELINE_REDRIVE_AFTER": "60s",
    "BATCH_MEMBERS": "2",
}
INLINE, QUEUED = 20, 40
"""Numbers of members: ten batches, which run in the Event Grid call, and twenty, which all go to the queue."""


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("crashing")
    suppressed = "_suppressed.zip"
    with system(
        folder, sources={"north": "sftp"}, settings=SETTINGS, host="local", scale=4, suppressed=suppressed
    ) as started:
        yield started


@pytest.fixture(scope="module")
def looked_at(crashing: System) -> Iterator[Clients]:
    with connected(crashing.connection) as clients:
        yield clients


@pytest.mark.parametrize("members", [INLINE, QUEUED])
def test_a_host_that_is_killed_within_a_batch_costs_no_lease_of_a_message(
    crashing: System, looked_at: Clients, members: int
) -> None:
    pictures = [picture(number, size=(600, 600)) for number in range(members)]
    name = drop(crashing, "north", archive(*pictures))
    eventually(lambda: running_batch(looked_at, name), "a batch runs", crashing)
    crashing.kill_host()
    killed = datetime.now(UTC)
    crashing.start_host()
    assert eventually(lambda: settled(looked_at, "north", name), "it is processed", crashing) == "processed"
    assert len(images_of(looked_at, "north", name)) == members
    row = row_of(looked_at, "north", name, pipeline=True)
    assert row is not None
    assert (row["processed_at"] - killed).total_seconds() < 60, "less than half of the message's lease"
    assert last_run(looked_at, "reconcile") is None


def test_an_archive_of_which_no_event_tells_is_planned_by_a_look(crashing: System, looked_at: Clients) -> None:
    root = crashing.sources["north"].root
    name = "20260301_suppressed.zip"
    (root / f"{name}.part").write_bytes(archive(picture(1)))
    (root / f"{name}.part").rename(root / name)
    assert eventually(lambda: settled(looked_at, "north", name), "it is processed", crashing) == "processed"
    assert last_run(looked_at, "reconcile") is None


@pytest.mark.long
def test_a_worker_that_is_killed_within_a_batch_costs_no_lease_either(crashing: System, looked_at: Clients) -> None:
    name = drop(crashing, "north", archive(*(picture(number, size=(600, 600)) for number in range(INLINE))))
    eventually(lambda: running_batch(looked_at, name), "a batch runs", crashing)
    assert crashing.kill_worker()
    assert eventually(lambda: settled(looked_at, "north", name), "it is processed", crashing) == "processed"


def running_batch(stored: Clients, name: str) -> bool | None:
    own = row_of(stored, "north", name)
    if own is None:
        return None
    rows = stored.batches.list_entities()
    mine = (row for row in rows if row["PartitionKey"].endswith(f"~{own['version']}"))
    return any(row.get("claim") == "running" and "done_at" not in row for row in mine) or None
