"""A row of the table, and what it measures with: a race of several sides in rounds, an emulator, a folder, a size."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.child import Child, Sample, Side
from benchmarks.model import Goal, Measured, Timing
from local.azurite import Azurite, azurite
from storage.clients import connected, prepare

_ROUNDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Bench:
    """The workplace of all rows of one run."""

    quick: bool
    """Everything once, at a small size: whether it works, not how fast."""
    folder: Path
    """Empties itself at the end."""

    def size(self, usual: int, quick: int) -> int:
        """Choose how much is to be done."""
        return quick if self.quick else usual

    def race(
        self, sides: Mapping[str, Side], *, rounds: int = _ROUNDS, servers: Sequence[int] = ()
    ) -> dict[str, Timing]:
        """Run the sides in turn, round after round, each in a warm process of its own. Raises BenchmarkError.

        `servers` are processes that work for the sides: how much they do is counted too. The first side, which is ours,
        then runs once more, untimed, and is watched: where its time on the processors goes.
        """
        with ExitStack() as started:
            children = {name: started.enter_context(Child(name, side)) for name, side in sides.items()}
            for child in children.values():
                child.run()
            laps: dict[str, list[tuple[Sample, float]]] = {name: [] for name in sides}
            for _ in range(1 if self.quick else rounds):
                for name, child in children.items():
                    before = spent(servers)
                    laps[name].append((child.run(), spent(servers) - before))
            ours, first = next(iter(children.items()))
            modules = first.run(watched=True).modules
        timings = {name: timing(lap) for name, lap in laps.items()}
        return timings | {ours: replace(timings[ours], modules=modules)}

    @contextmanager
    def azurite(self) -> Iterator[Azurite]:
        """Run an emulator in memory, with every container, table and queue of ours."""
        with azurite() as server:
            with connected(server.connection) as clients:
                prepare(clients)
            yield server


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
    measure: Callable[[Bench], Measured]


def row(
    name: str, *, what: str, against: str, goals: Mapping[str, Goal], seen: str = "–", why: str = ""
) -> Callable[[Callable[[Bench], Measured]], Row]:
    """Make a row of the function that measures it."""

    def made(measure: Callable[[Bench], Measured]) -> Row:
        return Row(name=name, what=what, against=against, seen=seen, goals=goals, why=why, measure=measure)

    return made


@contextmanager
def workplace(*, quick: bool) -> Iterator[Bench]:
    """Give a bench with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        yield Bench(quick, Path(folder))


def spent(pids: Sequence[int]) -> float:
    """Sum the processor time of processes up, with that of all below them, ended or not."""
    return sum(_ticks(pid) for pid in pids) / _TICKS


def timing(lap: Sequence[tuple[Sample, float]]) -> Timing:
    """Put the rounds of a side together: what each took, and what the servers spent on it."""
    samples = [sample for sample, _ in lap]
    return Timing(
        seconds=[sample.seconds for sample in samples],
        cpu=[sample.cpu for sample in samples],
        peak=[sample.peak for sample in samples],
        servers=[serving for _, serving in lap],
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
