"""Benchmark of a cold start: from an empty interpreter to indexed functions."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Bench, benchmark
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Timing

_PROJECT = Path(__file__).parents[1]
_EMPTY = '''"""An app with nothing to do."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
def tick(timer: func.TimerRequest) -> None:
    """Do nothing."""
'''
_INDEX = """
import asyncio, json, logging, sys, time
from pathlib import Path
from local.host.worker import Worker
logging.disable()
worker, began, cpu = Worker(), time.perf_counter(), time.process_time()
functions = asyncio.run(worker.load(Path(sys.argv[1])))
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu, len(functions)]))
worker.close()
"""
"""Microsoft's worker library is imported before, as in Azure; the app imports azure.functions and everything else."""


@benchmark(
    "start",
    task="import of the app until the worker has indexed it",
    against="an empty app",
    prototype="imports of paramiko and the SDKs alone take 0.5–0.9 s",
    goals={"CPU": Goal(at_most=2.5)},
)
def start(bench: Bench) -> Measured:
    """Load both apps in turn, each time in a new process."""
    empty = bench.folder / "empty-app"
    empty.mkdir()
    (empty / "function_app.py").write_text(_EMPTY)
    apps = {"ours": _PROJECT, "an empty app": empty}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in apps}
    for _ in range(bench.size(11, 1)):
        for name, folder in apps.items():
            samples[name].append(_indexed(folder))
    rounds = list(zip(*samples.values(), strict=True))
    figures = {
        "CPU": Figure.of([ours[1] / theirs[1] for ours, theirs in rounds]),
        "wall": Figure.of([ours[0] / theirs[0] for ours, theirs in rounds]),
        "seconds": Figure.of([ours[0] for ours, _ in rounds], "s"),
    }
    return Measured(figures, {name: _timing(pairs) for name, pairs in samples.items()})


BENCHMARKS = (start,)


def _indexed(app: Path) -> tuple[float, float]:
    """Return the elapsed time and the processor time of loading, in seconds."""
    done = subprocess.run(
        [sys.executable, "-c", _INDEX, str(app)], cwd=_PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"load the app in {app}: it failed:\n{done.stderr[-2000:]}")
    seconds, cpu, functions = (float(each) for each in done.stdout.strip(" []\n").split(","))
    if not functions:
        raise BenchmarkError(f"load the app in {app}: it has no functions")
    return seconds, cpu


def _timing(pairs: list[tuple[float, float]]) -> Timing:
    return Timing(seconds=[wall for wall, _ in pairs], cpu=[cpu for _, cpu in pairs], peak=[0] * len(pairs))
