"""Run a program as a peer, and measure its processor time and memory."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.model import BenchmarkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Processor time in seconds and peak memory in bytes of one run."""

    cpu: float
    peak: int


def run(command: Sequence[str], doing: str, environment: Mapping[str, str] | None = None) -> Run:
    """Run a program and measure it; `environment` replaces the current one. Raises BenchmarkError if it fails."""
    before = os.times()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise BenchmarkError(f"{doing}: it ended with {process.returncode}; it said:\n{said[-2000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(cpu=cpu, peak=peak)


def _peak(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    return 0
