"""The soak's own judgement: lost, doubled or stuck archives, leaks; and the faults that it injects."""

import base64
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest
from azure.core.exceptions import ResourceModifiedError

from imagefeed.layout import safe_stem
from local.demo import observations
from local.demo.progress import Progress
from local.demo.verification import NOTHING, Kept
from local.samples import Sample
from local.servers.child import kill_tree
from local.soak import audit, workload
from local.soak.__main__ import lag
from local.soak.audit import key_of
from local.soak.data_loss import DataLoss
from local.soak.memory import ALLOWED_GROWTH, ALLOWED_PEAK, Memory, MemorySample, Role, growth, resident
from local.soak.picture import draw_memory
from local.soak.soak import Soak, background
from tests.fixtures.sample_app import wait_for
from tests.unit.local.test_verification import ARRIVAL, GOOD, KEY, SAMPLE

MIB = 2**20
UNREADABLE = Sample(path=Path("cut.zip"), size=9, sha256="cd", pictures=(), refused=(), skipped=0)


def sample_of(kind: str) -> Sample:
    return replace(SAMPLE, sha256=kind)


def test_a_seed_decides_what_arrives_and_each_kind_comes_before_any_comes_too_often() -> None:
    kinds = {kind: sample_of(kind) for kind in workload._DECK}

    def dealt(seed: int) -> list[tuple[str, str, str]]:
        arriving = islice(workload.drops(kinds, ("north", "south"), Random(seed)), 2 * len(workload._DECK))
        return [(drop.source, drop.sample.sha256, drop.how) for drop in arriving]

    assert dealt(1) == dealt(1) != dealt(2)
    assert {kind for _, kind, _ in dealt(1)[: len(workload._DECK)]} == set(workload._DECK)


def test_names_are_new_each_time_and_some_are_odd() -> None:
    kinds = {kind: sample_of(kind) for kind in workload._DECK}
    names = [drop.name for drop in islice(workload.drops(kinds, ("north",), Random(3)), 200)]
    assert len(set(names)) == len(names)
    assert any("[red]" in name for name in names)


def test_no_event_tells_of_every_fourth_archive_whatever_else_its_name_is() -> None:
    kinds = {kind: sample_of(kind) for kind in workload._DECK}
    names = [drop.name for drop in islice(workload.drops(kinds, ("north",), Random(3)), 200)]
    suppressed = [name for name in names if workload.SUPPRESSED in safe_stem(name)]
    assert len(suppressed) == 50
    assert any("[red]" in name for name in suppressed)


@pytest.mark.parametrize(
    ("kept", "lost", "doubled"),
    [
        (GOOD, 0, 0),
        (NOTHING, 4, 0),
        (replace(GOOD, blobs=[(1000, "wrong")]), 1, 0),
        (replace(GOOD, sharded=[]), 3, 0),
        (replace(GOOD, images=GOOD.images[1:], sharded=GOOD.sharded[1:]), 1, 0),
        (replace(GOOD, blobs=[*GOOD.blobs, *GOOD.blobs]), 0, 1),
        (replace(GOOD, rows=[*GOOD.rows, *GOOD.rows[:2]]), 0, 2),
    ],
)
def test_what_is_lost_and_doubled_is_counted(kept: Kept, lost: int, doubled: int) -> None:
    assert (audit._lost(SAMPLE, kept), audit._doubled(kept)) == (lost, doubled)


@pytest.mark.parametrize(
    ("sample", "ended", "right"),
    [
        (SAMPLE, None, True),
        (SAMPLE, "refused: no zip", False),
        (SAMPLE, "expired: see the ledger", False),
        (UNREADABLE, "refused: no zip", True),
        (UNREADABLE, "refused: see the ledger", False),
        (UNREADABLE, None, False),
    ],
)
def test_an_end_that_is_not_the_right_one_is_named(sample: Sample, ended: str | None, right: bool) -> None:
    arrival = replace(ARRIVAL, drop=replace(ARRIVAL.drop, sample=sample))
    progress = Progress(ended=ended, processed=None if ended else ARRIVAL.arrived)
    assert (not list(audit._wrong_ends([arrival], {KEY: progress}))) == right
    assert list(audit._wrong_ends([arrival], {})) == ["north a.zip: it ended as nothing yet"]


