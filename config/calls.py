"""Count the function calls that run in this process, and end the process once it is idle and has a hung thread."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread

log = logging.getLogger(f"ingestion.{__name__}")

_IDLE_SECONDS = 5.0


class Calls:
    """Counter of the calls that run."""

    def __init__(self, leave: Callable[[int], object] = os._exit, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._leave = leave
        self._idle_seconds = idle_seconds
        self._changed = Condition()
        self._running = 0
        self._seen = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a call while it runs."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def end_process_when_idle(self, hung: Thread) -> None:
        """End this process once no call ran or started for a few seconds, unless the `hung` thread ends before.

        Do nothing in a process that has served no call, such as a command.
        """
        if self._seen:
            Thread(target=self._end_when_idle, args=(hung,), name="end", daemon=True).start()

    def _count(self, change: int) -> None:
        with self._changed:
            self._running += change
            self._seen += 1
            self._changed.notify_all()

    def _end_when_idle(self, hung: Thread) -> None:
        with self._changed:
            while hung.is_alive():
                before = self._seen
                idle = not self._running
                self._changed.wait(self._idle_seconds)
                if idle and before == self._seen and hung.is_alive():
                    log.error("process.ends: a thread that decodes an image hangs and cannot be stopped; no call runs")
                    logging.shutdown()
                    self._leave(1)
                    return


_CALLS = Calls()
running = _CALLS.running
end_process_when_idle = _CALLS.end_process_when_idle
