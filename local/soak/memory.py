"""The memory of the functions host and its workers while the soak runs."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

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
    """Return the resident bytes of a process and all below it; None if it is gone.

    The host's functions run in worker processes: both count against the instance's memory.
    """
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True)  # noqa: S607 - every system has ps on its path
    processes = [
        (int(own), int(parent), int(size)) for own, parent, size in map(str.split, listing.stdout.splitlines())
    ]
    if pid not in (own for own, _, _ in processes):
        return None
    tree = {pid}
    # Parents are listed before their children, unless process ids have wrapped around: then a second look finds them.
    for own, parent, _ in processes + processes:
        if parent in tree:
            tree.add(own)
    return sum(size for own, _, size in processes if own in tree) * 1024
