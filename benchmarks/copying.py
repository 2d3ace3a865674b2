"""Benchmarks of copying from a server's file to a committed blob, compared with rclone."""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Literal, cast

from benchmarks import copiers, openssh, rclone
from benchmarks.bench import Bench, Benchmark, benchmark
from benchmarks.child import Candidate
from benchmarks.machine import program
from benchmarks.model import Figure, Goal, Measured, Timing, ratio
from benchmarks.null_service import null_service
from benchmarks.peer import Run
from imagefeed.layout import RAW_CONTAINER
from ingest.crc64 import crc64
from local.servers.server import Server, ftp_server, sftp_server
from storage.clients import DEVELOPMENT_ACCOUNT, development_connection

type Protocol = Literal["SFTP", "FTP", "FTPS"]

_MIB = 2**20
_ROUNDS = 3
_MEMORY = Path("/dev/shm")  # noqa: S108 - fetched files are deleted
_OURS, _TUNED, _DEFAULT = "ours", "rclone, tuned", "rclone"
_UNCHECKED, _FETCHED = "without hashes", "sftp, no upload"
"""This project without hashes, like rclone, which shows the cost of checks; and OpenSSH's `sftp`, which uploads
nothing."""
_SINGLE, _MANY = (1, 256 * _MIB, 16 * _MIB), (20, 32 * _MIB, 2 * _MIB)
"""Number of files, their size in bytes, and their size in a quick run."""
_CORES = len(os.sched_getaffinity(0))


def _small_zip() -> bytes:
    """Return a zip of one member. Bytes before it, like a self-extracting program, leave it complete."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a", "a")
    return content.getvalue()


_END_OF_ZIP = _small_zip()


@contextmanager
def _served(bench: Bench, protocol: Protocol, files: tuple[int, int, int]) -> Iterator[tuple[Server, int]]:
    """Serve random bytes that end like a zip. Yield the server and the total number of bytes."""
    count, usual, quick = files
    size = bench.size(usual, quick)
    folder = Path(tempfile.mkdtemp(prefix=f"{protocol}-", dir=bench.folder))
    root = folder / "served"
    root.mkdir()
    noise = os.urandom(_MIB)
    for number in range(count):
        with (root / f"{number}.zip").open("wb") as file:
            for _ in range(size // _MIB - 1):
                file.write(noise)
            file.write(noise[: -len(_END_OF_ZIP)] + _END_OF_ZIP)
    with _server(protocol, folder, root) as server:
        yield server, count * size


@contextmanager
def _server(protocol: Protocol, folder: Path, root: Path) -> Iterator[Server]:
    if protocol == "SFTP":
        with sftp_server(folder, root) as server:
            yield server
    else:
        with ftp_server(folder, root, tls="explicit" if protocol == "FTPS" else None) as server:
            yield server


def _peers(bench: Bench, server: Server, port: int, options: Mapping[str, tuple[str, ...]]) -> dict[str, Candidate]:
    """Return candidates in which rclone copies the same folder to the blob service on `port`."""
    program("rclone")
    folder = bench.folder / f"rclone-{server.port}-{port}"
    folder.mkdir()
    environment = rclone.environment(folder, server, f"http://127.0.0.1:{port}/{DEVELOPMENT_ACCOUNT}")
    where = str(server.root) if server.scheme == "sftp" else ""
    return {name: Candidate(rclone.copies, (environment, where, each, RAW_CONTAINER)) for name, each in options.items()}


def _unchecked(make: Callable[..., AbstractContextManager[Callable[[], int]]], *arguments: object) -> Candidate:
    """Return a candidate that works like rclone: without hashes, and with rclone's block size."""
    return Candidate(copiers.unchecked, (make, *arguments, copiers.RCLONES_BLOCK_SIZE))


