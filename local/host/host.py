"""Run one app: start its workers, listeners and endpoints, and stop them in order."""

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from local.host.app import App, HostError, worker_count
from local.host.bindings import checked, queue_name
from local.host.clients import Clients
from local.host.http import Endpoints
from local.host.http_trigger import function_pattern
from local.host.intervals import Intervals
from local.host.invocations import Invocations
from local.host.model import Binding, Function
from local.host.monitor import BlobMonitor, TimerLock
from local.host.ncrontab import Schedule
from local.host.outputs import QueueOutputs
from local.host.queues import QueueListener
from local.host.timers import HostClock, Timer
from local.host.workers import Workers

log = logging.getLogger(__name__)

type Keep = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of this host that Azure does not have."""

    port: int = 7071
    intervals: Intervals = field(default_factory=Intervals)


class Host:
    """A host that runs one app."""

    def __init__(self, app: App, environ: Mapping[str, str], options: Options) -> None:
        self._app = app
        self._environ = environ
        self._port = options.port
        self._intervals = options.intervals
        self._clients = Clients(environ)
        self._id = re.sub(r"[^a-z0-9-]+", "-", app.folder.name.lower())
        self.stopping = asyncio.Event()
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Run until `stopping` is set.

        Raises HostEndsError where the real host would end itself, and HostError if the port is in use.
        """
        workers = Workers(
            self._app.folder,
            count=worker_count(self._environ),
            timeout=self._app.function_timeout,
            forgotten=self._intervals.forgotten,
        )
        starting = asyncio.create_task(self._start(workers))
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            # Storage or the loading of the app may hang; `stopping` must end the wait.
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await self._serve(workers, starting.result())
        finally:
            starting.cancel()
            await workers.stop()
            await self._clients.close()

    async def _start(self, workers: Workers) -> Sequence[Function]:
        """Wait for the host's own account, without which the real host does not listen; load the app.

        Return its functions.
        """
        while not await self._clients.is_reachable():
            log.warning("host.starting: AzureWebJobsStorage cannot be reached; trying again")
            await asyncio.sleep(1)
        if self._app.problem:
            # No listener starts, and every request is answered with 503.
            log.error("The host is in error: %s", self._app.problem)
            return []
        return [checked(each, self._environ) for each in await workers.start()]

    async def _serve(self, workers: Workers, functions: Sequence[Function]) -> None:
        outputs = QueueOutputs(self._queue, encoded=self._app.queues.base64)
        invocations = Invocations(workers, outputs.send)
        functions, keepers = self._prepare(functions, outputs, invocations)
        runner = web.AppRunner(
            Endpoints(self._app, functions, invocations).application(),
            access_log=None,
            shutdown_timeout=self._intervals.shutdown,
        )
        await self._listen(runner, functions)
        await self._keep(keepers, invocations, runner, workers)

    def _prepare(
        self, functions: Sequence[Function], outputs: QueueOutputs, invocations: Invocations
    ) -> tuple[list[Function], list[Keep]]:
        """Return the functions and the loops of timers and queues. Disable each function whose loop cannot be made."""
        prepared, keepers = [], []
        for function in functions:
            if function.problem is None and not function.disabled:
                try:
                    outputs.open(function)
                    keeper = self._keeper(function, invocations)
                except HostError as exc:
                    function = replace(function, problem=str(exc))
                else:
                    keepers += [keeper] if keeper else []
            prepared.append(function)
        return prepared, keepers

    def _keeper(self, function: Function, invocations: Invocations) -> Keep | None:
        """Return the loop of a timer or a queue; None for functions that requests start. Raises HostError."""
        if function.trigger.type == "timerTrigger":
            return self._timer(function, invocations)
        if function.trigger.type == "httpTrigger":
            function_pattern(self._app.route_prefix, function)
        if function.trigger.type == "queueTrigger":
            return functools.partial(self._listener(function, invocations).keep, self.stopping)
        return None

    def _timer(self, function: Function, invocations: Invocations) -> Keep:
        options, blobs = function.trigger.options, self._clients.blobs()
        schedule = Schedule(options["schedule"])
        monitored = options.get("useMonitor", True) and not schedule.more_often_than_a_minute()
        if monitored and blobs is None:
            raise HostError("AzureWebJobsStorage is not set, and this timer keeps its status there")
        timer = Timer(
            schedule=schedule,
            run_on_startup=bool(options.get("runOnStartup")),
            monitor=BlobMonitor(blobs, self._id, function.name, self._intervals) if monitored and blobs else None,
            run=functools.partial(invocations.run, function),
        )
        lock = TimerLock(blobs, self._id, function.name, self._intervals) if blobs else None
        return functools.partial(self._keep_timer, function.name, timer, lock)

    async def _keep_timer(self, name: str, timer: Timer, lock: TimerLock | None) -> None:
        """Run a timer while this host has the timer's lock. Raises HostEndsError."""
        if lock is not None and not await lock.acquire(self.stopping):
            return
        renewal = asyncio.create_task(lock.renew()) if lock else None
        ticking = asyncio.create_task(timer.keep(HostClock(self.stopping)))
        try:
            await asyncio.wait({ticking, renewal} if renewal else {ticking}, return_when=asyncio.FIRST_COMPLETED)
            if renewal is not None and renewal.done():
                renewal.result()
            ticking.result()
        except HostError as exc:
            log.error("The listener for function 'Functions.%s' was unable to start: %s", name, exc)  # noqa: TRY400
        finally:
            ticking.cancel()
            if renewal is not None:
                renewal.cancel()
        if lock is not None:
            await lock.release()

    def _listener(self, function: Function, invocations: Invocations) -> QueueListener:
        connection, name = function.trigger.options.get("connection", ""), queue_name(function.trigger)
        return QueueListener(
            functools.partial(invocations.run, function),
            self._clients.queue(connection, name),
            # The real host creates no poison queue for a poison queue.
            None if name.endswith("-poison") else self._clients.queue(connection, f"{name}-poison"),
            self._app.queues,
            self._intervals,
        )

    def _queue(self, binding: Binding) -> Any:
        return self._clients.queue(binding.options.get("connection", ""), queue_name(binding))

    async def _listen(self, runner: web.AppRunner, functions: Sequence[Function]) -> None:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port)
            await site.start()
        except OSError as exc:
            raise HostError(
                f"cannot listen on port {self._port}: {exc.strerror or exc}; stop the program that uses it "
                "(another host?) or choose another port with --port, 0 for a free one"
            ) from exc
        for function in functions:
            if function.problem:
                log.error(
                    "Function 'Functions.%s' failed indexing and will be disabled: %s", function.name, function.problem
                )
            else:
                log.info(
                    "Function %s: %s%s",
                    function.name,
                    function.trigger.type,
                    " (disabled)" if function.disabled else "",
                )
        if not functions:
            log.warning("No job functions found.")
        port = runner.addresses[0][1]
        print(f"host.listening url=http://127.0.0.1:{port}", flush=True)  # noqa: T201 - programs parse it: no timestamp

    async def _keep(
        self, keepers: Sequence[Keep], invocations: Invocations, runner: web.AppRunner, workers: Workers
    ) -> None:
        """Run until the host is stopped or fails, then wait for running functions. Raises HostEndsError."""
        tasks = {asyncio.create_task(keep()) for keep in keepers}
        for each in (*tasks, workers.failed):
            each.add_done_callback(self._note_end)
        await self.stopping.wait()
        tasks |= {asyncio.create_task(invocations.drain()), asyncio.create_task(runner.cleanup())}
        _, late = await asyncio.wait(tasks, timeout=self._intervals.shutdown)
        for task in late:
            task.cancel()
        if late:
            log.warning("The host did not shutdown within its allotted time; running functions are aborted")
        if self._error is not None:
            raise self._error

    def _note_end(self, ended: asyncio.Future[None]) -> None:
        """Stop the host at the first error of a listener or of the workers."""
        error = None if ended.cancelled() else ended.exception()
        if error is not None and self._error is None:
            log.error("An unhandled exception has occurred. Host is shutting down.\n%s", error)
            self._error = error
            self.stopping.set()
