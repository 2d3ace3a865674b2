"""Profile the processor time of this process by module, by sampling all threads every few milliseconds."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_PAUSE = 0.002
_TURN = 0.000_1
"""Python's switch interval in seconds while sampling. With the default of 5 ms the sampler would mostly run when a
thread releases the lock for I/O, and find all threads there."""
_THREADS = Path("/proc/self/task")
_NATIVE = "threads without Python"


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count processor time in nanoseconds by module while the block runs; C code counts for its caller."""
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
    """Return the module that each thread runs, by native thread ID."""
    frames = sys._current_frames()  # documented for profilers, despite its name
    known = {thread.ident: thread.native_id for thread in threading.enumerate()}
    return {known[ident] or 0: _module(frame) for ident, frame in frames.items() if ident in known}


def _module(frame: FrameType) -> str:
    """Return the first two parts of a module's name, which is detailed enough for other packages."""
    return ".".join(str(frame.f_globals.get("__name__", "?")).split(".")[:2])


def _times() -> Mapping[int, int]:
    """Return the processor time of each thread in nanoseconds."""
    run_times: dict[int, int] = {}
    for thread in _THREADS.iterdir():
        # The thread may have ended.
        with suppress(OSError):
            run_times[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
    return run_times
