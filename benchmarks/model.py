"""Values of benchmarks: goals, timings of candidates, and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


class BenchmarkError(Exception):
    """A benchmark could not be run, or its candidates did not do the same work."""


class PeerMissingError(BenchmarkError):
    """A peer is not installed on this machine; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Goal of a figure: a lower or an upper limit."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        """Return True if `value` meets the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over the rounds, with the lowest and highest value."""

    value: float
    low: float
    high: float
    unit: str = "×"

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "×") -> "Figure":
        """Return the median, minimum and maximum of `values`."""
        return cls(median(values), min(values), max(values), unit)


@dataclass(frozen=True, slots=True)
class Timing:
    """All rounds of one candidate."""

    seconds: Sequence[float]
    cpu: Sequence[float]
    """Seconds of processor time of the candidate's own process."""
    peak: Sequence[int]
    """Peak memory of its process in bytes, in each round."""
    servers: Sequence[float] = ()
    """Seconds of processor time of the servers."""
    outcome: object = None
    """Return value of the last run, so that a benchmark can compare the candidates' outcomes."""
    modules: Mapping[str, int] = field(default_factory=dict)
    """Processor time by module in nanoseconds, only of the profiled candidate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a benchmark."""

    figures: Mapping[str, Figure]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    notes: Sequence[str] = ()
    why: str = ""
    """Reason for a missed goal with numbers of this run; if empty, the benchmark's own `why` is used."""


def ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Return how many times as fast `ours` is, by round, because other load affects both sides of a round."""
    pairs = zip(timings[peer].seconds, timings[ours].seconds, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def cpu_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Return the same ratio by processor time, which other load does not affect; for candidates with one thread."""
    pairs = zip(timings[peer].cpu, timings[ours].cpu, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def memory_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Return the peak memory of `ours` divided by that of `peer`."""
    pairs = zip(timings[ours].peak, timings[peer].peak, strict=True)
    return Figure.of([our / theirs for our, theirs in pairs])
