"""Command `python -m benchmarks`: compare this project with the tools that a user would choose instead."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import SubprocessError
from time import perf_counter

from azure.core.exceptions import AzureError

from benchmarks import files, page, results, tables
from benchmarks.bench import Bench, Benchmark, workplace
from benchmarks.model import BenchmarkError, PeerMissingError
from benchmarks.registry import BENCHMARKS
from imagefeed.errors import PipelineError

_FAILURES = (BenchmarkError, PipelineError, AzureError, SubprocessError, OSError)
"""Errors that make one benchmark fail; the others still run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks and return the exit status."""
    options = _parser().parse_args(arguments)
    # Handle SIGTERM like Ctrl-C, so that the servers are stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        if options.page:
            page.refresh()
        else:
            benchmarks = [each for each in BENCHMARKS if not options.only or each.name in options.only]
            return 0 if measure(benchmarks, None if options.quick else files.FOLDER) else 1
    except BenchmarkError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def measure(benchmarks: Sequence[Benchmark], kept: Path | None, table: Sequence[Benchmark] = BENCHMARKS) -> bool:
    """Run benchmarks and save each result in `kept` at once; return True if none failed.

    If `kept` is None, run them at a small size and save nothing.
    """
    quick = kept is None
    with workplace(quick=quick) as bench:
        # A quick run writes files too, to test this code, but into a temporary folder, because its times mean nothing.
        folder = kept or bench.folder
        run = results.begin(datetime.now(UTC))
        for number, benchmark in enumerate(benchmarks, 1):
            print(f"[{number}/{len(benchmarks)}] {benchmark.name}: {benchmark.task}", flush=True)
            run = results.with_result(run, _result(benchmark, bench))
            tables.show(run.results[-1], quick=quick)
            files.write(run, folder, keep_others=not quick, order=[benchmark.name for benchmark in table])
        if not quick:
            print(f"written to {folder}")
    failed = [result.name for result in run.results if result.failed]
    if failed:
        print(f"error: measure {', '.join(failed)}: see above; `--only` measures them again", file=sys.stderr)
    return not failed


def _result(benchmark: Benchmark, bench: Bench) -> results.Result:
    began = perf_counter()
    try:
        result = results.of(benchmark, benchmark.measure(bench))
    except _FAILURES as exc:
        # A missing peer, such as rclone, is no failure, and the other benchmarks still run.
        failed = not isinstance(exc, PeerMissingError)
        lines = str(exc).splitlines() or [type(exc).__name__]
        print(f"error: measure {benchmark.name}: {exc}", file=sys.stderr)
        result = results.without(benchmark, " … ".join(dict.fromkeys((lines[0], lines[-1]))), failed=failed)
    return replace(result, seconds=perf_counter() - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare this project with the tools that a user would choose instead, in turn on the same bytes.",
    )
    parser.add_argument("--quick", action="store_true", help="run each once at a small size and save nothing")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[each.name for each in BENCHMARKS], help="run only: %(choices)s"
    )
    parser.add_argument(
        "--page", action="store_true", help="write the last results into docs/performance.md; measure nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
