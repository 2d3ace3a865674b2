"""Reading ahead: the next items are fetched in a thread while the present one is used."""

import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import Full, Queue

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    """Nothing comes after this."""


def read_ahead[T](items: Iterable[T], most: int) -> Generator[T]:
    """Give `items`, drawn by a thread that is at most `most` of them ahead; their error comes in its turn.

    Whoever stops early closes the iterator, and the thread ends with it.
    """
    waiting: Queue[T | _Failed | _End] = Queue(maxsize=most)
    stop = threading.Event()
    thread = threading.Thread(target=_draw, args=(items, waiting, stop), name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


def _draw[T](items: Iterable[T], waiting: "Queue[T | _Failed | _End]", stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(waiting, item, stop):
                return
        _put(waiting, _End(), stop)
    except BaseException as exc:
        _put(waiting, _Failed(exc), stop)


def _put[T](waiting: "Queue[T]", item: T, stop: threading.Event) -> bool:
    """Wait for room; False if nobody wants items any more."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=_PAUSE)
        except Full:
            continue
        return True
    return False
