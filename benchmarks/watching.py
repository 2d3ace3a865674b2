"""Benchmark of the status page: the waiting time of a first visitor."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from benchmarks.bench import Bench, benchmark
from benchmarks.child import Candidate
from benchmarks.model import Figure, Goal, Measured
from benchmarks.prefill import before, copy_ledger, lay_pattern
from ingest.model import SourceSpec
from ops.health.promises import Held
from ops.web.pages import status_page
from ops.web.responses import Request
from ops.web.views import load_current
from storage.clients import connected

_WINDOW = 288
"""Archives of 48 hours, one every ten minutes."""


@benchmark(
    "status-page",
    task="the status page of 6 sources × 288 archives, read and rendered",
    against="–",
    goals={"seconds": Goal(at_most=1)},
    why="reading 3,456 rows takes 0.22 s of our processor time and 0.11 s of Azurite's, rendering 1.2 MB of HTML "
    "0.11 s",
)
def status_pages(bench: Bench) -> Measured:
    """Read the state of all sources and render the page, as for a first visitor."""
    sources = [f"source-{number}" for number in range(bench.size(6, 2))]
    with bench.azurite() as server, connected(server.connection) as clients:
        pattern = lay_pattern(clients, sources[0], datetime.now(UTC), images=10)
        for name in sources:
            copy_ledger(clients, pattern, name, before(pattern, _WINDOW - (name == sources[0])))
        timings = bench.compare(
            {"page": Candidate(_page, (server.connection, sources, pattern.stamp))}, rounds=9, servers=[server.pid]
        )
    page = timings["page"]
    figures = {
        "seconds": Figure.of(page.seconds, "s"),
        "processor": Figure.of([own + theirs for own, theirs in zip(page.cpu, page.servers, strict=True)], "s"),
    }
    return Measured(figures, timings, ["processor: our own and Azurite's"])


BENCHMARKS = (status_pages,)


@contextmanager
def _page(connection: str, sources: Sequence[str], now: datetime) -> Iterator[Callable[[], int]]:
    specs = {name: SourceSpec(name=name) for name in sources}
    with connected(connection) as clients:
        yield lambda: len(status_page(Request(gzip=True), load_current(clients, Held(promises=specs), specs, now)).body)
