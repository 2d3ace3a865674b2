"""What a row measures with: a race of several sides in rounds, an emulator, a folder, and how large all is to be."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import Child, Sample, Side
from benchmarks.model import Timing
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

        `servers` are processes that work for the sides: how much they do is counted too.
        """
        with ExitStack() as started:
            children = {name: started.enter_context(Child(name, side)) for name, side in sides.items()}
            for child in children.values():
                child.run()
            laps: dict[str, list[tuple[Sample, float]]] = {name: [] for name in sides}
            for _ in range(1 if self.quick else rounds):
                for name, child in children.items():
                    before = _spent(servers)
                    laps[name].append((child.run(), _spent(servers) - before))
        return {name: _timing(lap) for name, lap in laps.items()}

    @contextmanager
    def azurite(self) -> Iterator[Azurite]:
        """Run an emulator in memory, with every container, table and queue of ours."""
        with azurite() as server:
            with connected(server.connection) as clients:
                prepare(clients)
            yield server


@contextmanager
def workplace(*, quick: bool) -> Iterator[Bench]:
    """Give a bench with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        yield Bench(quick, Path(folder))


def _timing(lap: Sequence[tuple[Sample, float]]) -> Timing:
    samples = [sample for sample, _ in lap]
    return Timing(
        seconds=[sample.seconds for sample in samples],
        cpu=[sample.cpu for sample in samples],
        peak=[sample.peak for sample in samples],
        servers=[spent for _, spent in lap],
        outcome=samples[-1].outcome,
    )


def _spent(pids: Sequence[int]) -> float:
    """Sum the processor time of processes up."""
    return sum(_ticks(pid) for pid in pids) / _TICKS


def _ticks(pid: int) -> int:
    # Behind the name, which may hold anything: state is field 3, user and system time are 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
