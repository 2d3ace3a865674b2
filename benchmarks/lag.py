"""Benchmarks of lag: zips appear on a server of the whole system, and the ledger has the times of their rows."""

import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import median, quantiles

from benchmarks import pictures
from benchmarks.bench import Bench, benchmark
from benchmarks.model import BenchmarkError, Figure, Goal, Measured
from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from imagefeed.tables import Reader
from local.system import System, system
from storage.clients import Clients, connected

_SOURCE = "radar"
_INTERVAL = 2.0
"""Seconds between polls; the default is 30."""
_STABLE_FOR = 2.0
"""Seconds for which a file must stay unchanged, as by default."""
_SETTINGS: Mapping[str, str] = {
    "POLL_SCHEDULE": f"*/{_INTERVAL:.0f} * * * * *",
    "RECONCILE_SCHEDULE": "0 */5 * * * *",
    "SOURCES__RADAR__STABLE_FOR": f"{_STABLE_FOR:g}s",
}
_PATIENCE = 600.0
_BACK = timedelta(minutes=1)
"""How far back the ledger is read for a newcomer; reading a whole backlog would load the emulator."""
_PICTURE_SIZE = (2144, 1608)
"""Width and height of pictures in pixels; such a JPEG has about 0.6 MB."""


@benchmark(
    "lag",
    task=f"lag of a 60 MB zip of 100 JPEGs, polled every {_INTERVAL:g} s: stable on the server → rows readable",
    against="half the poll interval + 3 s",
    goals={"p95": Goal(at_most=_INTERVAL / 2 + 3)},
    why="it waits up to 2 s for the poll; then an archive takes 2.4 s of the functions host's processor time (1.6 s to "
    "preprocess, of which Pillow and libjpeg-turbo have 77 %) and more than 0.5 s of Azurite's, on two cores",
)
def lag(bench: Bench) -> Measured:
    """Upload one zip after the other, at different moments between two polls."""
    zips, images = bench.size(10, 1), bench.size(100, 4)
    content = _zip(bench, images)
    with (
        system(bench.folder / "lag", sources={_SOURCE: "sftp"}, settings=_SETTINGS, host="local") as running,
        connected(running.connection) as clients,
    ):
        passed = [_drop(running, clients, content, number) for number in range(-1, zips)][1:]
        _insist_on(clients, images)
    size = content.stat().st_size
    return Measured(_figures(passed), notes=_notes(passed, size, images))


@benchmark(
    "newcomer",
    task="lag of a zip that arrives while 288 of its size wait: stable on the server → rows readable",
    against="the lag without a backlog plus the time of one archive",
    goals={"lag": Goal(at_most=1)},
    why="each of its steps shares both cores, and one worker's decode workers and batch lock, with those of the "
    "backlog, of which each archive takes 0.19 s of the functions host's processor time",
)
def newcomer(bench: Bench) -> Measured:
    """Start with a full server, and upload newcomers while the system processes the backlog."""
    waiting, comers, images = bench.size(288, 4), bench.size(5, 1), bench.size(4, 2)
    content = _zip(bench, images)
    with (
        system(bench.folder / "newcomer", sources={_SOURCE: "sftp"}, settings=_SETTINGS, host="local") as running,
        connected(running.connection) as clients,
    ):
        alone = [_drop(running, clients, content, number) for number in range(-1, comers)][1:]
        began = datetime.now(UTC)
        old = [_put(running, content, 1_000 + number, timedelta(minutes=10 * number + 60)) for number in range(waiting)]
        _until(clients, old[:1], State.RAW, began - timedelta(minutes=61))
        ahead = _ahead(running, clients, content, old, comers)
        done = _until(clients, old, State.PROCESSED, every=2.0)
        seconds = (max(entry.times[State.PROCESSED] for entry in done.values()) - began).total_seconds()
    each = seconds / (waiting + len(ahead))
    usual = median(passed.total for passed in alone)
    figures = {
        "lag": Figure.of([passed.total / (usual + each) for passed in ahead]),
        "seconds": Figure.of([passed.total for passed in ahead], "s"),
        "without a backlog": Figure.of([passed.total for passed in alone], "s"),
        "one archive": Figure.of([each], "s"),
    }
    notes = [f"{content.stat().st_size / 1e6:.0f} MB and {images} images each; {len(ahead)} newcomers, one at a time"]
    return Measured(figures, notes=[*notes, *_steps("a newcomer", ahead), *_steps("one without a backlog", alone)])


