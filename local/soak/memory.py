"""Measure the memory of the functions host and its workers during the soak."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

import psutil

_MIB = 2**20
ALLOWED_GROWTH = 320 * _MIB
"""The allocator keeps the memory of the largest archive, which may come late: 160 MiB were seen without any leak."""
JUDGED_FROM = 90
"""Samples, one per second, from which the growth of a process is judged; before that it is not warm."""
ALLOWED_PEAK = 1024 * _MIB
"""Limit for host and workers together: half the memory of the smallest instance in Azure."""


class Role(StrEnum):
    """A process of the system under test."""

    HOST = "host"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes `size` at the time `at`, in seconds from the beginning."""

    at: float
    size: int


@dataclass(slots=True)
class Memory:
    """Samples of each process that was the host or one of its workers, in order of time."""

    lives: dict[tuple[Role, int], list[MemorySample]] = field(default_factory=dict)
    peak: int = 0
    """Peak of host and workers together, in bytes."""

    def sample(self, at: float, host: int | None) -> None:
        """Add a sample of the host's process and its descendants; None is a host that does not run."""
        sizes = {} if host is None else resident(host)
        for pid, size in sizes.items():
            role = Role.HOST if pid == host else Role.WORKER
            self.lives.setdefault((role, pid), []).append(MemorySample(at, size))
        self.peak = max(self.peak, sum(sizes.values()))

    def growth(self, role: Role) -> int:
        """Return the growth in bytes of the last process of a role, from its second quarter, when warm, to its last."""
        lives = [life for (known, _), life in self.lives.items() if known is role]
        return growth([sample.size for sample in lives[-1]]) if lives else 0

    def problems(self) -> list[str]:
        """Return a line for each exceeded limit."""
        problems = []
        if self.peak > ALLOWED_PEAK:
            problems.append(
                f"host and workers took {self.peak / _MIB:.0f} MiB of memory, more than {ALLOWED_PEAK / _MIB:.0f}"
            )
        grown = {role: self.growth(role) for role in Role}
        return problems + [
            f"the {role}'s memory grew by {growth / _MIB:.0f} MiB, and should have stayed as it was"
            for role, growth in grown.items()
            if growth > ALLOWED_GROWTH
        ]


def growth(life: Sequence[int]) -> int:
    """Return the median of the last quarter minus that of the second; 0 if there are too few samples."""
    quarter = len(life) // 4
    return int(median(life[-quarter:]) - median(life[quarter : 2 * quarter])) if len(life) >= JUDGED_FROM else 0


def resident(pid: int) -> Mapping[int, int]:
    """Return the resident bytes of a process and its descendants, by process ID; empty if it is gone."""
    sizes: dict[int, int] = {}
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                sizes[process.pid] = process.memory_info().rss
    return sizes
