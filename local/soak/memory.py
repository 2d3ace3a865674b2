"""The memory of the functions host and its workers while the soak runs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

import psutil

_MIB = 2**20
ALLOWED_GROWTH = 320 * _MIB
"""The allocator keeps what the largest archive needed, and that may come late: 160 MiB were seen without any leak."""
JUDGED_FROM = 90
"""Looks, one a second: a process that lived for less is not yet warm."""
ALLOWED_PEAK = 1024 * _MIB
"""Half of what the smallest instance in Azure has, for host and workers together."""


class Role(StrEnum):
    """A process of the system under test."""

    HOST = "host"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes at a time, in seconds from the beginning."""

    at: float
    size: int


@dataclass(slots=True)
class Memory:
    """The looks at each process that was the host or a worker of it, in the order of time."""

    lives: dict[tuple[Role, int], list[MemorySample]] = field(default_factory=dict)
    peak: int = 0
    """The most that host and workers had together."""

    def sample(self, at: float, host: int | None) -> None:
        """Look once at the host's process and those below it; a host that is down has none."""
        sizes = {} if host is None else resident(host)
        for pid, size in sizes.items():
            role = Role.HOST if pid == host else Role.WORKER
            self.lives.setdefault((role, pid), []).append(MemorySample(at, size))
        self.peak = max(self.peak, sum(sizes.values()))

    def growth(self, role: Role) -> int:
        """By how much the last process of a role grew from its second quarter, when it was warm, to its last."""
        lives = [life for (known, _), life in self.lives.items() if known is role]
        return growth([sample.size for sample in lives[-1]]) if lives else 0

    def problems(self) -> list[str]:
        """Say what is wrong with it."""
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
    """Compare the middle of the last quarter with that of the second; 0 where there is too little to compare."""
    quarter = len(life) // 4
    return int(median(life[-quarter:]) - median(life[quarter : 2 * quarter])) if len(life) >= JUDGED_FROM else 0


def resident(pid: int) -> Mapping[int, int]:
    """Return the resident bytes of a process and of each below it; empty if it is gone."""
    sizes: dict[int, int] = {}
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                sizes[process.pid] = process.memory_info().rss
    return sizes