def test_of_an_archive_that_was_given_up_only_the_raw_blob_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {KEY: Progress(ended="failed: 6 tries are spent")}
    undone = [{"PartitionKey": "p1~north~20260101T000000Z~v1", "RowKey": "0000", "done_at": None}]

    def audited(kept: Kept, progress: dict[tuple[str, str], Progress]) -> audit.Audit:
        monkeypatch.setattr(observations, "observe", lambda *_: progress)
        monkeypatch.setattr(observations, "collect", lambda *_: {KEY: kept})
        monkeypatch.setattr(observations, "images", lambda *_: [])
        monkeypatch.setattr(audit, "_queues", lambda _: [])
        tables = {"images": [], "batches": undone}
        clients: Any = SimpleNamespace(
            **{name: SimpleNamespace(list_entities=lambda rows=rows, **_: rows) for name, rows in tables.items()}
        )
        return audit.audit(clients, ["north"], [ARRIVAL])

    result = audited(replace(NOTHING, blobs=GOOD.blobs), failed)
    assert (result.lost, result.problems, result.given_up) == (0, [], ["north a.zip: failed: 6 tries are spent"])
    result = audited(replace(NOTHING, blobs=[(1000, "wrong")]), failed)
    assert (result.lost, result.problems) == (1, ["north a.zip: it was given up, and its raw blob is missing or wrong"])
    result = audited(GOOD, {KEY: Progress(processed=ARRIVAL.arrived)})
    assert result.problems == [f"batch 0000 of {undone[0]['PartitionKey']} is not done"]


def test_a_blob_that_changes_while_it_is_read_back_is_read_again() -> None:
    reads: Iterator[list[bytes | Exception]] = iter([[b"a", ResourceModifiedError("changed")], [b"ab", b"c"]])

    def chunks() -> Iterator[bytes]:
        for chunk in next(reads):
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    raw: Any = SimpleNamespace(download_blob=lambda _: SimpleNamespace(chunks=chunks))
    assert observations._size_and_hash(raw, "a.zip") == (3, hashlib.sha256(b"abc").hexdigest())


def test_a_tracked_file_of_a_growing_file_is_no_stranger_unless_something_of_it_was_kept() -> None:
    early = {KEY: Progress(ended="superseded: see the ledger")}
    assert audit._without_early_tracked_files({KEY: NOTHING}, early) == {}
    assert audit._without_early_tracked_files({KEY: GOOD}, early) == {KEY: GOOD}
    assert audit._without_early_tracked_files({KEY: NOTHING}, {KEY: Progress()}) == {KEY: NOTHING}


def memory_of(*lives: list[int], role: Role = Role.WORKER) -> Memory:
    samples = {(role, pid): [MemorySample(at, size) for at, size in enumerate(life)] for pid, life in enumerate(lives)}
    return Memory(samples, peak=max(map(max, lives)))


def problems_of(*lives: list[int]) -> str:
    return "\n".join(memory_of(*lives).problems())


def test_memory_that_grows_or_peaks_is_named_and_warming_up_is_not() -> None:
    warmed_up = [50 * MIB] * 20 + [200 * MIB] * 80
    leaking = [100 * MIB + second * ALLOWED_GROWTH // 40 for second in range(100)]
    assert problems_of(warmed_up) == ""
    assert "the worker's memory grew" in problems_of(leaking)
    assert problems_of(leaking, warmed_up) == ""
    assert "more than" in problems_of([ALLOWED_PEAK + MIB], warmed_up)
    assert growth(leaking[:80]) == 0


def test_memory_is_that_of_a_process_and_all_below_it() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 30 & wait"]) as shell:
        try:
            wait_for(lambda: len(resident(shell.pid)) == 2)
            memory = Memory()
            memory.sample(0, shell.pid)
            assert sorted(role for role, _ in memory.lives) == [Role.HOST, Role.WORKER]
            assert memory.peak > max(life[0].size for life in memory.lives.values())
        finally:
            kill_tree(shell.pid)


def test_a_process_that_is_gone_has_no_memory() -> None:
    memory = Memory()
    memory.sample(0, None)
    memory.sample(1, 2**22 + 1)
    assert (memory.lives, memory.peak, resident(2**22 + 1)) == ({}, 0, {})


def test_the_picture_has_a_line_for_each_life_and_a_mark_for_each_end_of_the_host() -> None:
    memory = memory_of([50 * MIB, 60 * MIB], [40 * MIB] * 3)
    svg = ElementTree.fromstring(draw_memory(memory, ends=[1.0], seconds=3))
    assert len(svg.findall("{*}polyline")) == 2
    assert len([line for line in svg.findall("{*}line") if line.get("stroke-dasharray")]) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [([], "none"), ([3.0, 1.0, 2.0], "p50 2.0 s, p95 3.0 s (3)"), ([5.0], "p50 5.0 s, p95 5.0 s (1)")],
)
def test_lags_are_told_by_their_middle_and_their_slow_end(seconds: list[float], text: str) -> None:
    assert lag(seconds) == text


