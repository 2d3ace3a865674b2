"""The command `python -m benchmarks`: measure ours beside what a user would pick instead."""

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
"""What costs a benchmark its figures, and no other benchmark."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was chosen; its exit status."""
    options = _parser().parse_args(arguments)
    # Ended like by Ctrl-C, so that the servers end too.
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
    """Measure benchmarks, and keep each at once; return whether none failed. Kept nowhere, they are small."""
    quick = kept is None
    with workplace(quick=quick) as bench:
        # The quick run draws and writes too, so that this cannot rot, but keeps nothing: its times mean nothing.
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
        # Whoever has no rclone still gets the other benchmarks.
        failed = not isinstance(exc, PeerMissingError)
        lines = str(exc).splitlines() or [type(exc).__name__]
        print(f"error: measure {benchmark.name}: {exc}", file=sys.stderr)
        result = results.without(benchmark, " … ".join(dict.fromkeys((lines[0], lines[-1]))), failed=failed)
    return replace(result, seconds=perf_counter() - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure ours beside what a user would pick instead: in one run, on the same bytes, in turn.",
    )
    parser.add_argument("--quick", action="store_true", help="everything once at a small size; nothing is kept")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[each.name for each in BENCHMARKS], help="these: %(choices)s"
    )
    parser.add_argument(
        "--page", action="store_true", help="write the last results into docs/performance.md; measure nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
