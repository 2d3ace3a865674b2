"""A lost ledger: readers notice nothing, a healthy ledger is not changed, and doubtful work is done again."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagefeed.errors import ImageDamagedError
from imagefeed.ledger import Entry
from imagefeed.model import Origin, RawArchive, State
from ingest.model import Step
from storage.clients import Clients
from storage.rebuild import rebuild
from tests.integration.plant import HOUR, MINUTE, NOW, Plant


@pytest.fixture
def plant(clients: Clients, source: str) -> Plant:
    return Plant(clients, source)


def shown(book: list[Entry]) -> list[tuple[object, ...]]:
    """Return the lines of `ls`, without the times that only the ledger contains."""
    return [
        (replace(entry.archive, etag="", raw_at=None), entry.state, entry.pipeline, entry.counts, entry.reason)
        for entry in book
    ]


TABLES = {"archives": ["archives"], "batches": ["batches"], "both": ["archives", "batches"]}


@pytest.mark.parametrize("lost", TABLES)
def test_after_it_everything_says_the_same_as_before(plant: Plant, lost: str) -> None:
    for hours in range(2):
        plant.process(NOW - hours * HOUR, batches=1 + hours)
    plant.process(NOW - 4 * HOUR, batches=1, pipeline="p2")
    touched = plant.see(NOW - 5 * HOUR, done=True, sha256="ab", previous_sha256="ab")
    plant.copied.record(touched.archive, Step.SAME, NOW)
    plant.see(NOW - 6 * HOUR)
    entries, images = shown(plant.entries()), plant.read()
    assert [state for _, state, *_ in entries] == [*[State.PROCESSED] * 3, State.SAME, State.SEEN]
    assert len(images) == 2 * (3 + 2)
    for table in TABLES[lost]:
        plant.lose(getattr(plant.clients, table))
    found = plant.rebuild()
    assert (found.archives, found.unprocessed) == (3, 0)
    assert shown(plant.entries()) == entries
    assert plant.read() == images


def test_times_are_those_of_the_listing_and_the_blobs(plant: Plant) -> None:
    archive = plant.process(NOW - HOUR)
    plant.lose(plant.clients.archives)
    plant.rebuild()
    (entry,) = plant.entries()
    assert entry.times[State.SEEN] == NOW - HOUR + MINUTE
    assert entry.times[State.RAW] == archive.raw_at
    assert abs(entry.times[State.PROCESSED] - datetime.now(UTC)) < 5 * MINUTE


def test_a_healthy_ledger_is_left_as_it_is(plant: Plant) -> None:
    plant.process(NOW)
    plant.copy(NOW - HOUR, announced=False)
    for batch in plant.plan(plant.copy(NOW - 2 * HOUR)):
        plant.run(batch, finish=batch.number == 0)
    plant.ledger.refuse(plant.copy(NOW - 3 * HOUR), "p1", "no zip", NOW)
    plant.see(NOW - 4 * HOUR)
    before = plant.everything()
    found = plant.rebuild()
    assert (found.archives, found.restored, found.results) == (4, 0, 0)
    assert (found.unprocessed, found.oldest) == (1, NOW - HOUR)
    assert plant.everything() == before


def test_a_second_run_changes_nothing(plant: Plant) -> None:
    plant.process(NOW)
    plant.copy(NOW - HOUR)
    plant.lose(plant.clients.archives)
    plant.lose(plant.clients.batches)
    plant.rebuild()
    before = plant.everything()
    assert plant.rebuild().restored == 0
    assert plant.everything() == before


def test_a_single_row_that_was_lost_is_made_again(plant: Plant) -> None:
    archive = plant.process(NOW)
    before = shown(plant.entries())
    for row in (archive.key.ledger_row(), archive.key.ledger_row("p1")):
        plant.clients.archives.delete_entity(plant.source, row)
        plant.rebuild()
        assert shown(plant.entries()) == before


class TestDoubt:
    """Archives that are not provably complete are raw again, so that they are preprocessed again."""

    @pytest.fixture
    def lost(self, plant: Plant) -> RawArchive:
        # Large enough for two rows.
        return plant.process(NOW, size=500)

    def state(self, plant: Plant) -> State:
        plant.lose(plant.clients.archives)
        plant.lose(plant.clients.batches)
        found = plant.rebuild()
        (entry,) = plant.entries()
        assert (found.unprocessed == 1) is (entry.state is State.RAW)
        return entry.state

    def shards(self, plant: Plant) -> list[str]:
        return list(plant.clients.processed.list_blob_names(name_starts_with=f"p1/{plant.source}/"))

    def test_nothing_is_missing(self, plant: Plant, lost: RawArchive) -> None:
        assert self.state(plant) is State.PROCESSED

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_shard_is_missing(self, plant: Plant, lost: RawArchive, number: int) -> None:
        plant.clients.processed.delete_blob(self.shards(plant)[number])
        assert self.state(plant) is State.RAW

    def test_a_shard_was_cut_off(self, plant: Plant, lost: RawArchive) -> None:
        blob = plant.clients.processed.get_blob_client(self.shards(plant)[0])
        metadata = blob.get_blob_properties().metadata
        blob.upload_blob(b"short", overwrite=True, metadata=metadata)
        assert self.state(plant) is State.RAW

    @pytest.mark.parametrize("row", ["000000~0000~00", "000000~0000~01", "000001~refused"])
    def test_a_row_is_missing(self, plant: Plant, lost: RawArchive, row: str) -> None:
        partition = lost.key.partition("p1")
        plant.clients.images.get_entity(partition, row)
        plant.clients.images.delete_entity(partition, row)
        assert self.state(plant) is State.RAW

    def test_a_shard_of_an_older_release_tells_too_little(self, plant: Plant, lost: RawArchive) -> None:
        blob = plant.clients.processed.get_blob_client(self.shards(plant)[0])
        metadata = blob.get_blob_properties().metadata
        blob.set_blob_metadata({name: value for name, value in metadata.items() if name not in ("batches", "counts")})
        assert self.state(plant) is State.RAW

    def test_a_batch_without_images_has_no_shard_to_prove_it(self, plant: Plant) -> None:
        first, second = plant.plan(plant.copy(NOW))
        plant.run(first)
        plant.run(second, imageless=True)
        assert self.state(plant) is State.RAW

    def test_a_worker_died_between_shard_and_ledger(self, plant: Plant) -> None:
        for batch in plant.plan(plant.copy(NOW)):
            plant.run(batch, finish=False)
        assert self.state(plant) is State.PROCESSED

    @pytest.mark.parametrize("missing", [None, 0, 1, 2])
    def test_a_batch_was_divided(self, plant: Plant, missing: int | None) -> None:
        first, long = plant.plan(plant.copy(NOW), images=8)
        plant.run(first)
        for half in plant.ledger.split(long, NOW):
            plant.run(half)
        images = plant.read()
        if missing is not None:
            plant.clients.processed.delete_blob(self.shards(plant)[missing])
        assert self.state(plant) is (State.PROCESSED if missing is None else State.RAW)
        assert missing is not None or plant.read() == images


def test_what_is_raw_again_can_be_preprocessed_again(plant: Plant) -> None:
    archive = plant.process(NOW)
    before, images = shown(plant.entries()), plant.read()
    blob = next(iter(plant.clients.processed.list_blob_names(name_starts_with=f"p1/{plant.source}/")))
    plant.clients.processed.delete_blob(blob)
    plant.lose(plant.clients.archives)
    plant.rebuild()
    assert [raw.version for raw in plant.ledger.list_unfinished(plant.source, "p1", NOW - HOUR)] == [archive.version]
    for batch in plant.plan(archive):
        plant.run(batch)
    assert shown(plant.entries()) == before
    assert plant.read() == images


def test_batches_without_images_are_known_again_if_the_archive_is(plant: Plant) -> None:
    for number, batch in enumerate(plant.plan(plant.copy(NOW), batches=4, images=8)):
        plant.run(batch, imageless=number > 1)
    before, images = shown(plant.entries()), plant.read()
    plant.lose(plant.clients.batches)
    plant.rebuild()
    rows = plant.rows(plant.clients.batches)
    assert [row["images"] for row in rows] == [1, 1, 0, 0]
    assert sum(row["refused"] for row in rows) == 6
    assert all(row["done_at"] for row in rows)
    assert (shown(plant.entries()), plant.read()) == (before, images)


def test_lost_batches_are_no_images_less_without_a_word(plant: Plant) -> None:
    plant.process(NOW)
    images = plant.read()
    plant.lose(plant.clients.batches)
    with pytest.raises(ImageDamagedError, match="rebuild"):
        plant.read()
    # The requests have written rows there again, of batches that seem not to be done.
    plant.rebuild()
    assert plant.read() == images


class TestByHand:
    @pytest.fixture
    def put(self, plant: Plant) -> RawArchive:
        blob = f"{plant.source}/by hand/a.zip"
        plant.clients.raw.upload_blob(blob, b"zip")
        found = plant.raw.find(blob)
        assert found is not None
        assert found.origin is Origin.MANUAL
        plant.ledger.record_raw(found, NOW)
        return found

    def test_it_is_found_again(self, plant: Plant, put: RawArchive) -> None:
        before = shown(plant.entries())
        plant.lose(plant.clients.archives)
        plant.rebuild()
        assert shown(plant.entries()) == before

    def test_it_gets_no_second_row_under_other_settings(self, plant: Plant, put: RawArchive) -> None:
        before = plant.everything()
        rebuild(plant.clients, plant.source, lambda _source, _name: NOW - HOUR)
        assert plant.everything() == before

    def test_it_is_left_to_whoever_has_the_settings(self, plant: Plant, put: RawArchive) -> None:
        plant.lose(plant.clients.archives)
        assert rebuild(plant.clients, plant.source, None).unread == 1
        assert not plant.entries()
