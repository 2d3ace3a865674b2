"""The record of the pipeline that is read by default: how it is written, and how readers use it."""

import argparse
import json
import logging
import warnings
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from imagefeed import OlderResultsWarning
from imagefeed.current import current_pipeline
from imagefeed.errors import ImageDamagedError
from imagefeed.layout import current_blob
from imagefeed.pipelines import known_pipelines
from imagefeed.tables import Reader
from ops.cli.pipeline import list_pipelines, pipeline_notes, use_pipeline
from ops.health.methods import outdated, read_method
from preprocess.recipe import Identity
from preprocess.recovery.current import is_ready, switch_pipelines
from storage.blobs.current_pipeline import BlobCurrentPipelines, pin, unpin
from storage.blobs.pipelines import hold_pipeline
from storage.clients import Clients
from storage.results import ShardsAndRows
from tests.integration.test_reader import HOUR, NOON, Producer, made

DAY = timedelta(days=1)


@pytest.fixture
def producer(clients: Clients, source: str) -> Producer:
    return Producer(clients, source)


def switched(clients: Clients, source: str, pipeline: str, now: datetime = NOON + HOUR) -> str | None:
    switch_pipelines([source], pipeline, BlobCurrentPipelines(clients), now, 3 * DAY)
    record = current_pipeline(clients, source)
    return None if record is None else record.pipeline


def between(reader: Reader, source: str) -> set[str]:
    return {image.pipeline for image in reader.between(source, NOON - 2 * HOUR, NOON + 2 * HOUR)}


