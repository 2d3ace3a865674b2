"""The row of scale: one to four workers measured, and a model, fed with what each thing took, of many more."""

import base64
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from benchmarks import pictures, scale_plot
from benchmarks.bench import Bench
from benchmarks.child import Child, Sample, Side
from benchmarks.model import BenchmarkError, Figure, Measured, Timing, row
from benchmarks.operations import counted
from benchmarks.results import ROOT
from benchmarks.scaling import Service, most_sources
from ingest.connect import connector
from ingest.model import SourceSpec
from ingest.poll import PollReport, poll
from local.servers import Server, sftp_server
from preprocess.model import BatchSizes, Limits, Recipe
from preprocess.pipeline import Preprocessing, take_archive, take_message
from storage.batches import TableBatchLedger
from storage.blobs import BlobArchives
from storage.clients import Clients, connected
from storage.ledger import TableCopyLedger
from storage.queues import BatchMessages, parse_batch_message
from storage.raw_archives import RawBlobs
from storage.results import ShardsAndRows
from storage.rosters import BlobRosters

_SPEC = SourceSpec(name="radar", max_connections=1, settle=timedelta(0))
_SHOT = (2144, 1608)
_WORKERS = (1, 2, 3, 4)
_PLOT = ROOT / "docs" / "scale.svg"


