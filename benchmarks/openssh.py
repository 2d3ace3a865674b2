"""OpenSSH's `sftp` as a peer. It fetches into memory and uploads nothing, so it is an upper bound for copying."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import program
from benchmarks.model import BenchmarkError
from benchmarks.peer import Run, run

if TYPE_CHECKING:
    from local.servers.server import Server


def credentials(folder: Path, server: "Server") -> tuple[Path, Path]:
    """Write the client's key and the server's host key in OpenSSH's format. Return their paths."""
    key, known = folder / "client_key", folder / "known_hosts"
    key.touch(mode=0o600)
    key.write_text(server.private_key or "")
    known.write_text(f"[{server.host}]:{server.port} {server.host_key}\n")
    return key, known


def command(folder: Path, server: "Server") -> tuple[str, ...]:
    """Return the command that fetches the served folder, without the target."""
    key, known = credentials(folder, server)
    options = (f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes")
    return (
        *(str(program("sftp")), "-S", str(program("ssh")), "-q", "-r", "-F", "/dev/null"),
        *("-i", str(key), "-P", str(server.port)),
        *(part for option in options for part in ("-o", option)),
        f"{server.user}@{server.host}:{server.folder}",
    )


@contextmanager
def fetches(command: tuple[str, ...], target: Path, size: int) -> Iterator[Callable[[], Run]]:
    """Fetch the folder with `sftp`; a candidate."""
    yield partial(_fetch, command, target, size)


def _fetch(command: tuple[str, ...], target: Path, size: int) -> Run:
    """Fetch the folder and delete it. Raises BenchmarkError."""
    target.mkdir()
    try:
        done = run([*command, str(target)], "fetch with sftp")
        fetched = sum(file.stat().st_size for file in target.rglob("*.zip"))
    finally:
        shutil.rmtree(target, ignore_errors=True)
    if fetched != size:
        raise BenchmarkError(f"fetch {size} bytes with sftp: {fetched} came")
    return done
