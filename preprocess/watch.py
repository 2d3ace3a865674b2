"""A batch in a thread of its own, which is given up where a member hangs in it."""

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
    """A member takes longer than one may; whether alone, too, is not known."""


class Turns:
    """When the thread of a batch began with the member that it is at, and whether it was given up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._began: float | None = None
        self._given_up = False

    def begin(self) -> None:
        """Begin with a member. Raises SlowMemberError if nobody waits any more."""
        self._turn(monotonic())

    def end(self) -> None:
        """Be at no member any more. Raises SlowMemberError if nobody waits any more."""
        self._turn(None)

    def _turn(self, began: float | None) -> None:
        with self._lock:
            if self._given_up:
                raise SlowMemberError
            self._began = began

    def left(self) -> float:
        """Return seconds until the thread may be given up, if it begins with no other member."""
        return self._seconds if self._began is None else max(0.0, self._began + self._seconds - monotonic())

    def give_up(self) -> bool:
        """Give the thread up if its member has taken all its time."""
        with self._lock:
            self._given_up = self._began is not None and monotonic() - self._began >= self._seconds
            return self._given_up


def watched[T](work: Callable[[Turns], T], seconds: float) -> T:
    """Return what `work` does in a thread of its own. Raises SlowMemberError once a turn of it takes so many seconds.

    Its thread is left behind then. If it never ends, as where a library hangs, the process does, once no call runs.
    """
    turns, result = Turns(seconds), Future[T]()
    # Not one of a pool: those are waited for when the interpreter ends.
    thread = Thread(target=copy_context().run, args=(_fulfil, result, work, turns), name="batch", daemon=True)
    thread.start()
    while not wait([result], turns.left()).done:
        if turns.give_up():
            _strays.append(thread)
            calls.end_process_when_idle(thread)
            raise SlowMemberError
    return result.result()


def strays_live() -> bool:
    """Return whether a thread that was left behind still takes memory and time."""
    _strays[:] = [thread for thread in _strays if thread.is_alive()]
    return bool(_strays)


def _fulfil[T](result: Future[T], work: Callable[[Turns], T], turns: Turns) -> None:
    try:
        result.set_result(work(turns))
    except BaseException as exc:
        # It is raised where the result is waited for.
        result.set_exception(exc)
