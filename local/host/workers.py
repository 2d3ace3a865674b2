"""Start worker processes, run functions in them, and replace workers that die or exceed functionTimeout.

Measured on the real host: if a worker dies, its runs fail at once, and a new worker is ready in 0.4 s; the third death
(of each worker process) ends the host. If a run exceeds functionTimeout, its worker is replaced; other runs in that
worker get no response, and fail at their own timeouts.
"""

import asyncio
import itertools
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from local.host.channel import Channel
from local.host.model import Finished, Function, Invocation, Load, Loaded, Outcome
from local.host.protos import RpcException

log = logging.getLogger(__name__)

_HOME = Path(__file__).parents[2]
_DEATHS = 3
"""Allowed deaths of each worker process; the last one ends the host."""
_TOO_MANY = "Exceeded language worker restart retry count. Shutting down Functions Host"


class HostEndsError(Exception):
    """The host ends itself, as the real one does; the message has the reason."""


class Worker:
    """One worker process."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._pending: dict[str, asyncio.Future[Outcome]] = {}
        self._loaded: asyncio.Future[Loaded | None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())
        self.gone = asyncio.Event()
        """Set when the process has ended."""
        self.discarded = False
        """True if the host has replaced the worker: its end then counts as no death and fails no run."""

    @property
    def pid(self) -> int:
        """Process ID."""
        return self._process.pid

    async def load(self, folder: Path) -> Loaded | None:
        """Index the app in the worker. Return None if the process ended during it."""
        self._channel.send(Load(folder=folder))
        return await self._loaded

    def invoke(self, invocation: Invocation) -> asyncio.Future[Outcome]:
        """Start a function in the worker. Return a future of its outcome."""
        pending: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending[invocation.id] = pending
        if self.gone.is_set():
            self._fail_pending()
        else:
            self._channel.send(invocation)
        return pending

    def kill(self) -> None:
        """Kill the process; its runs get no outcome."""
        self.discarded = True
        self._process.kill()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._channel.receive()
            except EOFError:
                break
            if isinstance(message, Loaded):
                self._loaded.set_result(message)
            elif isinstance(message, Finished):
                pending = self._pending.pop(message.id, None)
                if pending is not None and not pending.done():
                    pending.set_result(message.outcome)
        self._channel.close()
        # The socket closes shortly before the process ends.
        while self._process.poll() is None:
            await asyncio.sleep(0.01)
        self.gone.set()
        if not self._loaded.done():
            self._loaded.set_result(None)
        if not self.discarded:
            self._fail_pending()

    def _fail_pending(self) -> None:
        error = RpcException(message=f"the worker process ended with {self._process.returncode}")
        for pending in self._pending.values():
            if not pending.done():
                pending.set_result(Outcome(error=error))
        self._pending.clear()


class Workers:
    """All worker processes of a host; FUNCTIONS_WORKER_PROCESS_COUNT sets their number."""

    def __init__(self, folder: Path, *, count: int = 1, timeout: timedelta | None, forgotten: timedelta) -> None:
        """Set up without starting workers. `timeout` is functionTimeout; `forgotten` resets the count of deaths."""
        self._folder = folder
        self._count = count
        self._timeout = timeout
        self._forgotten = forgotten
        self._workers: list[Worker] = []
        self._ready = asyncio.Event()
        self._turns = itertools.count()
        self._deaths: list[float] = []
        self._keeping: set[asyncio.Task[object]] = set()
        self._stopped = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with HostEndsError if workers have died too often, or with the error that prevents a replacement."""

    @property
    def pids(self) -> list[int]:
        """Process IDs of the running workers."""
        return [worker.pid for worker in self._workers]

    async def start(self) -> Sequence[Function]:
        """Start all workers and return the app's functions, none if it cannot be loaded. Raises HostEndsError."""
        functions: Sequence[Function] = ()
        for _ in range(self._count):
            functions = await self._add()
        return functions

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run a function and return its outcome; it fails if it exceeds functionTimeout."""
        while not self._workers:
            await self._ready.wait()
        worker = self._workers[next(self._turns) % len(self._workers)]
        pending = worker.invoke(invocation)
        done, _ = await asyncio.wait({pending}, timeout=self._timeout.total_seconds() if self._timeout else None)
        if done:
            return pending.result()
        if worker in self._workers:
            log.error("Restarting the worker: function %s ran longer than functionTimeout", invocation.function)
            self._remove(worker)
            worker.kill()
            self._keep(self._add())
        return Outcome(error=RpcException(message=f"Timeout value of {self._timeout} exceeded (functionTimeout)"))

    async def stop(self) -> None:
        """Kill all workers and wait until they have ended."""
        self._stopped = True
        for task in self._keeping:
            task.cancel()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            await worker.gone.wait()

    async def _add(self) -> Sequence[Function]:
        while True:
            worker = await _launch()
            try:
                loaded = await worker.load(self._folder)
            except asyncio.CancelledError:
                worker.kill()
                raise
            if loaded is not None:
                break
            self._count_death()
        if loaded.error is not None:
            log.error("Worker failed to load functions: %s", loaded.error)
        self._workers.append(worker)
        self._ready.set()
        self._keep(self._watch(worker))
        return loaded.functions

    async def _watch(self, worker: Worker) -> None:
        """Replace a worker when it dies. Raises HostEndsError."""
        await worker.gone.wait()
        if worker.discarded or self._stopped:
            return
        self._remove(worker)
        self._count_death()
        await self._add()

    def _remove(self, worker: Worker) -> None:
        self._workers.remove(worker)
        if not self._workers:
            self._ready.clear()

    def _count_death(self) -> None:
        """Count a death of a worker. Raises HostEndsError at the limit."""
        now = time.monotonic()
        if self._deaths and now - self._deaths[-1] > self._forgotten.total_seconds():
            self._deaths.clear()
        self._deaths.append(now)
        limit = _DEATHS * self._count
        log.error("Language Worker Process exited: death %d of %d", len(self._deaths), limit)
        if len(self._deaths) >= limit:
            log.error(_TOO_MANY)
            raise HostEndsError(_TOO_MANY)

    def _keep(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[object]) -> None:
        self._keeping.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)


async def _launch() -> Worker:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.host.worker", str(theirs.fileno())],
            cwd=_HOME, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C must reach only the host, which waits for running functions first.
        )  # fmt: skip
    reader, writer = await asyncio.open_connection(sock=ours)
    return Worker(process, Channel(reader, writer))