@row(
    "workers",
    what="archives preprocessed by 2, 3 and 4 workers, processes of their own",
    against="1 worker",
    goals={},
)
def workers(bench: Bench) -> Measured:
    """Let more and more workers empty the queue of batches; take the time of everything, and draw what follows."""
    archives, images = bench.size(4, 2), bench.size(100, 4)
    root = bench.folder / "scale"
    root.mkdir()
    size = _zips(bench, root, archives, images)
    with (
        bench.azurite() as azurite,
        sftp_server(bench.folder / "scale-server", root) as server,
        connected(azurite.connection) as clients,
    ):
        copied = _copied(clients, server, archives)
        laps = _laps(bench, clients, azurite.connection, archives)
        batches = min(lap.seconds for lap in laps[1]) / archives
        service = Service(
            poll=copied.poll,
            copy=copied.copy,
            batches=batches,
            requests=copied.requests + _requests(clients),
            poll_requests=copied.poll_requests,
            rows=images,
            bytes=size,
            parts=-(-images // BatchSizes().members),
        )
    scale_plot.draw(service, bench.folder / _PLOT.name if bench.quick else _PLOT)
    figures = {
        f"{number} workers": Figure.of([one.seconds / more.seconds for one, more in zip(laps[1], lap, strict=True)])
        for number, lap in laps.items()
        if number > 1
    }
    timings = {f"{number} workers": _timing(lap) for number, lap in laps.items()}
    return Measured(figures, timings, _told(service, archives, images))


ROWS = (workers,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copies:
    """What polling took."""

    poll: float
    copy: float
    requests: float
    poll_requests: float


def _told(service: Service, archives: int, images: int) -> list[str]:
    sources = {number: most_sources(service, number) for number in (1, 4, 16)}
    return [
        f"{archives} archives of {service.bytes / 1e6:.0f} MB and {images} images; two cores bound it, "
        "on which the emulator, one thread, runs too",
        f"least of the rounds: a quiet poll {service.poll:.2f} s, a copy {service.copy:.2f} s, "
        f"an archive's batches {service.batches:.2f} s",
        f"requests to storage: {service.requests:.0f} an archive, {service.poll_requests:.0f} a quiet poll",
        "the model, an archive every ten minutes: "
        + ", ".join(f"{number} workers keep up with {count} sources" for number, count in sources.items()),
    ]


def _zips(bench: Bench, root: Path, archives: int, images: int) -> int:
    """Put so many equal zips of real photographs on the server; gives the size of one."""
    shots = pictures.files(bench.folder, "jpeg", bench.size(20, 2), _SHOT)
    first = root / "radar_000.zip"
    with zipfile.ZipFile(first, "w") as archive:
        for number, shot in enumerate(islice(cycle(shots), images)):
            archive.write(shot, f"DCIM/IMG_{number:04}.jpg")
    for number in range(1, archives):
        shutil.copyfile(first, root / f"radar_{number:03}.zip")
    return first.stat().st_size


def _copied(clients: Clients, server: Server, archives: int) -> _Copies:
    """Copy all that is there, and look again and again."""

    def once() -> PollReport:
        return poll(
            _SPEC, connector(server.endpoint()), BlobRosters(clients), BlobArchives(clients), TableCopyLedger(clients)
        )

    with counted() as all_requests:
        report = once()
    if len(report.copied) != archives:
        raise BenchmarkError(f"copy {archives} archives: {len(report.copied)} were copied: {report}")
    with counted() as requests:
        once()
    quiet = [_seconds(once) for _ in range(5)]
    return _Copies(
        poll=min(quiet),
        copy=min(copied.seconds for copied in report.copied),
        requests=(all_requests.count - requests.count) / archives,
        poll_requests=requests.count,
    )


def _laps(bench: Bench, clients: Clients, connection: str, archives: int) -> Mapping[int, Sequence[Sample]]:
    """Give the time that each number of workers took, round by round."""
    numbers = _WORKERS[: bench.size(len(_WORKERS), 2)]
    laps: dict[int, list[Sample]] = {number: [] for number in numbers}
    with ExitStack() as stack:
        children = [stack.enter_context(Child(f"worker {n}", Side(_worker_side, (connection,)))) for n in numbers]
        threads = stack.enter_context(ThreadPoolExecutor(len(children)))
        # All are warm: each has preprocessed something.
        for child in children:
            _queue_all(clients, most=1)
            child.run()
        for _ in range(bench.size(3, 1)):
            for number in numbers:
                _queue_all(clients)
                began = perf_counter()
                samples = list(threads.map(Child.run, children[:number]))
                seconds = perf_counter() - began
                done = sum(int(str(sample.outcome)) for sample in samples)
                if done < archives:
                    raise BenchmarkError(f"preprocess {archives} archives: {done} batches were done")
                laps[number].append(
                    Sample(seconds, sum(sample.cpu for sample in samples), max(s.peak for s in samples), done)
                )
    return laps


def _queue_all(clients: Clients, most: int | None = None) -> None:
    """Plan every archive under a new pipeline, so that all is to be done anew; or some of them."""
    p = _preprocessing(clients, f"p-{uuid4().hex[:8]}")
    for blob in islice(clients.raw.list_blob_names(), most):
        take_archive(blob, p)


def _requests(clients: Clients) -> float:
    """Count what an archive's plan and batches cost, with the messages."""
    blob = next(iter(clients.raw.list_blob_names()))
    p = _preprocessing(clients, f"p-{uuid4().hex[:8]}")
    with counted() as requests:
        take_archive(blob, p)
        _drain(clients, p)
    return float(requests.count)


@contextmanager
def _worker_side(connection: str) -> Iterator[Callable[[], int]]:
    with connected(connection) as clients:
        p = _preprocessing(clients, "any")
        yield lambda: _drain(clients, p)


def _drain(clients: Clients, p: Preprocessing) -> int:
    """Do what the queue holds, one message after the other, as the functions host does; gives how many they were."""
    done = 0
    while message := clients.batch_queue.receive_message(visibility_timeout=600):
        asked = parse_batch_message(base64.b64decode(message.content))
        take_message(asked, replace(p, pipeline=asked.pipeline or p.pipeline))
        clients.batch_queue.delete_message(message)
        done += 1
    return done


def _preprocessing(clients: Clients, pipeline: str) -> Preprocessing:
    """Wire preprocessing as the app does, with the settings that it has where none are set."""
    recipe = Recipe()
    return Preprocessing(
        raw=RawBlobs(clients, lambda _source, _path: None),
        results=ShardsAndRows(clients, recipe.codec, 8),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=recipe,
        hook=None,
        pipeline=pipeline,
        limits=Limits(),
        # All go to the queue.
        sizes=BatchSizes(inline_bytes=0),
        holder=uuid4().hex,
    )


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _timing(laps: Sequence[Sample]) -> Timing:
    return Timing(seconds=[s.seconds for s in laps], cpu=[s.cpu for s in laps], peak=[s.peak for s in laps])
