"""Start child processes that listen on a port, wait for them, and stop them with their own children."""

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
"""Working folder, because `python -m` looks for this project's modules there."""
_START_WITHIN = 20.0
_STOP_WITHIN = 5.0


class ServerFailedError(Exception):
    """A server did not start; the message contains the end of its log."""


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A background server. It can be killed and restarted with the same port and keys, which are in its files."""

    def __init__(self, command: Sequence[str | Path], port: int, log: Path) -> None:
        self._command = command
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process ID. Raises ServerFailedError if the server was never started."""
        if self._process is None:
            raise ServerFailedError(f"{self._command!r} is not running: start it first")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until its port accepts connections. Raises ServerFailedError."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        _wait_for(self._process, self._port, self._log)

    def kill(self) -> None:
        """Kill the server and all its sessions, as a crash would."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()

    def cut(self) -> int:
        """Kill only the sessions and return their number. Every server here runs each session in its own process."""
        server = psutil.Process(self.pid)
        sessions = [child for child in server.children() if not _ended(child)]
        _signal(server.children(recursive=True), signal.SIGKILL)
        while not all(map(_ended, sessions)):
            time.sleep(0.01)
        return len(sessions)

    def stop(self) -> None:
        """Stop the server; kill it after 5 s."""
        if self._process is None or self._process.poll() is not None:
            return
        kill_tree(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[Program]:
    """Run a program that listens on `port` until the context ends. Raises ServerFailedError."""
    program = Program(command, port, log)
    try:
        program.start()
        yield program
    finally:
        program.stop()


def kill_tree(pid: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process and all its descendants, because servers run sessions in separate Unix sessions."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        _signal([first, *first.children(recursive=True)], sign)


def children(pid: int) -> list[int]:
    """Return the IDs of all descendants of a process; none if it is gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Iterable[psutil.Process], sign: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


def _ended(process: psutil.Process) -> bool:
    """Return True if a process has ended, even if its parent has not waited for it yet."""
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
