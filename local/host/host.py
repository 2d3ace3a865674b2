"""The host: one app with its listeners and its endpoints, from start to stop."""

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from local.host.app import App, HostError
from local.host.bindings import checked
from local.host.clients import Clients
from local.host.http import Endpoints
from local.host.invocations import Invocations
from local.host.monitor import BlobMonitor
from local.host.outputs import QueueOutputs
from local.host.queues import LEASE, QueueListener
from local.host.timers import HostClock, Schedule, Timer
from local.host.worker import Binding, Function, Worker

log = logging.getLogger(__name__)

type Keep = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen for this host, and cannot in Azure."""

    port: int = 7071
    grace: float = 10.0
    """Seconds that running invocations have to end once the host is stopped."""
    lease: float = LEASE


class Host:
    """Runs one app."""

    def __init__(self, app: App, environ: Mapping[str, str], options: Options) -> None:
        self._app = app
        self._environ = environ
        self._options = options
        self._clients = Clients(environ)
        self.stopping = asyncio.Event()
        self.drained = True
        """False: functions still run, and their threads would keep the process from ending by itself."""

    async def run(self) -> None:
        """Run until `stopping` is set. Raises HostError if the app cannot be run, or must not run on."""
        worker = Worker()
        try:
            functions = [checked(function, self._environ) for function in await worker.load(self._app.folder)]
            outputs = QueueOutputs(self._queue, functions, encoded=self._app.queues.base64)
            invocations = Invocations(worker, outputs.send, self._app.function_timeout)
            keepers = [keep for function in functions if (keep := self._keeper(function, invocations)) is not None]
            application = Endpoints(self._app, functions, invocations).application()
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._options.grace)
            await self._listen(runner, functions)
            await self._keep(keepers, invocations, runner)
        finally:
            await self._clients.close()

    def _keeper(self, function: Function, invocations: Invocations) -> Keep | None:
        """Make what keeps a timer or a queue going; None for what HTTP calls start, and what is switched off."""
        if function.disabled:
            log.info("Function 'Functions.%s' is disabled", function.name)
            return None
        if function.trigger.type == "timerTrigger":
            return functools.partial(self._timer(function, invocations).keep, HostClock(self.stopping))
        if function.trigger.type == "queueTrigger":
            return functools.partial(self._listener(function, invocations).keep, self.stopping)
        return None

    def _timer(self, function: Function, invocations: Invocations) -> Timer:
        options, blobs = function.trigger.options, self._clients.blobs()
        schedule = Schedule(options["schedule"])
        monitored = options.get("useMonitor", True) and not schedule.more_often_than_a_minute()
        host = re.sub(r"[^a-z0-9-]+", "-", self._app.folder.name.lower())
        return Timer(
            schedule=schedule,
            run_on_startup=bool(options.get("runOnStartup")),
            monitor=BlobMonitor(blobs, host, function.name) if monitored and blobs else None,
            run=functools.partial(invocations.run, function),
        )

    def _listener(self, function: Function, invocations: Invocations) -> QueueListener:
        queue = self._queue(function.trigger)
        connection, name = function.trigger.options.get("connection", ""), function.trigger.options["queueName"]
        return QueueListener(
            functools.partial(invocations.run, function),
            queue,
            # A poison queue has no poison queue of its own.
            None if name.endswith("-poison") else self._clients.queue(connection, f"{name}-poison"),
            self._app.queues,
            self._options.lease,
        )

    def _queue(self, binding: Binding) -> Any:
        return self._clients.queue(binding.options.get("connection", ""), binding.options["queueName"])

    async def _listen(self, runner: web.AppRunner, functions: Sequence[Function]) -> None:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._options.port)
            await site.start()
        except OSError as exc:
            raise HostError(
                f"cannot listen on port {self._options.port}: {exc.strerror or exc}; stop what has it (another host?) "
                "or choose another with --port, 0 for any that is free"
            ) from exc
        for function in functions:
            log.info("Function %s: %s", function.name, function.trigger.type)
        port = runner.addresses[0][1]
        print(f"host.listening url=http://127.0.0.1:{port}", flush=True)  # noqa: T201 - for programs, so without a time

    async def _keep(self, keepers: Sequence[Keep], invocations: Invocations, runner: web.AppRunner) -> None:
        tasks = [asyncio.create_task(keep()) for keep in keepers]
        ends = [asyncio.create_task(event.wait()) for event in (self.stopping, invocations.overran)]
        await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        self.stopping.set()
        everything = asyncio.gather(*tasks, invocations.drain(), runner.cleanup())
        try:
            async with asyncio.timeout(self._options.grace):
                await everything
        except TimeoutError:
            self.drained = False
            log.warning("host.stopped: functions still ran after %g s and are cut off", self._options.grace)
        if invocations.overran.is_set():
            self.drained = False
            raise HostError("a function ran longer than functionTimeout; its thread cannot be ended, so the host ends")