def _into_azurite(
    bench: Bench,
    protocol: Protocol,
    files: tuple[int, int, int],
    peers: Mapping[str, tuple[str, ...]],
    rounds: int = _ROUNDS,
) -> Measured:
    with bench.azurite() as azurite, _served(bench, protocol, files) as (server, size):
        arguments = (azurite.connection, server.endpoint(), min(files[0], 4), size)
        candidates = {_OURS: Candidate(copiers.polls, arguments)}
        if files is _SINGLE:
            # Not with many files, because the emulator keeps everything in memory.
            candidates[_UNCHECKED] = _unchecked(copiers.polls, *arguments)
        candidates |= _peers(bench, server, azurite.ports.blob, peers)
        timings = bench.compare(candidates, rounds=rounds, servers=[azurite.pid, server.process.pid])
    return _measured(timings, size, peers)


def _into_null_service(bench: Bench, protocol: Protocol) -> Measured:
    with null_service() as (port, pid), _served(bench, protocol, _SINGLE) as (server, size):
        storage = development_connection({"Blob": port, "Queue": port, "Table": port})
        arguments = (storage, server.endpoint(), size)
        candidates = {_OURS: Candidate(copiers.copies, arguments), _UNCHECKED: _unchecked(copiers.copies, *arguments)}
        candidates |= _peers(bench, server, port, {_TUNED: rclone.TUNED})
        if protocol == "SFTP":
            candidates[_FETCHED] = _fetching(bench, server, size)
        timings = bench.compare(candidates, rounds=_ROUNDS, servers=[pid, server.process.pid])
    return _measured(timings, size, [name for name in candidates if name in (_TUNED, _FETCHED)])


def _fetching(bench: Bench, server: Server, size: int) -> Candidate:
    folder = bench.folder / f"sftp-{server.port}"
    folder.mkdir()
    target = (_MEMORY if _MEMORY.is_dir() else bench.folder) / f"{bench.folder.name}-fetched"
    return Candidate(openssh.fetches, (openssh.command(folder, server), target, size))


def _measured(timings: Mapping[str, Timing], size: int, peers: Iterable[str]) -> Measured:
    figures = {name: ratio(timings, _OURS, name) for name in peers}
    if _UNCHECKED in timings:
        figures[_UNCHECKED] = ratio(timings, _UNCHECKED, _TUNED)
    return Measured(figures, timings, [_note(timings, size)], _why(timings, size))


def _note(timings: Mapping[str, Timing], size: int) -> str:
    """Return a note with rates and processor times, which depend less on other load than elapsed times do."""
    rate = size / 1e6 / min(timings[_OURS].seconds)
    spent = ", ".join(f"{name} {_spent(timing):.2f} s" for name, timing in timings.items())
    return f"ours at best {rate:.0f} MB/s; processor time: {spent}"


def _why(timings: Mapping[str, Timing], size: int) -> str:
    """Return a note on the cost of hashes and the load of the shared cores; if busy, processor time decides."""
    ours, theirs = timings[_OURS], timings[_TUNED]
    worked, they_worked = (_spent(candidate) + median(candidate.servers) for candidate in (ours, theirs))
    busy = worked / _CORES / median(ours.seconds)
    return (
        f"SHA-256 and CRC64 of each byte take {_hashing(size):.1f} of our {_spent(ours):.1f} s of processor time; "
        f"rclone computes none and takes {_spent(theirs):.1f} s in all; with the servers it is {worked:.1f} s for ours "
        f"and {they_worked:.1f} s for rclone, and {_CORES} cores are busy for {busy:.0%} of our time"
    )


def _hashing(size: int) -> float:
    """Return the processor time of a copy's checksums: SHA-256 of the file, and a CRC64 of each block."""
    block, blocks = bytes(4 * _MIB), 16
    began = process_time()
    for _ in range(blocks):
        hashlib.sha256(block, usedforsecurity=False)
        crc64(block)
    return (process_time() - began) * size / len(block) / blocks


def _spent(timing: Timing) -> float:
    """Return the processor time of a candidate, or of its program if it runs one."""
    return timing.outcome.cpu if isinstance(timing.outcome, Run) else min(timing.cpu)


