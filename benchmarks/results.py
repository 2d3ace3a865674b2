"""Results as values that can be written as JSON and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from benchmarks import machine
from benchmarks.bench import Benchmark
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Timing

_LEAST_SHARE = 0.03
"""Modules with a smaller share of a candidate's processor time are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A figure of a benchmark, and its goal."""

    figure: str
    value: float
    low: float
    high: float
    unit: str
    goal: str
    met: bool | None
    """None if there is no goal."""

    def __str__(self) -> str:
        digits = 2 if abs(self.value) < 10 else 1 if abs(self.value) < 100 else 0
        return f"{self.value:,.{digits}f}{' ' if self.unit not in ('×', '') else ''}{self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSummary:
    """Measurements of one candidate: medians of its rounds, and its peak memory in bytes."""

    name: str
    seconds: float
    low: float
    high: float
    cpu: float
    servers: float
    peak: int
    modules: Mapping[str, float]
    """Shares of processor time by module, the largest first; only of the profiled candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A benchmark with its measurements."""

    name: str
    task: str
    against: str
    prototype: str
    why: str
    numbers: Sequence[Number] = ()
    candidates: Sequence[CandidateSummary] = ()
    notes: Sequence[str] = ()
    missing: str = ""
    """Why it has no figures."""
    failed: bool = False
    """True if it failed for another reason than a missing peer."""
    at: str = ""
    commit: str = ""
    seconds: float = 0
    """Duration of the benchmark with all preparations."""

    @property
    def missed(self) -> bool:
        """Whether any goal is missed."""
        return any(number.met is False for number in self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of benchmarks, with results of earlier runs for those that it did not measure."""

    at: str
    commit: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    results: Sequence[Result] = ()


def begin(at: datetime) -> Run:
    """Return a run without results on this machine."""
    return Run(
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        commit=machine.commit(),
        machine=machine.describe(),
        versions=machine.versions(),
    )


def with_result(run: Run, result: Result) -> Run:
    """Return `run` with a result that was measured in it."""
    return replace(run, results=[*run.results, replace(result, at=run.at, commit=run.commit)])


def of(benchmark: Benchmark, measured: Measured) -> Result:
    """Return the result of a benchmark. Raises BenchmarkError if it has a goal without a figure."""
    unknown = benchmark.goals.keys() - measured.figures.keys()
    if unknown:
        raise BenchmarkError(f"judge {benchmark.name}: it has goals for figures that it does not measure: {unknown}")
    return replace(
        without(benchmark, ""),
        why=measured.why or benchmark.why,
        numbers=[_number(name, figure, benchmark.goals.get(name)) for name, figure in measured.figures.items()],
        candidates=[_candidate(name, timing) for name, timing in measured.timings.items()],
        notes=measured.notes,
    )


def without(benchmark: Benchmark, missing: str, *, failed: bool = False) -> Result:
    """Return a result without figures; `missing` is the reason."""
    return Result(
        name=benchmark.name,
        task=benchmark.task,
        against=benchmark.against,
        prototype=benchmark.prototype,
        why=benchmark.why,
        missing=missing,
        failed=failed,
    )


def _number(name: str, figure: Figure, goal: Goal | None) -> Number:
    return Number(
        figure=name,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        unit=figure.unit,
        goal="" if goal is None else str(goal),
        met=None if goal is None else goal.met_by(figure.value),
    )


def _candidate(name: str, timing: Timing) -> CandidateSummary:
    return CandidateSummary(
        name=name,
        seconds=median(timing.seconds),
        low=min(timing.seconds),
        high=max(timing.seconds),
        cpu=median(timing.cpu),
        servers=median(timing.servers or [0]),
        peak=max(timing.peak),
        modules=_shares(timing.modules),
    )


def _shares(modules: Mapping[str, int]) -> Mapping[str, float]:
    total = sum(modules.values())
    largest_first = sorted(modules.items(), key=lambda spent: -spent[1])
    return {module: round(spent / total, 3) for module, spent in largest_first if spent > _LEAST_SHARE * total}
