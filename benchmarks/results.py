"""What came out, as values that can be written as JSON and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from benchmarks import machine
from benchmarks.bench import Benchmark
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Timing

_LEAST_SHARE = 0.03
"""Of a candidate's time on the processors: modules with less are not told."""


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
    """None: there is no goal."""

    def __str__(self) -> str:
        digits = 2 if abs(self.value) < 10 else 1 if abs(self.value) < 100 else 0
        return f"{self.value:,.{digits}f}{' ' if self.unit not in ('×', '') else ''}{self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSummary:
    """What one candidate took; the median of its rounds."""

    name: str
    seconds: float
    low: float
    high: float
    cpu: float
    servers: float
    peak: int
    modules: Mapping[str, float]
    """Shares of its time on the processors, the largest first; of the candidate that was watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A benchmark with what it measured."""

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
    """Not for want of a peer, but because something is wrong."""
    at: str = ""
    commit: str = ""
    seconds: float = 0
    """That measuring took, with all preparations."""

    @property
    def missed(self) -> bool:
        """Whether it lies behind a goal."""
        return any(number.met is False for number in self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of the benchmarks, and benchmarks of earlier ones that it did not measure."""

    at: str
    commit: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    results: Sequence[Result] = ()


def begin(at: datetime) -> Run:
    """Begin a run."""
    return Run(
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        commit=machine.commit(),
        machine=machine.describe(),
        versions=machine.versions(),
    )


def with_result(run: Run, result: Result) -> Run:
    """Add a benchmark, which is of this run."""
    return replace(run, results=[*run.results, replace(result, at=run.at, commit=run.commit)])


def of(benchmark: Benchmark, measured: Measured) -> Result:
    """Put a benchmark and its figures together."""
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
    """Say of a benchmark why it has no figures."""
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