def _to_azurite(
    protocol: Protocol, files: tuple[int, int, int], prototype: str, goals: Mapping[str, float], name: str, task: str
) -> Benchmark:
    options = {_TUNED: rclone.TUNED, _DEFAULT: rclone.DEFAULT}
    peers = {peer: options[peer] for peer in goals}
    made = benchmark(
        name,
        task=task,
        against="rclone",
        prototype=prototype,
        goals={peer: Goal(at_least=goal) for peer, goal in goals.items()},
    )
    return made(partial(_into_azurite, protocol=protocol, files=files, peers=peers))


def _to_null_service(protocol: Protocol, prototype: str) -> Benchmark:
    made = benchmark(
        f"sink-{protocol.lower()}",
        task=f"{protocol}, 256 MiB → a service that stores nothing (the client's own limit)",
        against="rclone, tuned",
        prototype=prototype,
        goals={_TUNED: Goal(at_least=0.9)},
    )
    return made(partial(_into_null_service, protocol=protocol))


@benchmark(
    "copy-memory",
    task="peak memory of a copy by SFTP",
    against="rclone, tuned; and the same copy at 16 times the size",
    prototype="114–139 vs 194–405 MB",
    goals={"share": Goal(at_most=0.6), "growth": Goal(at_most=10)},
    why="half of it is Python with paramiko and the SDK, before the first byte arrives",
)
def _memory(bench: Bench) -> Measured:
    """Compare the memory of a copy with rclone's; then, into the null service, with a file of 16 times the size."""
    beside = _into_azurite(bench, "SFTP", _SINGLE, {_TUNED: rclone.TUNED}, rounds=1)
    ours, theirs = max(beside.timings[_OURS].peak), cast("Run", beside.timings[_TUNED].outcome).peak
    large = bench.folder / "large"
    large.mkdir()
    usual = bench.size(*_SINGLE[1:])
    for folder, size in ((large / "1", usual), (large / "16", 16 * usual)):
        folder.mkdir()
        with (folder / "a.zip").open("wb") as file:
            file.seek(size - len(_END_OF_ZIP))
            file.write(_END_OF_ZIP)
    with null_service() as (port, _), sftp_server(bench.folder / "large-server", large) as server:
        storage = development_connection({"Blob": port, "Queue": port, "Table": port})
        endpoints = {name: replace(server.endpoint(), folder=f"{server.folder}/{name}") for name in ("1", "16")}
        timings = bench.compare(
            {name: Candidate(copiers.copies, (storage, at, int(name) * usual)) for name, at in endpoints.items()},
            rounds=1,
        )
    grown = max(timings["16"].peak) - max(timings["1"].peak)
    figures = {"share": Figure.of([ours / theirs]), "growth": Figure.of([max(grown, 0) / 1e6], "MB")}
    return Measured(figures, beside.timings, [f"ours {ours / 1e6:.0f} MB, rclone {theirs / 1e6:.0f} MB"])


BENCHMARKS: tuple[Benchmark, ...] = (
    _to_azurite(
        "SFTP", _SINGLE, "0.97–1.15 / 1.4–2.3", {_TUNED: 1.1, _DEFAULT: 2.0}, "sftp", "SFTP, 256 MiB → Azurite"
    ),
    _to_azurite("FTP", _SINGLE, "0.97–1.15", {_TUNED: 1.15}, "ftp", "FTP, 256 MiB → Azurite"),
    _to_azurite("FTPS", _SINGLE, "1.0", {_TUNED: 1.1}, "ftps", "FTPS, 256 MiB → Azurite"),
    _to_azurite("SFTP", _MANY, "1.0–1.1", {_TUNED: 1.1}, "sftp-many", "SFTP, 20 × 32 MiB, 4 connections → Azurite"),
    _to_azurite("FTP", _MANY, "1.0–1.1", {_TUNED: 1.1}, "ftp-many", "FTP, 20 × 32 MiB, 4 connections → Azurite"),
    _to_null_service("SFTP", "293 vs 339 MB/s"),
    _to_null_service("FTP", "725 vs 896 MB/s"),
    _to_null_service("FTPS", "384 vs 396 MB/s"),
    _memory,
)
