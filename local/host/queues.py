"""Queue triggers: receive, renew, retry and delete messages with the guarantees of Azure Functions."""

import asyncio
import base64
import binascii
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host.app import QueueOptions
from local.host.clients import send
from local.host.intervals import Intervals
from local.host.model import Outcome
from local.host.protos import RpcException, TypedData
from local.host.storage import ends_host, insist, is_busy
from local.host.timers import pause
from local.host.workers import HostEndsError

log = logging.getLogger(__name__)

_SHORTEST_POLL = 0.1
_BLANKS = re.compile(r"[ \t\r\n]")
"""Characters that .NET's base64 decoder ignores."""
_TAKEN = "PopReceiptMismatch"
"""Error code if another host has received the message meanwhile."""


class Run(Protocol):
    """Invokes the function of a trigger."""

    async def __call__(self, trigger: TypedData, reason: str, metadata: dict[str, TypedData], details: str) -> Outcome:
        """Run the function and return its outcome."""


class QueueListener:
    """One queue trigger."""

    def __init__(
        self, run: Run, queue: QueueClient, poison: QueueClient | None, options: QueueOptions, intervals: Intervals
    ) -> None:
        self._run = run
        self._queue = queue
        self._poison = poison
        self._options = options
        self._lease = intervals.message_lease
        self._patience = intervals.storage_patience
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def keep(self, stopping: asyncio.Event) -> None:
        """Receive and run messages until the host is stopped, then wait for running ones. Raises HostEndsError."""
        listening = asyncio.create_task(self._listen(stopping))
        listening.add_done_callback(self._note_failure)
        await asyncio.wait([listening, self._failed], return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._failed.done():
            self._failed.result()

    async def _listen(self, stopping: asyncio.Event) -> None:
        idle = _SHORTEST_POLL
        while not stopping.is_set():
            taken = await self._take()
            for message in taken:
                task = asyncio.create_task(self._process(message))
                task.add_done_callback(self._note_failure)
                self._running.add(task)
            if taken:
                idle = _SHORTEST_POLL
                await self._make_room()
            else:
                await pause(stopping, idle * random.uniform(0.8, 1))  # noqa: S311 - jitter, not cryptography
                idle = min(idle * 2, self._options.max_polling_interval.total_seconds())
        await asyncio.gather(*self._running)

    async def _take(self) -> list[QueueMessage]:
        doing = f"poll queue {self._queue.queue_name}"
        try:
            return await insist(self._receive, doing, self._patience)
        except ResourceNotFoundError:
            # The host does not create the queue; the deployment does.
            log.warning("%s: 404, the queue does not exist", doing)
        except HttpResponseError as exc:
            if not is_busy(exc):
                raise ends_host(doing, exc) from exc
            log.warning("%s: storage answered %s", doing, exc.status_code)
        return []

    async def _receive(self) -> list[QueueMessage]:
        messages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=round(self._lease)
        )
        async for page in messages.by_page():
            return [message async for message in page]
        return []

    async def _make_room(self) -> None:
        while len(self._running) > self._options.new_batch_threshold:
            _, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """Stop the listener, and with it the host, at the first error."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # marks it as retrieved, so that asyncio does not log it if `keep` is cancelled

    async def _process(self, message: QueueMessage) -> None:
        """Run one message, then delete it, release it or move it to the poison queue. Raises HostEndsError."""
        tries = message.dequeue_count or 1
        if self._poison is not None and tries > self._options.max_dequeue_count:
            # The host that received it last died during the run.
            await self._give_up(message, f"it has reached MaxDequeueCount of {self._options.max_dequeue_count}")
            return
        try:
            content = self._decode(message.content)
        except (binascii.Error, UnicodeEncodeError):
            await self._give_up(message, "it is not base64 (host.json: messageEncoding)")
            return
        async with self._renewed(message):
            outcome = await self._invoke(message, content)
        if outcome.error is None:
            await self._change(lambda: self._queue.delete_message(message), "delete a message")
        elif self._poison is not None and tries >= self._options.max_dequeue_count:
            await self._give_up(message, f"it has reached MaxDequeueCount of {self._options.max_dequeue_count}")
        elif self._poison is not None:
            # A trigger on a poison queue does not release a failed message, which stays hidden until its lease ends.
            delay = round(self._options.visibility_timeout.total_seconds())
            await self._change(lambda: self._hide(message, delay), "release a message")

    async def _invoke(self, message: QueueMessage, content: bytes) -> Outcome:
        try:
            body = content.decode()
        except UnicodeDecodeError as exc:
            # The binding fails, so the function does not run, but the message is retried.
            return Outcome(error=RpcException(message=f"message {message.id} is not valid UTF-8: {exc}"))
        return await self._run(
            TypedData(string=body),
            f"New queue message detected on '{self._queue.queue_name}'.",
            message_metadata(message, body),
            f"MessageId: {message.id}, DequeueCount: {message.dequeue_count}, "
            f"InsertionTime: {_iso(message.inserted_on)}",
        )

    def _decode(self, content: str) -> bytes:
        if not self._options.base64:
            return content.encode()
        return base64.b64decode(_BLANKS.sub("", content).encode("ascii"), validate=True)

    async def _give_up(self, message: QueueMessage, why: str) -> None:
        poison = self._poison
        if poison is None:
            return
        log.warning("Message %s: %s. Moving message to queue '%s'.", message.id, why, poison.queue_name)
        await self._change(lambda: send(poison, message.content), "put a message into a poison queue")
        await self._change(lambda: self._queue.delete_message(message), "delete a message")

    async def _hide(self, message: QueueMessage, seconds: int) -> QueueMessage:
        """Hide a message for `seconds`. Raises HostEndsError where Azure answers 400, but Azurite does not."""
        now = datetime.now(UTC)
        if message.expires_on is not None and now < message.expires_on < now + timedelta(seconds=seconds):
            raise HostEndsError(
                f"hide a message of queue {self._queue.queue_name} for {seconds} s: storage answered 400: "
                f"it expires before that, at {message.expires_on:%H:%M:%S}"
            )
        return await self._queue.update_message(message, visibility_timeout=seconds)

    async def _change[T](self, call: Callable[[], Awaitable[T]], action: str) -> T | None:
        """Change a message. Return None if it is gone or another host has received it. Raises HostEndsError."""
        doing = f"{action} of queue {self._queue.queue_name}"
        try:
            return await insist(call, doing, self._patience)
        except ResourceNotFoundError:
            log.debug("%s: it is gone", doing)
        except HttpResponseError as exc:
            if exc.error_code != _TAKEN:  # type: ignore[attr-defined]  # the SDK adds it to each of its errors
                raise ends_host(doing, exc) from exc
            log.debug("%s: another host has it", doing)
        return None

    @asynccontextmanager
    async def _renewed(self, message: QueueMessage) -> AsyncIterator[None]:
        """Renew a message's lease during a run. An error stops the host at once, without waiting for the run."""
        task = asyncio.create_task(self._renew(message))
        task.add_done_callback(self._note_failure)
        try:
            yield
        finally:
            # `_renew` finishes a started request, because its response has the receipt that a deletion needs.
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(self._lease / 2)
            request = asyncio.ensure_future(
                self._change(lambda: self._hide(message, round(self._lease)), "renew a message")
            )
            try:
                renewed = await asyncio.shield(request)
            except asyncio.CancelledError:
                renewed = await request
                if renewed is not None:
                    message.pop_receipt = renewed.pop_receipt
                raise
            if renewed is None:
                # The lease is lost: another host runs the message, and this run continues.
                return
            message.pop_receipt = renewed.pop_receipt


def message_metadata(message: QueueMessage, body: str) -> dict[str, TypedData]:
    """Return a message's trigger metadata. Top-level members of a JSON body override it; names ignore case.

    Numbers and booleans become strings; nulls and arrays are omitted (measured).
    """
    known = {
        "QueueTrigger": TypedData(string=body),
        "Id": TypedData(string=message.id),
        "PopReceipt": TypedData(string=message.pop_receipt or ""),
        "DequeueCount": TypedData(json=json.dumps(message.dequeue_count)),
        "ExpirationTime": TypedData(json=json.dumps(_iso(message.expires_on))),
        "InsertionTime": TypedData(json=json.dumps(_iso(message.inserted_on))),
        "NextVisibleTime": TypedData(json=json.dumps(_iso(message.next_visible_on))),
    }
    names = {name.lower(): name for name in known}
    for member, value in _members(body).items():
        if value is not None and not isinstance(value, list):
            data = TypedData(json=json.dumps(value)) if isinstance(value, dict) else TypedData(string=str(value))
            known[names.setdefault(member.lower(), member)] = data
    return known


def _members(body: str) -> dict[str, object]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
