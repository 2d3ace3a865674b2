"""What is measured: rows of the table, their goals, and the figures that came out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bench import Bench


class BenchmarkError(Exception):
    """A benchmark could not be run, or its sides did not do the same work."""


class PeerMissingError(BenchmarkError):
    """What ours is measured against is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be: at least, or at most."""

    least: float | None = None
    most: float | None = None

    def met_by(self, value: float) -> bool:
        """Judge a value."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


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
    """All rounds of one side."""

    seconds: Sequence[float]
    cpu: Sequence[float]
    """Seconds of this side's own process."""
    peak: Sequence[int]
    """Most bytes of memory that its process held; of the rounds, each by itself."""
    servers: Sequence[float] = ()
    """Seconds of processor time that the servers took."""
    outcome: object = None
    """What the last run gave: a row may hold the sides' outcomes against each other."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a row has measured."""

    figures: Mapping[str, Figure]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    against: str
    seen: str
    """What a prototype reached; the goal lies beyond it."""
    goals: Mapping[str, Goal]
    """By the names of figures."""
    why: str
    """Where a goal is not met: what stands in the way."""
    measure: Callable[["Bench"], Measured]


def row(
    name: str, *, what: str, against: str, goals: Mapping[str, Goal], seen: str = "–", why: str = ""
) -> Callable[[Callable[["Bench"], Measured]], Row]:
    """Make a row of the function that measures it."""

    def made(measure: Callable[["Bench"], Measured]) -> Row:
        return Row(name=name, what=what, against=against, seen=seen, goals=goals, why=why, measure=measure)

    return made


def ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell how many times as fast ours was, round by round: a load from elsewhere falls on both."""
    pairs = zip(timings[peer].seconds, timings[ours].seconds, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def cpu_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell the same of sides that have one thread, by processor time: nobody else's load is in it."""
    pairs = zip(timings[peer].cpu, timings[ours].cpu, strict=True)
    return Figure.of([theirs / our for theirs, our in pairs])


def memory_ratio(timings: Mapping[str, Timing], ours: str, peer: str) -> Figure:
    """Tell what share of the peer's memory ours held at most."""
    pairs = zip(timings[ours].peak, timings[peer].peak, strict=True)
    return Figure.of([our / theirs for our, theirs in pairs])
