"""Command `python -m benchmarks.status_page`: measure the status page with a full ledger."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingest.model import SourceSpec, SourceState
from local.azurite import azurite
from ops.health.load import StoredStatus, load_status
from ops.health.promises import Held
from ops.web.assess import assess
from ops.web.pages import status_page
from ops.web.responses import Request
from storage.clients import Clients, connected, prepare
from tests.fixtures.history import bad_day, ordinary, write

_THREADS = 6
"""Threads that fill the ledger."""


def main() -> int:
    """Fill a ledger through the real ledger code, and time views of it."""
    options = _arguments()
    specs = {f"source-{number}": SourceSpec(name=f"source-{number}") for number in range(options.sources)}
    with azurite() as server, connected(server.connection) as clients:
        prepare(clients)
        now = datetime.now(UTC)
        for number, spec in enumerate(specs.values()):
            past = list(ordinary(spec, now, number, archives=options.archives))
            past = list(bad_day(past, number)) if options.archives > 200 else past
            write(clients, spec.name, past, SourceState(source=spec.name, listed_at=now), threads=_THREADS)
        print(f"{options.sources} sources of {options.archives} archives are in Azurite")
        _measure(clients, specs, options.times)
    return 0


def _measure(clients: Clients, specs: dict[str, SourceSpec], times: int) -> None:
    def read() -> StoredStatus:
        now = datetime.now(UTC)
        return load_status(clients, [(spec.name, now - spec.retention) for spec in specs.values()])

    stored = read()
    status = assess(stored, Held(promises=specs), datetime.now(UTC))
    page = status_page(Request(), status)
    packed = status_page(Request(gzip=True), status)
    steps: dict[str, Callable[[], object]] = {
        "read from Azurite": read,
        "judge": lambda: assess(stored, Held(promises=specs), datetime.now(UTC)),
        "draw": lambda: status_page(Request(gzip=True), status),
        "all of it": lambda: status_page(Request(gzip=True), assess(read(), Held(promises=specs), datetime.now(UTC))),
    }
    print(f"rows read        {sum(source.rows for source in stored.sources)}")
    print(f"page             {len(page.body) / 1e3:.0f} kB, {len(packed.body) / 1e3:.0f} kB packed")
    for name, step in steps.items():
        seconds = [_seconds(step) for _ in range(times)]
        print(f"{name:<16} {statistics.median(seconds):.2f} s (median of {times}), {min(seconds):.2f} s (best)")


def _seconds(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.status_page", description="Time the status page.")
    parser.add_argument("--sources", type=int, default=6)
    parser.add_argument("--archives", type=int, default=288, help="of each source (default: %(default)s, 48 hours)")
    parser.add_argument("--times", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