BENCHMARKS = (lag, newcomer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Durations in seconds of an archive's steps, from when its file was stable."""

    begun: float
    """Until its first block arrived; without STABLE_FOR."""
    copied: float
    planned: float
    processed: float

    @property
    def total(self) -> float:
        """Sum of all steps."""
        return self.begun + self.copied + self.planned + self.processed


def _figures(passed: Sequence[Passage]) -> dict[str, Figure]:
    totals = [passage.total for passage in passed]
    p95 = quantiles(totals, n=20, method="inclusive")[-1] if len(totals) > 1 else totals[0]
    after = [passage.total - passage.begun for passage in passed]
    return {
        "p50": Figure.of(totals, "s"),
        "p95": Figure(p95, min(totals), max(totals), "s"),
        "once begun": Figure.of(after, "s"),
    }


def _notes(passed: Sequence[Passage], size: int, images: int) -> list[str]:
    half = 30 / 2 - _INTERVAL / 2
    return [
        f"{len(passed)} zips of {size / 1e6:.0f} MB and {images} images, one at a time",
        f"stable: unchanged for STABLE_FOR, {_STABLE_FOR:g} s from the last byte on, which is not part of the lag",
        f"polled every 30 s, the default, an archive waits {half:g} s longer on average, and up to {2 * half:g} s",
        *_steps("an archive", passed),
    ]


def _steps(whose: str, passed: Sequence[Passage]) -> list[str]:
    steps = ("begun", "copied", "planned", "processed")
    medians = (f"{step} {median(getattr(passage, step) for passage in passed):.1f} s" for step in steps)
    return [f"steps of {whose}, medians: {', '.join(medians)}"]


def _zip(bench: Bench, images: int) -> Path:
    """Write a zip of `images` real photographs, which repeat under other names."""
    made = bench.folder / f"{images}.zip"
    photographs = pictures.files(bench.folder, "jpeg", bench.size(20, 2), _PICTURE_SIZE)
    with zipfile.ZipFile(made, "w") as archive:
        for number, photograph in enumerate(islice(cycle(photographs), images)):
            archive.write(photograph, f"DCIM/IMG_{number:04}.jpg")
    return made


def _put(running: System, content: Path, number: int, age: timedelta = timedelta(0)) -> str:
    """Put a zip on the server, written under another name and renamed. Return its name."""
    root = running.sources[_SOURCE].root
    hidden, name = root / f"{number}.part", f"{_SOURCE}_{number:05}.zip"
    hidden.write_bytes(content.read_bytes())
    at = (datetime.now(UTC) - age).timestamp()
    os.utime(hidden, (at, at))
    hidden.replace(root / name)
    return name


def _drop(running: System, clients: Clients, content: Path, number: int) -> Passage:
    """Upload a zip, at a different moment of the interval for each number, and wait until its images are readable."""
    time.sleep(number * _INTERVAL * 0.381966 % _INTERVAL)
    name = _put(running, content, number + 1)
    arrived = datetime.now(UTC)
    times = _until(clients, [name], State.PROCESSED, arrived - _BACK)[name].times
    settled = arrived + timedelta(seconds=_STABLE_FOR)
    moments = [settled, *(times[state] for state in (State.COPYING, State.RAW, State.PROCESSING, State.PROCESSED))]
    begun, copied, planned, processed = ((b - a).total_seconds() for a, b in pairwise(moments))
    return Passage(begun=begun, copied=copied, planned=planned, processed=processed)


def _ahead(running: System, clients: Clients, content: Path, old: Sequence[str], comers: int) -> list[Passage]:
    """Upload newcomers while part of the backlog is left. Raises BenchmarkError if none was uploaded in time."""
    passed: list[Passage] = []
    while len(passed) < comers and any(e.state is not State.PROCESSED for e in _entries(clients, set(old)).values()):
        passed.append(_drop(running, clients, content, 2_000 + len(passed)))
    if not passed:
        raise BenchmarkError("measure newcomers: the backlog was done before they came; make it longer")
    return passed


def _until(
    clients: Clients, names: Sequence[str], state: State, since: datetime | None = None, *, every: float = 0.2
) -> Mapping[str, Entry]:
    """Wait until all archives have reached a state in the ledger, which is read from `since` on.

    Raises BenchmarkError if one fails or the wait takes too long.
    """
    wanted, deadline = set(names), time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        reached = _entries(clients, wanted, since)
        failed = [entry for entry in reached.values() if entry.state in (State.REFUSED, State.FAILED, State.EXPIRED)]
        if failed:
            raise BenchmarkError(f"wait for {failed[0].archive.path}: it is {failed[0].state}: {failed[0].reason}")
        if len(reached) == len(wanted) and all(state in entry.times for entry in reached.values()):
            return reached
        time.sleep(every)
    raise BenchmarkError(f"wait for {len(names)} archives to be {state}: it took longer than {_PATIENCE:.0f} s")


def _entries(clients: Clients, names: set[str], since: datetime | None = None) -> dict[str, Entry]:
    return {
        entry.archive.path: entry for entry in entries(clients, _SOURCE, start=since) if entry.archive.path in names
    }


def _insist_on(clients: Clients, images: int) -> None:
    """Read the newest archive's images with their checksums. Raises BenchmarkError if any are missing."""
    count = sum(1 for _ in Reader(clients).latest(_SOURCE))
    if count != images:
        raise BenchmarkError(f"read the newest archive: {count} images came instead of {images}")
