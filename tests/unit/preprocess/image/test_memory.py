"""The memory of a process is the least that the machine and each of its control groups allow."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from preprocess.image.memory import memory_left

MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n"}
V1 = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        (MACHINE, 8000 * 1024),
        (
            {
                **MACHINE,
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "10\n",
                "sys/fs/cgroup/a/memory.max": "5000\n",
                "sys/fs/cgroup/a/memory.current": "4000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 300\n",
            },
            1300,
        ),
        ({**MACHINE, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8000 * 1024),
        (
            {
                **MACHINE,
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/of the host\n0::/\n",
                f"{V1}/memory.limit_in_bytes": "7000\n",
                f"{V1}/memory.usage_in_bytes": "8000\n",
                f"{V1}/memory.stat": "inactive_file 9999\ntotal_inactive_file 500\n",
            },
            0,
        ),
    ],
)
def test_what_is_left(tmp_path: Path, files: Mapping[str, str], left: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_left(tmp_path) == left
