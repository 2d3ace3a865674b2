"""What is measured: goals, what the candidates took, and the figures that come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


class BenchmarkError(Exception):
    """A benchmark could not be run, or its candidates did not do the same work."""


class PeerMissingError(BenchmarkError):
    """What ours is measured against is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be: at least, or at most."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        """Judge a value."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and between which it lay over the rounds."""

    value: float
    low: float
    high: float
    unit: str = "×"

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "×") -> "Figure":
        """Take the median, the least and the most."""
        return cls(median(values), min(values), max(values), unit)


@dataclass(frozen=True, slots=True)
class Timing:
    """All rounds of one candidate."""

    seconds: Sequence[float]
    cpu: Sequence[float]
    """Seconds of this candidate's own process."""
    peak: Sequence[int]
    """Most bytes of memory that its process held; of the rounds, each by itself."""
    servers: Sequence[float] = ()
    """Seconds of processor time that the servers took."""
    outcome: object = None
    """What the last run gave: a benchmark may hold the candidates' outcomes against each other."""
    modules: Mapping[str, int] = field(default_factory=dict)
    """Where its time on the processors goes, in nanoseconds; of the candidate that was watched."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a benchmark has measured."""

    figures: Mapping[str, Figure]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    notes: Sequence[str] = ()
    why: str = ""
    """What stands in the way of a goal, if only this run's numbers can say it; else the benchmark's own words stand."""


def ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell how many times as fast ours was, round by round: a load from elsewhere falls on both."""
    pairs = zip(timings[peer].seconds, timings[ours].seconds, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def cpu_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell the same of candidates that have one thread, by processor time: nobody else's load is in it."""
    pairs = zip(timings[peer].cpu, timings[ours].cpu, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def memory_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell what share of the peer's memory ours held at most."""
    pairs = zip(timings[ours].peak, timings[peer].peak, strict=True)
    return Figure.of([our / theirs for our, theirs in pairs])
