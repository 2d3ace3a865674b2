"""Benchmarks and their environment: candidates that run in rounds, an emulator, a folder, a size."""

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
    """Environment of all benchmarks of one run."""

    quick: bool
    """Run everything once at a small size, to test that it works."""
    folder: Path
    """Temporary folder, which is deleted at the end."""

    def size(self, usual: int, quick: int) -> int:
        """Return the amount of work: `quick` in a quick run, else `usual`."""
        return quick if self.quick else usual

    def compare(
        self, candidates: Mapping[str, Candidate], *, rounds: int = _ROUNDS, servers: Sequence[int] = ()
    ) -> dict[str, Timing]:
        """Run the candidates in turn, round after round, each in its own warm process. Raises BenchmarkError.

        `servers` are IDs of server processes whose processor time is measured too. Then the first candidate, which is
        this project, runs once more, untimed, with a profiler of processor time.
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
        """Run an emulator in memory, with every container, table and queue of the app."""
        with azurite() as server:
            with connected(server.connection) as clients:
                prepare(clients)
            yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark: a row of the table of results."""

    name: str
    task: str
    against: str
    prototype: str
    """Result of a prototype; the goal is higher."""
    goals: Mapping[str, Goal]
    """Goals by the name of the figure."""
    why: str
    """Reason if a goal is not met."""
    measure: Callable[[Bench], Measured]


def benchmark(
    name: str, *, task: str, against: str, goals: Mapping[str, Goal], prototype: str = "–", why: str = ""
) -> Callable[[Callable[[Bench], Measured]], Benchmark]:
    """Return a decorator that makes a benchmark of the function which measures it."""
    return lambda measure: Benchmark(
        name=name, task=task, against=against, prototype=prototype, goals=goals, why=why, measure=measure
    )


@contextmanager
def workplace(*, quick: bool) -> Iterator[Bench]:
    """Yield a bench with a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        yield Bench(quick, Path(folder))


def spent(pids: Sequence[int]) -> float:
    """Return the processor time in seconds of processes and all their descendants, ended or not."""
    return sum(_ticks(pid) for pid in pids) / _TICKS


def timing(pairs: Sequence[tuple[Sample, float]]) -> Timing:
    """Return a candidate's timing from its rounds: pairs of a sample and the servers' processor time in seconds."""
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
        # Split after the name, which may hold anything: state is field 3, user and system time are 14 and 15, and 16
        # and 17 for ended children, which count because servers run each session in a process.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        # It has just ended, and its time counts with its parent's ended children.
        return 0
    return sum(map(int, fields[11:15])) + sum(_ticks(int(child)) for child in below)
