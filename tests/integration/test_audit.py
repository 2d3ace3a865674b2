"""The audit finds everything that is deleted on purpose, and reports nothing if nothing is missing."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from imagefeed.model import Counts, RawArchive
from ingest.model import Promises, Step
from local.azurite import Azurite
from ops.cli.__main__ import main
from ops.health.audit import audit
from ops.health.audit_deep import read_everything
from ops.health.findings import Finding, Severity, Slug
from ops.health.promises import Held
from preprocess.model import Notes
from storage.blobs.runs import LastRun, note_run
from storage.clients import Clients
from tests.integration.plant import HOUR, MINUTE, NOW, Plant

LATER = NOW + 2 * HOUR
"""A time at which all unfinished work is late."""


@pytest.fixture
def plant(clients: Clients, source: str) -> Plant:
    return Plant(clients, source)


def find(plant: Plant, *, now: datetime = LATER, since: timedelta = 48 * HOUR, deep: bool = False) -> Sequence[Finding]:
    audited = audit(
        plant.clients,
        plant.source,
        since=NOW - since,
        now=now,
        held=Held(promises={}),
        stamp_of=lambda _source, _name: None,
        pipeline="p1",
    )
    findings = [*audited.findings, *(read_everything(plant.clients, audited) if deep else ())]
    # The archives of a plant have a member that is refused.
    return [finding for finding in findings if finding.slug is not Slug.MEMBERS_REFUSED]


def slugs(findings: Sequence[Finding]) -> set[Slug]:
    return {finding.slug for finding in findings}


def test_nothing_is_missing_where_nothing_is(plant: Plant) -> None:
    plant.process(NOW, batches=1)
    plant.process(NOW - HOUR)
    plant.see(NOW - 2 * HOUR, done=True, sha256="ab", previous_sha256="ab")
    plant.copied.record(plant.tracked_files[-1].archive, Step.SAME, NOW)
    assert find(plant, deep=True) == []


def test_what_is_under_way_is_no_finding_before_it_is_late(plant: Plant) -> None:
    plant.copy(NOW)
    plant.see(NOW - MINUTE)
    assert find(plant, now=NOW + 10 * MINUTE) == []
    assert slugs(find(plant)) == {Slug.NOT_PREPROCESSED, Slug.NOT_COPIED}


def raw_blob(plant: Plant, archive: RawArchive) -> str:
    plant.clients.raw.delete_blob(archive.blob)
    return archive.blob


def raw_blob_and_row(plant: Plant, archive: RawArchive) -> str:
    plant.lose(plant.clients.archives)
    return raw_blob(plant, archive)


def bytes_of_raw_blob(plant: Plant, archive: RawArchive) -> str:
    blob = plant.clients.raw.get_blob_client(archive.blob)
    blob.upload_blob(b"short", overwrite=True, metadata=blob.get_blob_properties().metadata)
    return archive.blob


def shard_of(archive: RawArchive) -> str:
    return archive.key.shard("p1", archive.path, 0)


def shard(plant: Plant, archive: RawArchive) -> str:
    name = shard_of(archive)
    plant.clients.processed.delete_blob(name)
    return name


def end_of_shard(plant: Plant, archive: RawArchive) -> str:
    name = shard_of(archive)
    blob = plant.clients.processed.get_blob_client(name)
    content = blob.download_blob().readall()
    blob.upload_blob(content[:-512], overwrite=True, metadata=blob.get_blob_properties().metadata)
    return name


def image_row(plant: Plant, archive: RawArchive) -> str:
    partition = archive.key.partition("p1")
    plant.clients.images.delete_entity(partition, "000000~0000~00")
    return partition


def refusal_row(plant: Plant, archive: RawArchive) -> str:
    partition = archive.key.partition("p1")
    plant.clients.images.delete_entity(partition, "000001~refused")
    return partition


def row_of_the_copy(plant: Plant, archive: RawArchive) -> str:
    plant.clients.archives.delete_entity(plant.source, archive.key.ledger_row())
    return archive.blob


def row_of_the_pipeline(plant: Plant, archive: RawArchive) -> str:
    plant.clients.archives.delete_entity(plant.source, archive.key.ledger_row("p1"))
    return archive.blob


def all_rows(plant: Plant, archive: RawArchive) -> str:
    plant.lose(plant.clients.archives)
    return archive.blob


def batch_row(plant: Plant, archive: RawArchive) -> str:
    partition = archive.key.partition("p1")
    plant.clients.batches.delete_entity(partition, "0001")
    return partition


@pytest.mark.parametrize(
    ("lose", "slug"),
    [
        (raw_blob, Slug.RAW_MISSING),
        (raw_blob_and_row, Slug.RAW_MISSING),
        (bytes_of_raw_blob, Slug.RAW_DAMAGED),
        (shard, Slug.SHARD_MISSING),
        (end_of_shard, Slug.SHARD_DAMAGED),
        (image_row, Slug.ROWS_MISSING),
        (refusal_row, Slug.ROWS_MISSING),
        (row_of_the_copy, Slug.LEDGER_MISSING),
        (all_rows, Slug.LEDGER_MISSING),
        (row_of_the_pipeline, Slug.NOT_PREPROCESSED),
        (batch_row, Slug.BATCHES_MISSING),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_kind_of_loss_is_found_and_named(
    plant: Plant, lose: Callable[[Plant, RawArchive], str], slug: Slug
) -> None:
    archive = plant.process(NOW)
    name = lose(plant, archive)
    found = [finding for finding in find(plant) if finding.slug is slug]
    assert name in [finding.name for finding in found]
    assert {finding.severity for finding in found} == {Severity.MISSING}
    assert all(plant.source in finding.advice + finding.name for finding in found)


@pytest.mark.parametrize("lose", [row_of_the_copy, row_of_the_pipeline, all_rows, batch_row])
def test_a_ledger_that_was_made_again_lacks_nothing(plant: Plant, lose: Callable[[Plant, RawArchive], str]) -> None:
    lose(plant, plant.process(NOW))
    assert find(plant)
    plant.rebuild()
    assert find(plant, deep=True) == []


def test_a_ledger_that_was_made_again_does_not_cover_up_what_is_lost(plant: Plant) -> None:
    name = raw_blob_and_row(plant, plant.process(NOW))
    plant.rebuild()
    assert (Slug.RAW_MISSING, name) in [(finding.slug, finding.name) for finding in find(plant)]


class TestReadingEverything:
    """Damage that is visible only in the bytes."""

    def test_a_bit_of_a_raw_blob(self, plant: Plant) -> None:
        archive = plant.process(NOW)
        blob = plant.clients.raw.get_blob_client(archive.blob)
        content = bytearray(blob.download_blob().readall())
        content[7] ^= 1
        blob.upload_blob(bytes(content), overwrite=True, metadata=blob.get_blob_properties().metadata)
        assert find(plant) == []
        assert slugs(find(plant, deep=True)) == {Slug.RAW_DAMAGED}

    def test_a_bit_of_an_image_in_a_row(self, plant: Plant) -> None:
        archive = plant.process(NOW)
        partition = archive.key.partition("p1")
        row = plant.clients.images.get_entity(partition, "000000~0000~00")
        row["data0"] = bytes(row["data0"][:-1]) + bytes([row["data0"][-1] ^ 1])
        plant.clients.images.update_entity(row)
        assert find(plant) == []
        assert slugs(find(plant, deep=True)) == {Slug.ROWS_DAMAGED}

    def test_a_bit_of_an_image_in_a_shard(self, plant: Plant) -> None:
        blob = plant.clients.processed.get_blob_client(shard_of(plant.process(NOW)))
        content = bytearray(blob.download_blob().readall())
        content[700] ^= 1
        blob.upload_blob(bytes(content), overwrite=True, metadata=blob.get_blob_properties().metadata)
        assert find(plant) == []
        assert slugs(find(plant, deep=True)) == {Slug.SHARD_DAMAGED}


def test_an_archive_of_which_only_a_shard_is_left(plant: Plant) -> None:
    archive = plant.process(NOW, batches=1)
    raw_blob_and_row(plant, archive)
    plant.tracked_files.clear()
    plant.save()
    assert [(finding.slug, finding.name) for finding in find(plant)] == [(Slug.LEDGER_MISSING, shard_of(archive))]


def test_a_file_that_was_never_copied(plant: Plant) -> None:
    path = plant.see(NOW, failures=3).archive.file.path
    (found,) = find(plant)
    assert (found.slug, found.name, found.detail) == (Slug.NOT_COPIED, path, "3 tries failed")


@pytest.mark.parametrize(("failures", "reason"), [(0, "it waits"), (2, "2 tries failed: it waits")])
def test_a_file_that_was_never_copied_tells_why(plant: Plant, failures: int, reason: str) -> None:
    tracked_file = plant.see(NOW, failures=failures)
    plant.copied.trouble(tracked_file.archive, "it waits", NOW)
    (found,) = find(plant)
    assert (found.slug, found.detail) == (Slug.NOT_COPIED, reason)


def test_a_file_that_vanished_from_the_listing_without_a_word(plant: Plant) -> None:
    path = plant.see(NOW).archive.file.path
    plant.tracked_files.clear()
    plant.save()
    (found,) = find(plant)
    assert (found.slug, found.name) == (Slug.NO_LONGER_LISTED, path)


def test_ends_are_told_with_their_reason(plant: Plant) -> None:
    for number, step in enumerate((Step.EXPIRED, Step.SUPERSEDED)):
        plant.copied.record(plant.see(NOW - number * HOUR).archive, step, NOW)
    plant.tracked_files.clear()
    plant.save()
    plant.ledger.refuse(plant.copy(NOW - 2 * HOUR), "p1", "no zip at all", NOW)
    plant.ledger.fail(plant.copy(NOW - 3 * HOUR), "p1", "tries are spent", NOW)
    plant.process(NOW - 4 * HOUR)
    found = {finding.slug: finding for finding in find(plant)}
    assert set(found) == {Slug.EXPIRED, Slug.REFUSED, Slug.FAILED}
    assert {slug for slug, finding in found.items() if finding.severity is Severity.MISSING} == {
        Slug.EXPIRED,
        Slug.FAILED,
    }
    assert (found[Slug.REFUSED].detail, found[Slug.FAILED].detail) == ("no zip at all", "tries are spent")


def test_what_was_mended_in_another_way_is_history(plant: Plant) -> None:
    """A file that vanished, and was uploaded by hand under the same stamp."""
    lost = plant.see(NOW - HOUR)
    plant.tracked_files.clear()
    plant.save()
    assert slugs(find(plant)) == {Slug.NO_LONGER_LISTED}
    blob = f"{plant.source}/by hand/a.zip"
    plant.clients.raw.upload_blob(blob, b"zip")
    found = plant.raw.find(blob)
    assert found is not None
    by_hand = replace(found, stamp=lost.archive.stamp)
    plant.ledger.record_raw(by_hand, NOW)
    for batch in plant.plan(by_hand):
        plant.run(batch)
    assert slugs(find(plant)) == {Slug.BY_HAND}


def test_limits_that_were_nearly_reached_and_a_hook_that_fails_are_told(plant: Plant) -> None:
    hook = "PREPROCESS_HOOK (hooks.py:3) failed: KeyError: 'x'"
    for minutes in (10, 20):
        archive = plant.copy(NOW - minutes * MINUTE)
        for batch in plant.plan(archive):
            notes = Notes(reason=hook, near={"LIMIT_PIXELS": 0.8 + minutes / 200})
            plant.ledger.finish(batch, Counts(members=2, refused=2), NOW, notes)
    found = {finding.slug: finding for finding in find(plant, now=NOW)}
    assert found[Slug.NOTHING_READABLE].detail == hook
    assert (found[Slug.NEAR_LIMIT].name, found[Slug.NEAR_LIMIT].detail[:9]) == ("LIMIT_PIXELS", "90% of it")
    assert found[Slug.REFUSED].detail == f"none of its 4 members gave an image (4 refused): {hook}"
    # The newest archives say nothing about the present if the range is over.
    audited = audit(
        plant.clients, plant.source, since=NOW - HOUR, until=NOW, now=LATER, held=Held(promises={}),
        stamp_of=lambda _source, _name: None,
    )  # fmt: skip
    assert Slug.NOTHING_READABLE not in slugs(audited.findings)


def test_what_was_put_there_by_hand_is_told_and_lacks_only_its_row(plant: Plant) -> None:
    blob = f"{plant.source}/by hand/a.zip"
    plant.clients.raw.upload_blob(blob, b"zip")
    assert [(finding.slug, finding.name) for finding in find(plant)] == [(Slug.LEDGER_MISSING, blob)]
    found = plant.raw.find(blob)
    assert found is not None
    # Its stamp was read with other settings than the present ones.
    known = replace(found, stamp=NOW - 99 * HOUR)
    plant.ledger.record_raw(known, NOW)
    assert find(plant) == []
    report = find(plant, since=100 * HOUR)
    assert Slug.BY_HAND in slugs(report)
    assert Slug.LEDGER_MISSING not in slugs(report)


def test_only_what_is_younger_is_looked_at(plant: Plant) -> None:
    raw_blob(plant, plant.process(NOW - 5 * HOUR))
    assert find(plant, since=4 * HOUR) == []
    assert find(plant, since=6 * HOUR)


class TestCommand:
    @pytest.fixture(autouse=True)
    def _settings(self, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("SOURCES__")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("DATA_STORAGE", azurite.connection)

    def test_nothing_is_missing(self, plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
        plant.process(NOW)
        plant.save(promises=Promises(interval=10 * HOUR))
        assert main(["audit", plant.source, "--pipeline", "p1", "--deep"]) == 0
        output = capsys.readouterr().out
        assert "1 archive, 2 images" in output
        assert "nothing is missing" in output

    def test_a_source_whose_promises_nobody_knows_is_not_judged(
        self, plant: Plant, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plant.process(NOW)
        assert main(["audit", plant.source, "--pipeline", "p1"]) == 3
        assert "not judged: gaps, silence and deadlines" in capsys.readouterr().out
        plant.save(error="wrong password", listed_at=NOW - 12 * MINUTE)
        assert main(["audit", plant.source, "--pipeline", "p1"]) == 1
        assert "wrong password" in capsys.readouterr().out

    def test_a_shell_without_settings_judges_by_what_the_app_keeps(
        self, plant: Plant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for minutes in (40, 50):
            plant.process(NOW - minutes * MINUTE, batches=1)
        command = ["audit", plant.source, "--pipeline", "p1", "--json", "--since", "1h"]
        plant.save(promises=Promises(interval=10 * MINUTE))
        assert main(command) == 1
        assert [
            one["slug"]
            for one in json.loads(capsys.readouterr().out)["sources"][0]["findings"]
            if one["severity"] == "missing"
        ] == ["gap"]
        plant.save(promises=Promises(interval=10 * HOUR))
        # Settings in this shell do not count beside it.
        monkeypatch.setenv(f"SOURCES__{plant.source.upper().replace('-', '_')}__INTERVAL", "1m")
        assert main(command) == 0

    def test_something_is_missing(self, plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
        name = shard(plant, plant.process(NOW))
        assert main(["audit", plant.source, "--pipeline", "p1"]) == 1
        output = capsys.readouterr().out
        assert name in output
        assert "imagefeed replay" in output
        assert "1 missing" in output

    def test_a_source_that_the_app_no_longer_has_is_held_to_nothing(self, plant: Plant) -> None:
        plant.process(NOW - 40 * MINUTE, batches=1)
        plant.save(promises=Promises())
        command = ["audit", plant.source, "--pipeline", "p1"]
        assert main(command) == 1
        note_run(plant.clients, "poll_sources", LastRun(at=NOW, sources=("another",)))
        try:
            assert main(command) == 0
        finally:
            note_run(plant.clients, "poll_sources", LastRun(at=NOW))

    def test_of_a_source_that_the_app_has_not_polled_the_settings_of_the_shell_count(
        self, plant: Plant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A name of a source in settings: hyphens are underscores there.
        setting = f"SOURCES__{plant.source.upper().replace('-', '_')}__"
        for minutes in (0, 10, 40):
            plant.process(NOW - minutes * MINUTE, batches=1)
        plant.see(NOW - 40 * HOUR)
        command = ["audit", plant.source, "--pipeline", "p1", "--json", "--since", "2h"]
        for setting_of, expected in (("2h", {"near_deletion", "not_copied"}), ("60h", {"not_copied"})):
            monkeypatch.setenv(f"{setting}INTERVAL", setting_of)
            monkeypatch.setenv(f"{setting}RETENTION", "48h" if setting_of == "2h" else "99h")
            assert main(command) == 1
            report = json.loads(capsys.readouterr().out)
            (source,) = report["sources"]
            assert (source["source"], source["judged"], source["archives"]) == (plant.source, True, 3)
            missing = [one["slug"] for one in source["findings"] if one["severity"] == "missing"]
            assert ({*missing}, report["missing"]) == (expected, len(missing))

    def test_an_app_that_preprocesses_nothing_is_red_and_told_why(
        self, plant: Plant, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plant.process(NOW)
        plant.save(promises=Promises(interval=10 * HOUR))
        command = ["audit", plant.source, "--pipeline", "p1", "--json"]
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out)["findings"] == []
        note_run(plant.clients, "poll_sources", LastRun(at=NOW, stopped="pipeline dark: made with another hook"))
        try:
            assert main(command) == 1
            (found,) = json.loads(capsys.readouterr().out)["findings"]
            assert (found["slug"], found["severity"]) == ("pipeline_stopped", "missing")
            assert main(["audit", plant.source, "--pipeline", "p1"]) == 1
            assert "made with another hook" in " ".join(capsys.readouterr().out.split())
        finally:
            note_run(plant.clients, "poll_sources", LastRun(at=NOW))

    def test_a_source_that_nobody_knows_is_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["audit", "nothing"]) == 2
        assert "there is no such source" in capsys.readouterr().err

    def test_the_ledger_is_made_again(self, plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
        plant.process(NOW)
        plant.copy(NOW - HOUR)
        plant.clients.raw.upload_blob(f"{plant.source}/hand.zip", b"zip")
        all_rows(plant, plant.copy(NOW - 2 * HOUR))
        assert main(["rebuild", plant.source]) == 0
        output = capsys.readouterr().out
        assert "4 archives in the raw container: ledger rows restored of 3, batch results restored of 1" in output
        assert "2 archives not processed" in output
        assert "1 blob uploaded by hand and not restored" in output
