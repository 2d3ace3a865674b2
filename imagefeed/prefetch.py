"""Prefetches items in a thread while the caller uses the current one."""

import os
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

_PAUSE = 0.05
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    """The marker after the last item."""


def read_ahead(items: Iterable[_Item], limit: int) -> Generator[_Item, None, None]:
    """Yield `items`, read by a thread that is at most `limit` of them ahead. An error of `items` is raised in its turn.

    Close the iterator to stop early; this ends the thread. A forked child does not inherit the thread, so there the
    iterator raises RuntimeError.
    """
    process = os.getpid()
    waiting: Queue[_Item | _Failed | _End] = Queue(maxsize=limit)
    stop = threading.Event()
    thread = threading.Thread(target=_draw, args=(items, waiting, stop), name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            if os.getpid() != process:
                raise RuntimeError("read ahead: begun before a fork, whose child has no such thread: begin again there")
            if isinstance(item := waiting.get(), _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        if os.getpid() == process:
            stop.set()
            thread.join()


def _draw(items: Iterable[_Item], waiting: "Queue[_Item | _Failed | _End]", stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(waiting, item, stop):
                return
        _put(waiting, _End(), stop)
    except BaseException as exc:
        _put(waiting, _Failed(exc), stop)


def _put(waiting: "Queue[_Item]", item: _Item, stop: threading.Event) -> bool:
    """Put an item into the queue, waiting for room. Return False if the reader has stopped."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=_PAUSE)
        except Full:
            continue
        return True
    return False
