"""A program in the background with a log of its own, which can be killed and started again."""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from local.servers.child import kill_tree

_LONGEST_LOG = 32 * 2**20


class Child:
    """A program that runs in the background with a log of its own, over restarts."""

    def __init__(self, command: list[str], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._command = command
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether it was started and has ended by itself."""
        process = self._process
        return process is not None and process.poll() is not None

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, unless it runs: a thread may start again what another one has just started.

        It has a session of its own: Ctrl-C is for the process that started the system, which stops it in order.
        """
        with self._starting, self.log.open("ab") as out:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def trim(self) -> None:
        """Put a log that has grown too long aside, in place of the one before, and begin it anew."""
        if self.log.exists() and self.log.stat().st_size > _LONGEST_LOG:
            # It is open for appending, so the program goes on at its new end.
            shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
            os.truncate(self.log, 0)

    def kill(self) -> None:
        """End it at once with all that it started, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            kill_tree(process.pid)
            process.wait()

    def stop(self, within: float = 8) -> None:
        """Ask it to end; insist after a while."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
