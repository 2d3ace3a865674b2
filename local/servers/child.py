"""Child processes that listen on a port: started, waited for, and stopped with all that they started."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

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


class Program:
    """A server that runs in the background. It can be killed and started again: port and keys are in its files."""

    def __init__(self, command: Sequence[str | Path], port: int, log: Path) -> None:
        self._command = command
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process, which must have been started."""
        if self._process is None:
            raise ServerFailedError(f"{self._command!r} is not running: start it first")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until its port answers. Raises ServerFailedError."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        _wait_for(self._process, self._port, self._log)

    def kill(self) -> None:
        """End it and all its sessions at once, as a crash would."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()

    def cut(self) -> int:
        """End the sessions alone: every server here gives each a process of its own. Return how many there were."""
        server = psutil.Process(self.pid)
        sessions = [child for child in server.children() if not _ended(child)]
        _signal(server.children(recursive=True), signal.SIGKILL)
        while not all(map(_ended, sessions)):
            time.sleep(0.01)
        return len(sessions)

    def stop(self) -> None:
        """Ask it to end; insist after a while."""
        if self._process is None or self._process.poll() is not None:
            return
        kill_tree(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[Program]:
    """Run a program until the context ends; it answers on `port`."""
    program = Program(command, port, log)
    try:
        program.start()
        yield program
    finally:
        program.stop()


def kill_tree(pid: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process and all below it: servers give each session a process (and a Unix session) of its own."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        _signal([first, *first.children(recursive=True)], sign)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs; none if it is gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Iterable[psutil.Process], sign: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


def _ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended, although its parent has not yet asked for its status."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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
