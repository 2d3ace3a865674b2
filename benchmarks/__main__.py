"""The command `python -m benchmarks`: measure ours beside what a user would pick instead."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import readme, results, tables
from benchmarks.bench import Bench, workplace
from benchmarks.model import BenchmarkError, PeerMissingError, Row
from benchmarks.rows import ROWS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was chosen; its exit status."""
    chosen = _parser().parse_args(arguments)
    # Ended like by Ctrl-C, so that the servers end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        if chosen.readme:
            readme.refresh()
        else:
            _measure([row for row in ROWS if row.name in (chosen.only or [each.name for each in ROWS])], chosen.quick)
    except BenchmarkError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _measure(rows: Sequence[Row], quick: bool) -> None:
    with workplace(quick=quick) as bench:
        # The quick run draws and writes too, so that this cannot rot, but keeps nothing: its times mean nothing.
        folder = bench.folder if quick else results.FOLDER
        run = results.begin(datetime.now(UTC))
        for number, row in enumerate(rows, 1):
            print(f"[{number}/{len(rows)}] {row.name}: {row.what}", flush=True)
            run = results.with_row(run, _result(row, bench))
            tables.show(run.rows[-1], quick=quick)
            results.write(run, folder, keep_others=not quick, order=[row.name for row in ROWS])
        if not quick:
            print(f"written to {folder}")


def _result(row: Row, bench: Bench) -> results.Result:
    try:
        return results.of(row, row.measure(bench))
    except PeerMissingError as exc:
        if os.environ.get("CI"):
            raise
        return results.without(row, str(exc))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure ours beside what a user would pick instead: in one run, on the same bytes, in turn.",
    )
    parser.add_argument("--quick", action="store_true", help="everything once at a small size; nothing is kept")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[row.name for row in ROWS], help="these rows: %(choices)s"
    )
    parser.add_argument("--readme", action="store_true", help="put the last results into README.md; measure nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
