"""Benchmarks whose times must not grow with the stored data: a poll without new files, and reads of recent data."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench, benchmark
from benchmarks.child import Candidate
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Timing, cpu_ratio, ratio
from benchmarks.operations import counted
from benchmarks.prefill import Pattern, add_rows, before, copy_ledger, lay_pattern
from imagefeed.tables import Reader
from ingest.model import Archive, Endpoint, SourceSpec, SourceState, TrackedFile, version_of
from ingest.poll import poll
from ingest.protocols.connect import connector
from local.servers.server import ftp_server, sftp_server
from ops.health.load import load_status
from preprocess.zip import end
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected
from storage.tables.archives import TableCopyLedger

_IMAGES = 100
"""Images of each archive."""
_TIMES = 5
"""Reads of a sample, because one read takes hundredths of a second, which vary."""
_PAUSE = 0.15
"""Seconds between reads, as long as the emulator takes for one with many images. Waiting for the emulator costs the
client its processor caches, and so half as much time again; with the pause this happens to both sides."""
_WINDOW = 288
"""Archives of 48 hours, one every ten minutes."""
_FLAT = Goal(at_most=1.2)
"""Two runs of the same code differ by up to this factor here."""


@benchmark(
    "quiet-tick",
    task="a poll without new files, 10,000 archives in the ledger; 10,000 files listed",
    against="10 archives; 300 files",
    goals={"ledger": _FLAT, "requests to storage": Goal(at_most=4)},
)
def quiet_tick(bench: Bench) -> Measured:
    """Poll sources without new files."""
    few, many, archives = bench.size(300, 30), bench.size(10_000, 300), bench.size(10_000, 100)
    with bench.azurite() as server, ExitStack() as stack, connected(server.connection) as clients:
        endpoints = {
            f"{kind}-{count}": _served(stack, bench.folder / f"{kind}-{count}", kind, count)
            for kind in ("sftp", "ftp")
            for count in (few, many)
        }
        pattern = lay_pattern(clients, "pattern", datetime.now(UTC), images=1)
        sources = {name: (endpoint, 10) for name, endpoint in endpoints.items()}
        sources["long-ledger"] = endpoints[f"sftp-{few}"], archives
        for name, (endpoint, known) in sources.items():
            copy_ledger(clients, pattern, name, before(pattern, known))
            _know_all(clients, name, endpoint)
        candidates = {name: Candidate(_tick, (server.connection, name, at)) for name, (at, _) in sources.items()}
        timings = bench.compare(candidates, rounds=15, servers=[server.pid])
        with counted() as requests, _tick(server.connection, "long-ledger", endpoints[f"sftp-{few}"]) as tick:
            tick()
            first = requests.total
            tick()
    figures = {
        "ledger": ratio(timings, f"sftp-{few}", "long-ledger"),
        "requests to storage": Figure.of([requests.total - first], ""),
        **{f"1,000 more files, {kind.upper()}": _slope(timings, kind, few, many) for kind in ("sftp", "ftp")},
    }
    return Measured(figures, timings)


@benchmark(
    "flat-reads",
    task="`latest()` and the status page's data with 300,000 images stored",
    against="300 images",
    goals={
        "latest CPU": _FLAT,
        "latest requests": Goal(at_most=1),
        "status CPU": _FLAT,
        "status requests": Goal(at_most=1),
    },
)
def flat_reads(bench: Bench) -> Measured:
    """Read the newest archive, and 48 hours of the ledger, with few and with many other images stored."""
    amounts = {"many": bench.size(3_000, 30), "few": 300 // _IMAGES}
    candidates: dict[str, Candidate] = {}
    requests: dict[str, int] = {}
    servers: list[int] = []
    with ExitStack() as stack:
        for name, archives in amounts.items():
            server = stack.enter_context(bench.azurite())
            servers.append(server.pid)
            clients = stack.enter_context(connected(server.connection))
            pattern = _stored(clients, archives)
            for kind, reads in (("latest", _latest_candidate), ("status", partial(_status_candidate, pattern.stamp))):
                candidates[f"{kind}, {name}"] = Candidate(reads, (server.connection,))
                with counted() as count, reads(server.connection) as run:
                    run()
                requests[f"{kind}, {name}"] = count.total // _TIMES
        timings = bench.compare(candidates, rounds=7, servers=servers)
    figures: dict[str, Figure] = {}
    for kind in ("latest", "status"):
        few, many = f"{kind}, few", f"{kind}, many"
        figures[f"{kind} CPU"] = cpu_ratio(timings, few, many)
        figures[f"{kind} requests"] = Figure.of([requests[many] / requests[few]])
    notes = [
        f"each candidate reads {_TIMES} times; requests to storage of one: "
        f"latest {requests['latest, many']}, status {requests['status, many']}",
        "what grows is the emulator's processor time, for latest from "
        f"{_serving(timings, 'latest, few')} to {_serving(timings, 'latest, many')}: Azurite holds each query against "
        "every row of the table, where Azure has an index of the keys",
    ]
    return Measured(figures, timings, notes)


BENCHMARKS = (quiet_tick, flat_reads)


def _served(stack: ExitStack, folder: Path, kind: str, files: int) -> Endpoint:
    """Serve a number of files that are never read."""
    root = folder / "outgoing"
    root.mkdir(parents=True)
    for number in range(files):
        file = root / f"radar_{number:05}.zip"
        file.write_bytes(b"PK")
        os.utime(file, (1_767_225_600 + number,) * 2)
    serve = sftp_server if kind == "sftp" else ftp_server
    return stack.enter_context(serve(folder / "server", root)).endpoint()


def _know_all(clients: Clients, source: str, endpoint: Endpoint) -> None:
    """Write the state of a source of which all files have been copied."""
    with connector(endpoint).connect() as connection:
        listed = list(connection.list_files().files)
    now = datetime.now(UTC)
    tracked_files = tuple(
        TrackedFile(
            listed=file,
            archive=Archive(source=source, file=file, version=version_of(file), stamp=file.modified),
            first_seen=now,
            done=True,
            sha256="0" * 64,
        )
        for file in listed
    )
    with BlobSourceStates(clients).hold(source) as held:
        held.save(SourceState(source=source, listed_at=now, tracked_files=tracked_files))


@contextmanager
def _tick(connection: str, source: str, endpoint: Endpoint) -> Iterator[Callable[[], int]]:
    spec = SourceSpec(name=source)
    with connected(connection) as clients:

        def tick() -> int:
            adapters = BlobSourceStates(clients), BlobArchives(clients), TableCopyLedger(clients)
            report = poll(spec, connector(endpoint), *adapters, zip_end=end)
            if report.error or report.new or not report.listed:
                raise BenchmarkError(f"poll {source}: it was no quiet tick: {report}")
            return report.listed

        yield tick


def _slope(timings: Mapping[str, Timing], kind: str, few: int, many: int) -> Figure:
    pairs = zip(timings[f"{kind}-{few}"].seconds, timings[f"{kind}-{many}"].seconds, strict=True)
    return Figure.of([(more - less) / (many - few) * 1e6 for less, more in pairs], "ms")


def _serving(timings: Mapping[str, Timing], candidate: str) -> str:
    return f"{median(timings[candidate].servers):.2f} s"


def _stored(clients: Clients, archives: int) -> Pattern:
    """Store archives of images; the ledger's last 48 hours are the same for any number."""
    pattern = lay_pattern(clients, "radar", datetime.now(UTC), images=_IMAGES)
    copy_ledger(clients, pattern, "radar", before(pattern, max(archives, _WINDOW)))
    add_rows(clients, pattern, before(pattern, archives - 1))
    return pattern


@contextmanager
def _latest_candidate(connection: str) -> Iterator[Callable[[], None]]:
    with connected(connection) as clients:

        def latest() -> None:
            for _ in range(_TIMES):
                time.sleep(_PAUSE)
                count = sum(1 for _ in Reader(clients).latest("radar"))
                if count != _IMAGES:
                    raise BenchmarkError(f"read the newest archive: {count} images came instead of {_IMAGES}")

        yield latest


@contextmanager
def _status_candidate(now: datetime, connection: str) -> Iterator[Callable[[], None]]:
    with connected(connection) as clients:

        def status() -> None:
            for _ in range(_TIMES):
                time.sleep(_PAUSE)
                load_status(clients, [("radar", now - timedelta(hours=48))])

        yield status
