"""Child processes that listen on a port: started, waited for, and stopped with all that they started."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
_PROJECT = Path(__file__).parents[2]
"""Programs of ours run as `python -m`, which looks in the working folder."""
_START_WITHIN = 20.0
_STOP_WITHIN = 5.0


class ServerFailedError(Exception):
    """A server did not start; the message shows the end of its log."""


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[int]:
    """Run a program until the context ends; gives its process id once `port` answers."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_for(child, port, log)
        yield child.pid
    finally:
        kill_tree(child.pid, signal.SIGTERM)
        try:
            child.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            kill_tree(child.pid)
            child.wait()


def kill_tree(pid: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process and all below it: sshd and vsftpd give each session a process (and session) of its own."""
    for one in (pid, *_below(pid)):
        with suppress(ProcessLookupError):
            os.kill(one, sign)


def _below(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)  # noqa: S607 - every system has ps on its path
    parents = [(int(child), int(parent)) for child, parent in map(str.split, listing.stdout.splitlines())]
    found = [pid]
    for one in found:
        found += [child for child, parent in parents if parent == one]
    return found[1:]


def _wait_for(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while child.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.02)
    why = "did not answer in time" if child.poll() is None else f"ended with status {child.returncode}"
    raise ServerFailedError(f"start {child.args!r} on port {port}: it {why}; its log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
