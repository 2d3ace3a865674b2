"""Queue triggers: the promises that Azure Functions makes about a message, kept on any storage queue."""

import asyncio
import base64
import binascii
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host.app import QueueOptions
from local.host.clients import create_queue, send
from local.host.protos import TypedData
from local.host.timers import pause
from local.host.worker import Outcome

log = logging.getLogger(__name__)

LEASE = 600.0
"""Seconds for which a message is hidden while it runs; renewed at half."""
_SHORTEST_POLL = 0.1


class Run(Protocol):
    """Invokes the function of a trigger."""

    async def __call__(self, trigger: TypedData, reason: str, metadata: dict[str, TypedData], details: str) -> Outcome:
        """Run it to its end."""


class QueueListener:
    """One queue trigger."""

    def __init__(
        self, run: Run, queue: QueueClient, poison: QueueClient | None, options: QueueOptions, lease: float = LEASE
    ) -> None:
        self._run = run
        self._queue = queue
        self._poison = poison
        self._options = options
        self._lease = lease
        self._running: set[asyncio.Task[None]] = set()
        self._reachable = True

    async def keep(self, stopping: asyncio.Event) -> None:
        """Take and run messages until the host is stopped; then wait for those that run."""
        idle = _SHORTEST_POLL
        while not stopping.is_set():
            taken = await self._take()
            self._running |= {asyncio.create_task(self._settle(message)) for message in taken}
            if taken:
                idle = _SHORTEST_POLL
                await self._make_room()
            else:
                await pause(stopping, idle * random.uniform(0.8, 1))  # noqa: S311 - spreads hosts, hides nothing
                idle = min(idle * 2, self._options.max_polling_interval.total_seconds())
        await asyncio.gather(*self._running)

    async def _take(self) -> list[QueueMessage]:
        taken: list[QueueMessage] = []
        try:
            try:
                taken = await self._receive()
            except ResourceNotFoundError:
                await create_queue(self._queue)
        except AzureError as exc:
            self._note(reachable=False, why=str(exc).partition("\n")[0])
        else:
            self._note(reachable=True)
        return taken

    def _note(self, *, reachable: bool, why: str = "") -> None:
        """Log that the queue is out of reach, or in reach again; once, not at every look."""
        if reachable != self._reachable:
            self._reachable = reachable
            state = "in reach again" if reachable else f"out of reach, looking again: {why}"
            log.warning("queue.listener name=%s %s", self._queue.queue_name, state)

    async def _receive(self) -> list[QueueMessage]:
        found = self._queue.receive_messages(
            messages_per_page=self._options.batch_size,
            visibility_timeout=round(self._lease),
            retry_total=0,  # the next look is the retry
        )
        async for page in found.by_page():
            return [message async for message in page]
        return []

    async def _make_room(self) -> None:
        while len(self._running) > self._options.new_batch_threshold:
            done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _settle(self, message: QueueMessage) -> None:
        """Run one message and decide what becomes of it."""
        try:
            await self._process(message)
        except AzureError as exc:
            log.warning(
                "queue.unsettled queue=%s message=%s: it comes again when its time is over, unless somebody else has "
                "it already: %s", self._queue.queue_name, message.id, exc
            )  # fmt: skip

    async def _process(self, message: QueueMessage) -> None:
        tries = message.dequeue_count or 1
        if self._poison is not None and tries > self._options.max_dequeue_count:
            # Whoever took it last died with it.
            await self._give_up(message, f"it has reached MaxDequeueCount of {self._options.max_dequeue_count}")
            return
        try:
            body = self._decode(message.content)
        except (binascii.Error, UnicodeError):
            await self._give_up(message, "it is not base64 (host.json: messageEncoding)")
            return
        async with self._renewed(message):
            outcome = await self._run(
                TypedData(string=body),
                f"New queue message detected on '{self._queue.queue_name}'.",
                message_metadata(message, body),
                f"MessageId: {message.id}, DequeueCount: {tries}, InsertionTime: {_iso(message.inserted_on)}",
            )
        if outcome.error is None:
            await self._queue.delete_message(message)
        elif self._poison is not None and tries >= self._options.max_dequeue_count:
            await self._give_up(message, f"it has reached MaxDequeueCount of {self._options.max_dequeue_count}")
        elif self._poison is not None:
            delay = round(self._options.visibility_timeout.total_seconds())
            await self._queue.update_message(message, visibility_timeout=delay)

    def _decode(self, content: str) -> str:
        if not self._options.base64:
            return content
        return base64.b64decode(content.encode("ascii"), validate=True).decode("utf-8", errors="replace")

    async def _give_up(self, message: QueueMessage, why: str) -> None:
        if self._poison is None:
            return
        log.warning("Message %s: %s. Moving message to queue '%s'.", message.id, why, self._poison.queue_name)
        await send(self._poison, message.content)
        await self._queue.delete_message(message)

    @asynccontextmanager
    async def _renewed(self, message: QueueMessage) -> AsyncIterator[None]:
        """Keep a message hidden from others meanwhile."""
        task = asyncio.create_task(self._renew(message))
        try:
            yield
        finally:
            # Not cancelled within a request: its answer holds the receipt that settling needs.
            task.cancel()
            await asyncio.wait({task})

    async def _renew(self, message: QueueMessage) -> None:
        wait = self._lease / 2
        while True:
            await asyncio.sleep(wait)
            request = asyncio.ensure_future(self._queue.update_message(message, visibility_timeout=round(self._lease)))
            try:
                renewed = await asyncio.shield(request)
            except asyncio.CancelledError:
                await asyncio.wait({request})
                if request.exception() is None:
                    message.pop_receipt = request.result().pop_receipt
                raise
            except AzureError as exc:
                log.warning("queue.renewal queue=%s message=%s: %s", self._queue.queue_name, message.id, exc)
                wait = self._lease / 10
            else:
                message.pop_receipt = renewed.pop_receipt
                wait = self._lease / 2


def message_metadata(message: QueueMessage, body: str) -> dict[str, TypedData]:
    """Describe a message to its function; top-level members of a JSON body lie over the facts, as in Azure."""
    facts = {
        "QueueTrigger": TypedData(string=body),
        "Id": TypedData(string=message.id),
        "PopReceipt": TypedData(string=message.pop_receipt or ""),
        "DequeueCount": TypedData(json=json.dumps(message.dequeue_count)),
        "ExpirationTime": TypedData(json=json.dumps(_iso(message.expires_on))),
        "InsertionTime": TypedData(json=json.dumps(_iso(message.inserted_on))),
        "NextVisibleTime": TypedData(json=json.dumps(_iso(message.next_visible_on))),
    }
    names = {name.lower(): name for name in facts}
    for member, value in _members(body).items():
        data = TypedData(string=value) if isinstance(value, str) else TypedData(json=json.dumps(value))
        facts[names.setdefault(member.lower(), member)] = data
    return facts


def _members(body: str) -> dict[str, object]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
