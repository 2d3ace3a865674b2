"""A benchmark, and what it measures with: candidates that run in rounds, an emulator, a folder, a size."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.child import Candidate, Child, Sample
from benchmarks.model import Goal, Measured, Timing
from local.azurite import Azurite, azurite
from storage.clients import connected, prepare

_ROUNDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Bench:
    """The workplace of all benchmarks of one run."""

    quick: bool
    """Everything once, at a small size: whether it works, not how fast."""
    folder: Path
    """Empties itself at the end."""

    def size(self, usual: int, quick: int) -> int:
        """Choose how much is to be done."""
        return quick if self.quick else usual

    def compare(
        self, candidates: Mapping[str, Candidate], *, rounds: int = _ROUNDS, servers: Sequence[int] = ()
    ) -> dict[str, Timing]:
        """Run the candidates in turn, round after round, each in a warm process of its own. Raises BenchmarkError.

        `servers` are processes that work for the candidates: how much they do is counted too. The first candidate,
        which is ours, then runs once more, untimed, and is watched: where its time on the processors goes.
        """
        with ExitStack() as started:
            children = {name: started.enter_context(Child(name, candidate)) for name, candidate in candidates.items()}
            for child in children.values():
                child.run()
            samples: dict[str, list[tuple[Sample, float]]] = {name: [] for name in candidates}
            for _ in range(1 if self.quick else rounds):
                for name, child in children.items():
                    before = spent(servers)
                    samples[name].append((child.run(), spent(servers) - before))
            ours, first = next(iter(children.items()))
            modules = first.run(watched=True).modules
        timings = {name: timing(pairs) for name, pairs in samples.items()}
        return timings | {ours: replace(timings[ours], modules=modules)}

    @contextmanager
    def azurite(self) -> Iterator[Azurite]:
        """Run an emulator in memory, with every container, table and queue of ours."""
        with azurite() as server:
            with connected(server.connection) as clients:
                prepare(clients)
            yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One line of the table."""

    name: str
    task: str
    against: str
    prototype: str
    """What a prototype reached; the goal lies beyond it."""
    goals: Mapping[str, Goal]
    """By the names of figures."""
    why: str
    """Where a goal is not met: what stands in the way."""
    measure: Callable[[Bench], Measured]


def benchmark(
    name: str, *, task: str, against: str, goals: Mapping[str, Goal], prototype: str = "–", why: str = ""
) -> Callable[[Callable[[Bench], Measured]], Benchmark]:
    """Make a benchmark of the function that measures it."""
    return lambda measure: Benchmark(
        name=name, task=task, against=against, prototype=prototype, goals=goals, why=why, measure=measure
    )


@contextmanager
def workplace(*, quick: bool) -> Iterator[Bench]:
    """Give a bench with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        yield Bench(quick, Path(folder))


def spent(pids: Sequence[int]) -> float:
    """Sum the processor time of processes up, with that of all below them, ended or not."""
    return sum(_ticks(pid) for pid in pids) / _TICKS


def timing(pairs: Sequence[tuple[Sample, float]]) -> Timing:
    """Put the rounds of a candidate together: what each took, and what the servers spent on it."""
    samples = [sample for sample, _ in pairs]
    return Timing(
        seconds=[sample.seconds for sample in samples],
        cpu=[sample.cpu for sample in samples],
        peak=[sample.peak for sample in samples],
        servers=[serving for _, serving in pairs],
        outcome=samples[-1].outcome,
    )


def _ticks(pid: int) -> int:
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # Behind the name, which may hold anything: state is field 3, user and system time are 14 and 15, and 16 and 17
        # of children that ended. Servers give each session a process.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        # It ended a moment ago, and counts with its parent.
        return 0
    return sum(map(int, fields[11:15])) + sum(_ticks(int(child)) for child in below)