def test_what_goes_wrong_in_the_background_is_raised_and_the_others_are_stopped() -> None:
    stopped = threading.Event()

    def fails(_: threading.Event) -> None:
        raise OSError("no space left")

    def waits(stop: threading.Event) -> None:
        if stop.wait(30):
            stopped.set()

    with pytest.raises(OSError, match="no space left"), background(fails, waits):
        pass
    assert stopped.is_set()


def test_an_end_of_the_host_that_the_soak_did_not_bring_about_is_noted_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    system: Any = SimpleNamespace(host_url="", sources={}, host_pid=None, check=lambda: "the functions host has ended")
    clients: Any = SimpleNamespace(raw=SimpleNamespace(account_name="", container_name=""))
    said: list[str] = []
    soak = Soak(system=system, clients=clients, say=said.append, workload={}, seed=1)
    monkeypatch.setattr("local.soak.soak.observations.observe", lambda *_: {})
    monkeypatch.setattr("local.soak.soak._LOOK_EVERY", 0)
    soak._look([])
    assert said == ["the functions host has ended"]
    assert (len(soak.faults.ended_at), len(soak.faults.ends)) == (1, 1)


def test_lags_are_apart_by_what_happened_to_an_archive_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = [replace(ARRIVAL, version=version) for version in ("quiet", "killed", "robbed", "waits")]
    minute = timedelta(minutes=1)
    done = {
        key_of(arrival): Progress(processed=None if arrival.version == "waits" else ARRIVAL.arrived + minute)
        for arrival in arrivals
    }
    done[key_of(arrivals[1])] = Progress(processed=ARRIVAL.arrived + 3 * minute)
    monkeypatch.setattr("local.soak.soak.observations.observe", lambda *_: done)
    system: Any = SimpleNamespace(host_url="", sources={})
    clients: Any = SimpleNamespace(raw=SimpleNamespace(account_name="", container_name=""))
    soak = Soak(system=system, clients=clients, say=print, workload={}, seed=1, arrivals=arrivals)
    soak.faults.ended_at.append(ARRIVAL.arrived + 2 * minute)
    soak.data_loss.robbed.add(key_of(arrivals[2]))
    lags = soak.lags()
    assert (lags.quiet, lags.killed, lags.robbed) == ([60.0], [180.0], [60.0])


class TestPatience:
    @staticmethod
    def until(rows: list[dict[str, Any]]) -> float:
        clients: Any = SimpleNamespace(
            raw=SimpleNamespace(account_name="", container_name=""),
            batches=SimpleNamespace(list_entities=lambda: rows),
        )
        system: Any = SimpleNamespace(host_url="", sources={})
        return Soak(system=system, clients=clients, say=print, workload={}, seed=1)._until_latest_redrive()

    def test_the_soak_waits_for_the_latest_batch_that_is_to_be_driven_again(self) -> None:
        now = datetime.now(UTC)
        rows = [
            {"next_drive": now + timedelta(seconds=s), "done_at": done}
            for s, done in ((-9, None), (90, None), (900, now))
        ]
        assert 80 < self.until(rows) <= 90

    def test_it_waits_for_nothing_where_all_is_done_or_due(self) -> None:
        assert self.until([]) == self.until([{"next_drive": datetime.now(UTC), "done_at": None}]) == 0


def test_of_one_archive_only_one_message_is_taken_and_the_next_is_put_back() -> None:
    body = json.dumps({"blob": "north/2026/01/01/00/20260101T000000Z.v1.a.zip", "pipeline": "p1", "batch": 0})
    message = SimpleNamespace(content=base64.b64encode(body.encode()).decode())
    queue = MagicMock(receive_message=lambda **_: message)
    loss = DataLoss(MagicMock(batch_queue=queue), Random(1), print, 1)
    loss._lose_message()
    assert (queue.delete_message.call_count, queue.update_message.call_count) == (1, 0)
    loss._lose_message()
    queue.update_message.assert_called_once_with(message, visibility_timeout=0)
    assert (queue.delete_message.call_count, loss.robbed) == (1, {("north", "v1")})
