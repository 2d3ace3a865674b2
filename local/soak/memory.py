"""The functions host's memory while the soak runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import psutil

_MIB = 2**20
ALLOWED_GROWTH = 320 * _MIB
"""The allocator keeps what the largest archive needed, and that may come late: 160 MiB were seen without any leak."""
JUDGED_FROM = 90
"""Looks, one a second: a host that lived for less is not yet warm."""
ALLOWED_PEAK = 1024 * _MIB
"""Half of what the smallest instance in Azure has."""


@dataclass(slots=True)
class Memory:
    """Resident bytes of each process that was the host, in the order of time."""

    lives: dict[int, list[int]] = field(default_factory=dict)

    def sample(self, pid: int | None) -> None:
        """Look once; a host that is down has none."""
        size = None if pid is None else resident(pid)
        if pid is not None and size is not None:
            self.lives.setdefault(pid, []).append(size)

    @property
    def peak(self) -> int:
        """The most that any of them had."""
        return max((max(life) for life in self.lives.values()), default=0)

    @property
    def growth(self) -> int:
        """By how much the last one grew from its second quarter, when it was warm, to its last."""
        return growth(next(reversed(self.lives.values()), []))

    def problems(self) -> list[str]:
        """Say what is wrong with it."""
        told = []
        if self.peak > ALLOWED_PEAK:
            told.append(f"the host took {self.peak / _MIB:.0f} MiB of memory, more than {ALLOWED_PEAK / _MIB:.0f}")
        if self.growth > ALLOWED_GROWTH:
            told.append(f"the host's memory grew by {self.growth / _MIB:.0f} MiB, and should have stayed as it was")
        return told


def growth(life: Sequence[int]) -> int:
    """Compare the middle of the last quarter with that of the second; 0 where there is too little to compare."""
    quarter = len(life) // 4
    return int(median(life[-quarter:]) - median(life[quarter : 2 * quarter])) if len(life) >= JUDGED_FROM else 0


def resident(pid: int) -> int | None:
    """Ask for a process's resident bytes; None if it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return None
