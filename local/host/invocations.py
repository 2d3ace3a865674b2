"""Run, time and log invocations of functions, and send their outputs."""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from local.host.model import Function, Invocation, Outcome
from local.host.protos import RpcException, TypedData
from local.host.workers import Workers

log = logging.getLogger(__name__)

type Send = Callable[[Function, Outcome], Awaitable[RpcException | None]]
"""Sends a function's outputs and returns the error, or None."""


_TRACED = ("httpTrigger", "eventGridTrigger")
"""Triggers that pass a trace parent to the function; for queues and timers it is empty (measured)."""


class Invocations:
    """Invocations of all triggers."""

    def __init__(self, workers: Workers, send: Send) -> None:
        self._workers = workers
        self._send = send
        self._background: set[asyncio.Task[Outcome]] = set()

    async def run(
        self,
        function: Function,
        trigger: TypedData,
        reason: str,
        metadata: Mapping[str, TypedData] | None = None,
        details: str | None = None,
    ) -> Outcome:
        """Run a function and return its outcome; it fails if it exceeds functionTimeout."""
        invocation = Invocation(
            id=str(uuid.uuid4()),
            function=function.name,
            argument=function.trigger.name,
            trigger=trigger,
            metadata=metadata or {},
            trace_parent=_trace_parent() if function.trigger.type in _TRACED else "",
        )
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation.id)
        if details:
            log.info("Trigger Details: %s", details)
        started = time.monotonic()
        outcome = await self._workers.invoke(invocation)
        if outcome.error is None and (error := await self._send(function, outcome)) is not None:
            outcome = Outcome(error=error)
        self._log_end(function, invocation.id, outcome, time.monotonic() - started)
        return outcome

    def start(self, function: Function, trigger: TypedData, reason: str) -> None:
        """Run a function in the background."""
        task = asyncio.create_task(self.run(function, trigger, reason))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        """Wait for the runs that `start` began."""
        if self._background:
            await asyncio.wait(self._background)

    def _log_end(self, function: Function, invocation: str, outcome: Outcome, seconds: float) -> None:
        name, milliseconds = function.name, round(seconds * 1000)
        if outcome.error is None:
            log.info("Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%dms)", name, invocation, milliseconds)
        else:
            trace = outcome.error.stack_trace.strip() or outcome.error.message
            log.error(
                "Executed 'Functions.%s' (Failed, Id=%s, Duration=%dms)\n%s", name, invocation, milliseconds, trace
            )


def _trace_parent() -> str:
    """Return the W3C traceparent of a new, sampled trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
