"""Runs a batch in a thread of its own, which is abandoned if a member hangs."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from threading import Lock, Thread
from time import monotonic

from config import calls

log = logging.getLogger(f"ingestion.{__name__}")

_strays: list[Thread] = []


class SlowMemberError(Exception):
    """A member takes longer than LIMIT_SECONDS. Decoded alone it may be faster."""


class Turns:
    """When a batch's thread began its current member, and whether the thread was abandoned."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._began: float | None = None
        self._given_up = False

    def begin(self) -> None:
        """Record that a member begins. Raises SlowMemberError if the thread was abandoned."""
        self._turn(monotonic())

    def end(self) -> None:
        """Record that the last member ended. Raises SlowMemberError if the thread was abandoned."""
        self._turn(None)

    def _turn(self, began: float | None) -> None:
        with self._lock:
            if self._given_up:
                raise SlowMemberError
            self._began = began

    def left(self) -> float:
        """Return seconds until the thread may be abandoned, unless it begins another member."""
        return self._seconds if self._began is None else max(0.0, self._began + self._seconds - monotonic())

    def give_up(self) -> bool:
        """Abandon the thread if its member has used all its time, and return whether it was abandoned."""
        with self._lock:
            self._given_up = self._began is not None and monotonic() - self._began >= self._seconds
            return self._given_up


def watched[T](work: Callable[[Turns], T], seconds: float) -> T:
    """Run `work` in a thread of its own and return its result. Raises SlowMemberError if a turn takes `seconds`.

    The thread is then abandoned. If it never ends, because a library hangs, the process ends once no call runs.
    """
    turns, result = Turns(seconds), Future[T]()
    # Not a thread of a pool, because the interpreter waits for those when it ends.
    thread = Thread(target=copy_context().run, args=(_fulfil, result, work, turns), name="batch", daemon=True)
    thread.start()
    while not wait([result], turns.left()).done:
        if turns.give_up():
            _strays.append(thread)
            calls.end_process_when_idle(thread)
            raise SlowMemberError
    return result.result()


def strays_live() -> bool:
    """Return whether an abandoned thread still takes memory and time."""
    _strays[:] = [thread for thread in _strays if thread.is_alive()]
    return bool(_strays)


def _fulfil[T](result: Future[T], work: Callable[[Turns], T], turns: Turns) -> None:
    try:
        result.set_result(work(turns))
    except BaseException as exc:
        # Raised by `result.result()` in the waiting thread.
        result.set_exception(exc)
