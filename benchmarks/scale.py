"""Benchmark of scale: one to four workers are measured, and a model extrapolates from the times to many more."""

import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks import app, pictures, scale_plot
from benchmarks.bench import Bench, benchmark
from benchmarks.machine import ROOT
from benchmarks.model import BenchmarkError, Figure, Measured, Timing
from benchmarks.operations import counted
from benchmarks.scaling import ACCOUNT, PARTITION, Limits, Load, Service, most_sources, outlook
from benchmarks.workers import measure, on_one_core, queue_all
from ingest.model import SourceSpec
from ingest.poll import PollReport, poll
from ingest.protocols.connect import connector
from local.servers.server import Server, sftp_server
from preprocess.model import BatchSizes
from preprocess.zip import end
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected
from storage.tables.archives import TableCopyLedger

_SPEC = SourceSpec(name="radar", max_connections=1, stable_for=timedelta(0))
_PICTURE_SIZE = (2144, 1608)
_WORKERS = (1, 2, 3, 4)
_MANY = 500
"""Number of sources for which the model computes the load on Azure."""
_PLOT = ROOT / "docs" / "scale.svg"


@benchmark(
    "workers",
    task="archives preprocessed by 2, 3 and 4 workers, each a process with one core",
    against="1 worker",
    goals={},
)
def workers(bench: Bench) -> Measured:
    """Measure how one to four workers empty the queue of batches, and draw the model's predictions."""
    archives, images = bench.size(4, 2), bench.size(100, 4)
    root = bench.folder / "scale"
    root.mkdir()
    size = _zips(bench, root, archives, images)
    with (
        bench.azurite() as azurite,
        sftp_server(bench.folder / "scale-server", root) as server,
        connected(azurite.connection) as clients,
    ):
        with on_one_core():
            copied = _copied(clients, server, archives)
        timings = measure(clients, azurite, _WORKERS[: bench.size(4, 2)], rounds=bench.size(3, 1))
        service = Service(
            poll=copied.poll,
            copy=copied.copy,
            batches=min(timings[1].seconds) / archives,
            requests=copied.requests + _requests(clients),
            poll_requests=copied.poll_requests,
            rows=images,
            bytes=size,
            parts=-(-images // BatchSizes().members),
        )
    scale_plot.draw(service, bench.folder / _PLOT.name if bench.quick else _PLOT)
    figures = {_named(number): _against_one(timings, number) for number in timings if number > 1}
    notes = [_note_on_samples(timings, archives), *_notes_on_model(service, images)]
    return Measured(figures, {_named(number): timing for number, timing in timings.items()}, notes)


BENCHMARKS = (workers,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copies:
    """Seconds and requests of polls and copies."""

    poll: float
    copy: float
    requests: float
    poll_requests: float


def _named(number: int) -> str:
    return f"{number} worker{'s' if number > 1 else ''}"


def _against_one(timings: Mapping[int, Timing], number: int) -> Figure:
    pairs = zip(timings[1].seconds, timings[number].seconds, strict=True)
    return Figure.of([alone / together for alone, together in pairs])


def _note_on_samples(timings: Mapping[int, Timing], archives: int) -> str:
    cores = len(os.sched_getaffinity(0))
    busy = ", ".join(f"{_share(timing, cores):.0%} with {_named(number)}" for number, timing in timings.items())
    own, serving = (median(spent) / archives for spent in (timings[1].cpu, timings[1].servers))
    return (
        f"An archive takes {own:.1f} s of a worker's processor time and {serving:.1f} s of the emulator's. They share "
        f"{cores} cores here, which are busy for {busy}."
    )


def _share(timing: Timing, cores: int) -> float:
    """Return the share of the cores' time that was used."""
    return (median(timing.cpu) + median(timing.servers)) / (median(timing.seconds) * cores)


def _notes_on_model(service: Service, images: int) -> list[str]:
    """Return notes on the model's inputs, the workers it predicts, and the other limits."""
    single, four, sixteen = (most_sources(service, number) for number in (1, 4, 16))
    calm, many = outlook(service, Load(sources=1, workers=1)), outlook(service, Load(sources=_MANY, workers=16))
    load, limits = Load(sources=1, workers=1), Limits()
    return [
        f"Inputs of the model, from one worker: {service.poll:.2f} s for a quiet poll, {service.copy:.1f} s for a copy "
        f"of {service.bytes / 1e6:.0f} MB, {service.batches:.1f} s for its {images} JPEGs (each the fastest of its "
        f"rounds), {service.requests:.0f} requests to storage for an archive, {service.poll_requests:.0f} for a quiet "
        "poll.",
        f"**One worker per {single * 2 // 30 * 10} such sources** is two thirds busy. One worker is enough for up to "
        f"{single} sources, 4 workers for {four:,} and 16 for {sixteen:,}.",
        f"Most of the lag is waiting: of {calm.lag:.0f} s, {load.tick / 2:.0f} are half of `POLL_SCHEDULE`'s interval "
        f"and {load.settle:.0f} `STABLE_FOR`. A shorter interval shortens it, fewer sources or more workers do not.",
        "More workers do not help with other limits: one server of 1 Gbit/s for all sources is full at "
        f"{limits.server_bytes / service.bytes * load.interval:,.0f} sources. Of Azure's limits, {_MANY} sources use "
        f"{many.busy[ACCOUNT]:.0%} of an account's {limits.account_requests:,.0f} requests per second, and "
        f"{many.busy[PARTITION]:.0%} of a partition's {limits.partition_rows:,.0f} rows.",
    ]


def _zips(bench: Bench, root: Path, archives: int, images: int) -> int:
    """Put equal zips of real photographs on the server. Return the size of one in bytes."""
    photographs = pictures.files(bench.folder, "jpeg", bench.size(20, 2), _PICTURE_SIZE)
    first = root / "radar_000.zip"
    with zipfile.ZipFile(first, "w") as archive:
        for number, photograph in enumerate(islice(cycle(photographs), images)):
            archive.write(photograph, f"DCIM/IMG_{number:04}.jpg")
    for number in range(1, archives):
        shutil.copyfile(first, root / f"radar_{number:03}.zip")
    return first.stat().st_size


def _copied(clients: Clients, server: Server, archives: int) -> _Copies:
    """Copy all archives, then measure polls without new files."""

    def once() -> PollReport:
        return poll(
            _SPEC,
            connector(server.endpoint()),
            BlobSourceStates(clients),
            BlobArchives(clients),
            TableCopyLedger(clients),
            zip_end=end,
        )

    with counted() as all_requests:
        report = once()
    if len(report.copied) != archives:
        raise BenchmarkError(f"copy {archives} archives: {len(report.copied)} were copied: {report}")
    with counted() as requests:
        once()
    quiet = []
    for _ in range(5):
        began = perf_counter()
        once()
        quiet.append(perf_counter() - began)
    return _Copies(
        poll=min(quiet),
        copy=min(copied.seconds for copied in report.copied),
        requests=(all_requests.total - requests.total) / archives,
        poll_requests=requests.total,
    )


def _requests(clients: Clients) -> int:
    """Return the number of requests for an archive's plan, messages and batches."""
    blob = next(iter(clients.raw.list_blob_names()))
    with counted() as requests:
        app.drain(clients, queue_all(clients, [blob]))
    return requests.total
