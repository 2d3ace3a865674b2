"""Memory left to this process, by the machine and by the limits of its control groups."""

from collections.abc import Iterator
from pathlib import Path


def memory_left(root: Path = Path("/")) -> int | None:
    """Return the bytes that can still be taken; None if the system does not report them, as on macOS."""
    return min([*_of_machine(root), *_of_groups(root)], default=None)


def _of_machine(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    """Yield the bytes left in each control group of this process, of version 2 (no controller names) or 1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, limit, used, cache = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif controllers == "memory":
            mount, limit, used = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        # In a container the path may be that of the host, of which only the root is visible.
        for group in (Path(path), *Path(path).parents):
            folder = root / mount / str(group).lstrip("/")
            most, taken = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdecimal() and taken.isdecimal():
                yield max(0, int(most) - int(taken) + _counter(_text(folder / "memory.stat"), cache))


def _counter(stat: str, name: str) -> int:
    return next((int(line.split()[1]) for line in stat.splitlines() if line.startswith(f"{name} ")), 0)


def _text(file: Path) -> str:
    return file.read_text("ascii") if file.is_file() else ""
