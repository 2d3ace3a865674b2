"""Run one candidate of a comparison in its own warm process, where its time and memory are measured."""

import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from benchmarks.model import BenchmarkError
from benchmarks.sampling import sampled

if multiprocessing.parent_process() is not None:
    # The SDK imports aiohttp if it is installed, which takes 8 MB; the deployed app does not have it.
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # None makes an import fail

_PROCESSES = multiprocessing.get_context("spawn")
_PATIENCE = 900.0
_WATCHED_FOR = 0.5
"""Shortest time in seconds that a candidate is profiled; short candidates run repeatedly."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Set-up of a candidate: `make(*arguments)`, called in its process, yields the function that each round runs."""

    make: Callable[..., AbstractContextManager[Callable[[], object]]]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurements of one run."""

    seconds: float
    cpu: float
    peak: int
    outcome: object
    modules: Mapping[str, int] = field(default_factory=dict)
    """Processor time by module in nanoseconds, only of a profiled run."""


class Child:
    """A child process that runs its candidate on request."""

    def __init__(self, name: str, candidate: Candidate) -> None:
        self._name = name
        self._here, connection = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(connection, candidate), daemon=False)
        self._process.start()
        connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def run(self, *, watched: bool = False) -> Sample:
        """Run the candidate once; `watched` profiles it, which takes longer. Raises BenchmarkError."""
        try:
            self._here.send(watched)
            if not self._here.poll(_PATIENCE):
                raise BenchmarkError(f"run {self._name}: it did not end within {_PATIENCE:.0f} s")
            sample = self._here.recv()
        except (EOFError, OSError) as exc:
            raise BenchmarkError(f"run {self._name}: its process died") from exc
        if not isinstance(sample, Sample):
            raise BenchmarkError(f"run {self._name}: it failed:\n{sample}")
        return sample


def _serve(connection: Connection, candidate: Candidate) -> None:
    try:
        with candidate.make(*candidate.arguments) as run:
            while (watched := _next_request(connection)) is not None:
                connection.send(_watched(run) if watched else _timed(run))
    except BaseException:
        connection.send(traceback.format_exc())
        raise


def _next_request(connection: Connection) -> bool | None:
    """Wait for a request. Return whether the run is to be profiled, or None at the end."""
    try:
        return bool(connection.recv())
    except EOFError:
        return None


def _watched(run: Callable[[], object]) -> Sample:
    began = time.perf_counter()
    with sampled() as modules:
        sample = _timed(run)
        while time.perf_counter() - began < _WATCHED_FOR:
            run()
    return replace(sample, modules=dict(modules))


def _timed(run: Callable[[], object]) -> Sample:
    _forget_peak()
    began, cpu = time.perf_counter(), time.process_time()
    outcome = run()
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    return Sample(seconds, spent, _peak(), outcome)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    # Not getrusage, whose peak includes the process that this one was forked from.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
