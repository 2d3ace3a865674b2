"""Benchmarks without measuring: judging, writing, reading and showing results."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import monotonic

import pytest

from benchmarks import __main__ as command
from benchmarks import files, machine, markdown, results
from benchmarks.bench import Bench, Benchmark, benchmark
from benchmarks.child import Candidate, Child
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, PeerMissingError, Timing, ratio
from benchmarks.registry import BENCHMARKS
from benchmarks.sampling import sampled
from benchmarks.summary import summarize

MEASURED = Measured({"pace": Figure(2.5, 2, 3, "MB/s"), "memory": Figure(0.7, 0.6, 0.8)}, notes=["a note"])


def a_benchmark(**goals: Goal) -> Benchmark:
    return benchmark("a-row", task="what", against="peer", goals=goals, why="it waits")(lambda _bench: MEASURED)


def test_every_row_has_a_name_of_its_own_and_a_goal_or_a_reason_to_have_none() -> None:
    assert len({each.name for each in BENCHMARKS}) == len(BENCHMARKS)
    assert all(each.task and each.against for each in BENCHMARKS)


def test_what_is_said_at_a_glance_is_of_figures_that_were_measured() -> None:
    highlights = summarize(files.read(files.LATEST))
    assert "×" in highlights
    assert "{" not in highlights


def test_a_figure_is_held_against_its_goal() -> None:
    result = results.of(a_benchmark(pace=Goal(at_least=2), memory=Goal(at_most=0.6)), MEASURED)
    assert [number.met for number in result.numbers] == [True, False]
    with pytest.raises(BenchmarkError, match="latency"):
        results.of(a_benchmark(latency=Goal(at_most=1)), MEASURED)


def test_a_program_of_the_environment_is_measured_rather_than_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment, system = tmp_path / "environment", tmp_path / "system"
    for folder, version in ((environment, "v2"), (system, "v1")):
        folder.mkdir()
        (folder / "rclone").write_text(f"#!/bin/sh\necho rclone {version}\n")
        (folder / "rclone").chmod(0o755)
    monkeypatch.setenv("PATH", f"{system}:/usr/bin:/bin")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(environment))
    assert machine.program("rclone") == environment / "rclone"
    assert machine.versions()["rclone"] == "rclone v2"
    (environment / "rclone").unlink()
    assert machine.program("rclone") == system / "rclone"
    assert machine.versions()["rclone"] == "rclone v1"


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = (Timing(seconds=seconds, cpu=(), peak=()) for seconds in ([1, 10, 2], [2, 20, 6]))
    assert ratio({"ours": ours, "theirs": theirs}, "ours", "theirs") == Figure(2, 2, 3)


def test_what_is_written_is_read_again_and_other_rows_stay(tmp_path: Path) -> None:
    # No figure is a speed, so nothing is drawn, and the tests do not install the plotting library.
    first = results.of(a_benchmark(pace=Goal(at_least=2), memory=Goal(at_most=0.6)), MEASURED)
    begun = results.begin(datetime(2026, 1, 1, tzinfo=UTC))
    later = replace(begun, at="2026-01-02 00:00 UTC", commit="0123abc+")
    for run, each in ((begun, first), (begun, replace(first, name="b-row")), (later, replace(first, name="b-row"))):
        files.write(results.with_result(run, each), tmp_path, keep_others=True, order=["b-row", "a-row"])
    kept = files.read(tmp_path / "latest.json")
    assert [(each.name, each.at, each.commit) for each in kept.results] == [
        ("b-row", later.at, later.commit),
        ("a-row", begun.at, begun.commit),
    ]
    assert kept.results[1] == replace(first, at=begun.at, commit=begun.commit)
    summary = markdown.summary(kept)
    assert summary in (tmp_path / "latest.md").read_text()
    assert "| `a-row` | what | peer | pace **2.50 MB/s** ≥ 2 ✓; memory **0.70×** ≤ 0.6 ✗ |" in summary
    assert "0 of 2 rows with goals meet them all." in summary
    assert "- `b-row`, `a-row`: it waits" in summary
    assert summary.endswith(f"Of earlier runs: `a-row` (2026-01-01 00:00 UTC, commit {begun.commit})")


def test_a_row_that_fails_costs_no_other_row_its_figures_and_keeps_none_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(_bench: Bench) -> Measured:
        raise OSError("no space left\nTraceback\non device")

    def lacks(_bench: Bench) -> Measured:
        raise PeerMissingError("rclone is missing: apt-get install rclone")

    well = [replace(a_benchmark(pace=Goal(at_least=2)), name=name) for name in ("fails", "lacks", "a-row")]
    assert command.measure(well, tmp_path, well)
    ill = [replace(each, measure=does) for each, does in zip(well, (fails, lacks, well[2].measure), strict=True)]
    assert not command.measure(ill, tmp_path, well)
    kept = {each.name: each for each in files.read(tmp_path / "latest.json").results}
    assert {name: len(each.numbers) for name, each in kept.items()} == {"fails": 0, "lacks": 0, "a-row": 2}
    assert (kept["fails"].missing, kept["fails"].failed) == ("no space left … on device", True)
    assert not kept["lacks"].failed
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "Traceback" in said.err
    assert said.err.endswith("error: measure fails: see above; `--only` measures them again\n")


@contextmanager
def working() -> Iterator[Callable[[], object]]:
    yield lambda: 42


@contextmanager
def failing() -> Iterator[Callable[[], object]]:
    yield lambda: 1 // 0


def test_a_side_runs_in_a_process_of_its_own_and_tells_what_went_wrong() -> None:
    with Child("works", Candidate(working)) as child:
        sample = child.run()
        assert sample.outcome == 42
        assert sample.peak > 2**20
        assert not sample.modules
    with Child("fails", Candidate(failing)) as child, pytest.raises(BenchmarkError, match="ZeroDivisionError"):
        child.run()


def test_where_the_processor_time_of_all_threads_goes_is_told_by_module() -> None:
    def hash_until_seen() -> None:
        deadline = monotonic() + 30
        while not spent["tests.unit"] and monotonic() < deadline:
            hashlib.sha256(bytes(1_000_000)).digest()

    with sampled() as spent:
        thread = Thread(target=hash_until_seen)
        thread.start()
        thread.join()
    assert spent["tests.unit"] > 0
