"""Where a process's time on the processors goes: all its threads, looked at every few milliseconds."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_PAUSE = 0.002
_TURN = 0.000_1
"""Seconds that whoever looks waits for Python's lock. By default it is 5 ms: mostly it would come when a thread lets go
of the lock to read or write, and find all of them there."""
_THREADS = Path("/proc/self/task")
_NATIVE = "threads without Python"


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count the nanoseconds of each module while the block runs; what C does counts for the module that calls it."""
    spent: Counter[str] = Counter()
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(spent, over), daemon=True)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    watcher.start()
    try:
        yield spent
    finally:
        over.set()
        watcher.join()
        sys.setswitchinterval(usual)


def _watch(spent: Counter[str], over: threading.Event) -> None:
    before, ended = _times(), False
    while not ended:
        ended = over.wait(_PAUSE)
        places, now = _places(), _times()
        for thread, time in now.items():
            if thread != threading.get_native_id():
                spent[places.get(thread, _NATIVE)] += time - before.get(thread, 0)
        before = now


def _places() -> Mapping[int, str]:
    """Tell the module that each thread is in."""
    frames = sys._current_frames()  # what profilers are told to use
    known = {thread.ident: thread.native_id for thread in threading.enumerate()}
    return {known[ident] or 0: _module(frame) for ident, frame in frames.items() if ident in known}


def _module(frame: FrameType) -> str:
    """Name a module by two parts: that of a package of others' is no news to its users."""
    return ".".join(str(frame.f_globals.get("__name__", "?")).split(".")[:2])


def _times() -> Mapping[int, int]:
    """Give the nanoseconds that each thread has had a processor."""
    run_times: dict[int, int] = {}
    for thread in _THREADS.iterdir():
        # It may be over by now.
        with suppress(OSError):
            run_times[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
    return run_times
