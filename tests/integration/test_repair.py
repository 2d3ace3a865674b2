"""Lost results are noticed and made again, byte for byte, but not forever."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from imagefeed.model import State
from ops.health.result_audit import SlicedResultAudit
from preprocess.context import Context
from preprocess.model import BatchSizes, Limits, Loss, Recipe
from preprocess.recovery.repair import RepairOutcome, repair
from storage.clients import Clients
from storage.results import ShardsAndRows
from tests.fakes.preprocessing import MemoryBatchQueue
from tests.integration.plant import HOUR, NOW, Plant
from tests.integration.test_audit import batch_row, end_of_shard, image_row, shard

WINDOW = 72 * HOUR


class World:
    """A source with archives, and reconcile's effects on them."""

    def __init__(self, clients: Clients, source: str) -> None:
        self.plant = Plant(clients, source)
        self.queue = MemoryBatchQueue()
        self.p = Context(
            raw=self.plant.raw,
            results=ShardsAndRows(clients, "npy", 2),
            ledger=self.plant.ledger,
            queue=self.queue,
            recipe=Recipe(),
            hook=None,
            pipeline="p1",
            limits=Limits(),
            sizes=BatchSizes(),
        )

    def repair(self, **slices: int) -> RepairOutcome:
        return repair([self.plant.source], self.audit(**slices), self.p, NOW, WINDOW)

    def audit(self, **slices: int) -> SlicedResultAudit:
        return SlicedResultAudit(self.plant.clients, **slices)

    def lost(self, **slices: int) -> Sequence[Loss]:
        return self.audit(**slices).lost(self.plant.source, "p1", NOW - WINDOW)

    def work(self) -> None:
        """Do the requested work."""
        for message in self.queue.messages:
            archive = self.plant.raw.find(message.blob)
            assert archive is not None
            states = self.plant.ledger.plan(archive, "p1") or ()
            self.plant.run(next(state.batch for state in states if state.batch.number == message.batch))
        self.queue.messages.clear()

    def kept(self) -> tuple[Any, ...]:
        """All results, byte for byte."""
        clients, prefix = self.plant.clients, f"p1/{self.plant.source}/"
        shards = {name: clients.processed.download_blob(name).readall() for name in self.names(prefix)}
        return shards, [dict(row) for row in self.plant.rows(clients.images)], self.plant.read()

    def names(self, prefix: str) -> list[str]:
        return list(self.plant.clients.processed.list_blob_names(name_starts_with=prefix))


@pytest.fixture
def world(clients: Clients, source: str) -> World:
    return World(clients, source)


@pytest.mark.parametrize("lose", [shard, end_of_shard, image_row, batch_row], ids=lambda each: each.__name__)
def test_what_was_lost_is_told_and_comes_back_as_it_was(
    world: World, lose: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    archive = world.plant.process(NOW)
    world.plant.process(NOW - HOUR)
    before = world.kept()
    assert world.repair() == RepairOutcome()
    name = lose(world.plant, archive)
    assert world.repair() == RepairOutcome(asked=1)
    assert f"results.lost blob={archive.blob}" in caplog.text
    assert name in caplog.text
    assert [entry.state for entry in world.plant.entries()] == [State.PROCESSING, State.PROCESSED]
    assert world.repair() == RepairOutcome(), "it is under way"
    world.work()
    assert world.kept() == before
    assert world.repair() == RepairOutcome()


def test_what_is_lost_again_and_again_is_not_made_for_ever(world: World, caplog: pytest.LogCaptureFixture) -> None:
    archive = world.plant.process(NOW)
    outcomes = []
    for _ in range(3):
        shard(world.plant, archive)
        outcomes.append(world.repair())
        world.work()
    shard(world.plant, archive)
    outcomes += [world.repair(), world.repair()]
    assert outcomes == [RepairOutcome(asked=1)] * 3 + [RepairOutcome(beyond=1)] * 2
    assert world.queue.messages == []
    assert "results.beyond_repair" in caplog.text


@pytest.mark.parametrize("why", ["gone", "archive tier"])
def test_what_cannot_be_read_is_told_and_stays_processed(
    world: World, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    archive = world.plant.process(NOW)
    shard(world.plant, archive)
    blob = world.plant.clients.raw.get_blob_client(archive.blob)
    blob.delete_blob() if why == "gone" else blob.set_standard_blob_tier("Archive")
    assert world.repair() == RepairOutcome(beyond=1)
    assert why in caplog.text
    assert [entry.state for entry in world.plant.entries()] == [State.PROCESSED]


@pytest.mark.parametrize("slices", [{"max_archives": 2}, {"max_images": 4}])
def test_slice_by_slice_all_archives_come_round_and_then_again(world: World, slices: dict[str, int]) -> None:
    archives = [world.plant.process(NOW - HOUR * number) for number in range(5)]
    for archive in archives:
        shard(world.plant, archive)
    rounds = 5 // (slices.get("max_archives") or 2) + 1
    for _ in range(2):
        seen = [[loss.archive.version for loss in world.lost(**slices)] for _ in range(rounds)]
        assert [version for each in seen for version in each] == [archive.version for archive in archives]
        assert max(map(len, seen)) == slices.get("max_archives", 2)


def test_archives_of_one_stamp_stay_together_and_nothing_is_passed_over(world: World) -> None:
    """The cursor is a stamp: the second of two archives of one second would never be checked."""
    for age in range(2):
        world.plant.process(NOW - HOUR * age)
    entry, older = world.plant.entries()
    assert world.audit(max_archives=1)._slice([entry, entry, older]) == [entry, entry]


def test_what_is_outside_the_window_is_left_alone(world: World) -> None:
    archive = world.plant.process(NOW - WINDOW - HOUR)
    shard(world.plant, archive)
    assert world.repair() == RepairOutcome()


def test_an_archive_that_is_done_again_right_now_has_lost_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = world.plant.process(NOW)
    shard(world.plant, archive)
    listed = world.plant.clients.processed.list_blobs

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        world.plant.ledger.reset(archive, "p1", NOW, NOW)
        return listed(*args, **kwargs)

    monkeypatch.setattr(world.plant.clients.processed, "list_blobs", meanwhile)
    assert world.lost() == []


def test_another_pipeline_begins_with_the_newest(world: World) -> None:
    for age in range(2):
        world.plant.process(NOW - HOUR * age)
    world.lost(max_archives=1)
    cursors = [world.audit()._cursor(world.plant.source, pipeline) for pipeline in ("p1", "p2")]
    assert cursors == [NOW, None]