def test_ranges_keep_the_pipeline_until_the_next_one_has_all_and_latest_goes_over_at_once(
    producer: Producer, clients: Clients, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    for hour in (0, 1):
        producer.process(NOON - hour * HOUR, pipeline="p1")
    assert switched(clients, source, "p1") == "p1"
    producer.process(NOON, pipeline="p2", at=NOON + timedelta(seconds=1))
    assert switched(clients, source, "p2") == "p1"
    reader = Reader(clients)
    with caplog.at_level(logging.WARNING, "imagefeed"):
        assert {image.pipeline for image in reader.latest(source)} == {"p2"}
    assert "by the pipeline p2; ranges are still read from p1" in caplog.text
    assert between(reader, source) == {"p1"}
    producer.process(NOON - HOUR, pipeline="p2", at=NOON + timedelta(seconds=1))
    assert switched(clients, source, "p2") == "p2"
    assert between(reader, source) == {"p2"}
    record = current_pipeline(clients, source)
    assert record is not None
    assert [(period.pipeline, period.since, period.until) for period in record.earlier] == [
        ("p1", NOON + HOUR, NOON + HOUR)
    ]


@pytest.mark.parametrize("way", ["between", "rows", "shards"])
def test_a_range_that_begins_before_the_pipelines_first_archive_warns_and_names_the_other(
    producer: Producer, clients: Clients, source: str, way: str
) -> None:
    producer.process(NOON - HOUR, pipeline="p1")
    producer.process(NOON, pipeline="p2")
    pin(clients, source, "p2", NOON)
    with pytest.warns(OlderResultsWarning, match="p2, which is read by default.*but p1 has.*imagefeed replay"):
        next(getattr(Reader(clients), way)(source, NOON - 2 * HOUR, NOON + HOUR))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(getattr(Reader(clients), way)(source, NOON, NOON + HOUR))
        next(getattr(Reader(clients, "p2"), way)(source, NOON - 2 * HOUR, NOON + HOUR))


def test_of_two_that_switch_at_once_the_later_one_changes_nothing(
    producer: Producer, clients: Clients, source: str
) -> None:
    producer.process(NOON)
    slow = BlobCurrentPipelines(clients)
    assert slow.read(source) is None
    pin(clients, source, "p1", NOON)
    assert not slow.switch(source, None, "p2", NOON)
    assert slow.read(source) == ("p1", True)
    unpin(clients, source)
    assert not slow.switch(source, "p1", "p2", NOON)
    assert slow.read(source) == ("p1", False)
    assert slow.switch(source, "p1", "p2", NOON)


def test_the_ledger_tells_how_far_both_pipelines_are(producer: Producer, clients: Clients, source: str) -> None:
    producer.process(NOON, pipeline="p1", at=NOON)
    producer.process(NOON, pipeline="p2", at=NOON)
    producer.process(NOON - 9 * DAY, pipeline="p1", at=NOON)
    (progress,) = BlobCurrentPipelines(clients).progress(source, "p2", NOON - DAY)
    assert (progress.ended, progress.processed, progress.other_ended_at) == (True, True, NOON)
    assert not is_ready([progress], NOON + timedelta(minutes=14))
    assert is_ready([progress], NOON + timedelta(minutes=15))


def test_the_record_is_no_pipeline_and_a_broken_one_is_told_with_its_cure(clients: Clients, source: str) -> None:
    pin(clients, source, "p1", NOON)
    assert not any("current" in name for name in known_pipelines(clients))
    clients.processed.upload_blob(current_blob(source), b"[]", overwrite=True)
    with pytest.raises(ImageDamagedError, match="delete it"):
        current_pipeline(clients, source)


def test_people_pin_free_and_list(
    producer: Producer, clients: Clients, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    producer.process(NOON, pipeline="p1")
    producer.process(NOON - HOUR, pipeline="p1")
    producer.process(NOON, pipeline="p2", at=NOON + HOUR)
    use_pipeline(argparse.Namespace(name="p1", auto=False, source=source, json=False), clients)
    assert "PIPELINE_WINDOW" in (said := capsys.readouterr().out)
    assert "imagefeed replay" in " ".join(said.split())
    assert switched(clients, source, "p2", NOON + 9 * HOUR) == "p1"
    list_pipelines(argparse.Namespace(name=None, auto=False, source=source, json=True), clients)
    listed = json.loads(capsys.readouterr().out)["sources"][source]
    assert listed["current"]["pinned"]
    counts = {name: (sums["archives"], sums["images"], sums["bytes"] > 0) for name, sums in listed["pipelines"].items()}
    assert counts == {"p1": (2, 8, True), "p2": (1, 4, True)}
    assert listed["pipelines"]["p1"]["first"] == (NOON - HOUR).isoformat()
    use_pipeline(argparse.Namespace(name=None, auto=True, source=source, json=False), clients)
    record = current_pipeline(clients, source)
    assert record is not None
    assert not record.pinned


def test_results_of_older_decoders_are_found(producer: Producer, clients: Clients, source: str) -> None:
    producer.process(NOON, pipeline="p1")
    (batch,) = producer.process(NOON - HOUR, 1, batches=1, pipeline="p1")
    with ShardsAndRows(clients, "npy", 2).write(batch) as writer:
        image = made(batch.archive, 0)
        writer.add([replace(image, metadata=replace(image.metadata, method=2))])
        writer.publish()
    (read,) = Reader(clients, "p1").between(source, NOON - HOUR, NOON)
    assert read.metadata.method == 2
    assert {image.metadata.method for image in Reader(clients, "p1").shards(source, NOON - HOUR, NOON)} == {2}

    def found(**versions: int) -> list[int]:
        archives = outdated(clients, source, "p1", NOON - DAY, NOON + DAY, versions)
        return [archive.stamp.hour for archive in archives]

    assert found(JPEG=2) == [12]
    assert found(JPEG=3) == [12, 11]
    assert found(TIFF=3) == []


def test_a_start_under_other_settings_says_what_is_redone_and_one_that_cannot_work_says_why(
    producer: Producer, clients: Clients, source: str
) -> None:
    producer.process(NOON, pipeline="p1")
    new = Identity(pipeline=source, fingerprint="new", hook=None)
    assert not list(pipeline_notes(clients, [source], replace(new, pipeline="p1")))
    changed, redone = pipeline_notes(clients, [source], new)
    assert f"pipeline {source}; ranges are still read from p1" in changed
    assert "PIPELINE_WINDOW" in redone
    hold_pipeline(clients, source, "old")
    (mismatch,) = pipeline_notes(clients, [source], new)
    assert "set PIPELINE_NAME to a new name" in mismatch


@pytest.mark.parametrize("text", ["tiff", "tiff<x", "heic<2"])
def test_a_method_that_cannot_be_meant_is_told(text: str) -> None:
    with pytest.raises(Exception, match=f"--method {text}"):
        read_method(text)
