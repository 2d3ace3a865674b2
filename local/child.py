"""A background program with its own log file, which can be killed and restarted."""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from local.servers.child import kill_tree

_LONGEST_LOG = 32 * 2**20


class Child:
    """A background program whose log file is kept over restarts."""

    def __init__(self, command: list[str], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._command = command
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether the program was started and has ended by itself."""
        process = self._process
        return process is not None and process.poll() is not None

    @property
    def pid(self) -> int | None:
        """Process ID, or None if the program was not started or was stopped."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the program unless it runs. Safe to call from several threads.

        The program gets its own session, so that Ctrl-C reaches only the parent process, which stops all in order.
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
        """Copy a log over 32 MiB to `<name>.1`, replacing the previous copy, and empty it."""
        if self.log.exists() and self.log.stat().st_size > _LONGEST_LOG:
            # The program has the file open for appending, so it continues at the new end.
            shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
            os.truncate(self.log, 0)

    def kill(self) -> None:
        """Kill the program and its child processes, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            kill_tree(process.pid)
            process.wait()

    def stop(self, within: float = 8) -> None:
        """Stop the program; kill it after `within` seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
