"""Every invocation of a function, whatever triggered it: logged, timed, its outputs sent."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from local.host.protos import RpcException, TypedData
from local.host.worker import Function, Outcome, Worker

log = logging.getLogger(__name__)

type Send = Callable[[Function, Outcome], Awaitable[RpcException | None]]
"""Sends what a function put out; gives the error if that failed."""


class Invocations:
    """What runs, and whether something ran over its time."""

    def __init__(self, worker: Worker, send: Send, timeout: timedelta | None) -> None:
        self._worker = worker
        self._send = send
        self._timeout = timeout
        self._background: set[asyncio.Task[Outcome]] = set()
        self.overran = asyncio.Event()
        """An invocation went over `functionTimeout`; its thread cannot be ended, so the process must."""

    async def run(
        self,
        function: Function,
        trigger: TypedData,
        reason: str,
        metadata: Mapping[str, TypedData] | None = None,
        details: str | None = None,
    ) -> Outcome:
        """Run a function to its end, or to the end of its time."""
        invocation = str(uuid.uuid4())
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation)
        if details:
            log.info("Trigger Details: %s", details)
        started = time.monotonic()
        outcome = await self._within_time(function, invocation, trigger, metadata or {})
        self._log_end(function, invocation, outcome, time.monotonic() - started)
        return outcome

    def start(self, function: Function, trigger: TypedData, reason: str) -> None:
        """Run a function for nobody in particular."""
        task = asyncio.create_task(self.run(function, trigger, reason))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        """Wait for what `start` started."""
        if self._background:
            await asyncio.wait(self._background)

    async def _within_time(
        self, function: Function, invocation: str, trigger: TypedData, metadata: Mapping[str, TypedData]
    ) -> Outcome:
        running = asyncio.create_task(self._worker.invoke(function, invocation, trigger, metadata))
        done, _ = await asyncio.wait({running}, timeout=self._timeout.total_seconds() if self._timeout else None)
        if not done:
            self.overran.set()
            return Outcome(error=RpcException(message=f"Timeout value of {self._timeout} exceeded (functionTimeout)"))
        outcome = running.result()
        if outcome.error is None:
            error = await self._send(function, outcome)
            return outcome if error is None else Outcome(error=error)
        return outcome

    def _log_end(self, function: Function, invocation: str, outcome: Outcome, seconds: float) -> None:
        name, milliseconds = function.name, round(seconds * 1000)
        if outcome.error is None:
            log.info("Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%dms)", name, invocation, milliseconds)
        else:
            told = outcome.error.stack_trace.strip() or outcome.error.message
            log.error(
                "Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n%s", name, invocation, milliseconds, told
            )
