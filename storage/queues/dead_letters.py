"""Messages of the poison queues, and events in the dead-letter container; each is a DeadLetter."""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueMessage

from imagefeed.azure_errors import azure_errors, each
from imagefeed.errors import PermanentError
from imagefeed.layout import BATCH_QUEUE, POISON, POLL_QUEUE, kept_blob
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients
from storage.queues.messages import BatchMessage, BatchMessages, parse_batch_message, parse_poll_message

type ArchiveOf = Callable[[str, str, str], str | None]
"""Names the archive that an event announces, by the event's type, its subject and its API; None if it announces none.
"""

_PAGE = 32
_HIDDEN = 300
"""Seconds for which a received message is hidden from others; then it reappears unless it was removed."""


def count_dead_letters(clients: Clients) -> tuple[dict[str, int], int]:
    """Return approximate message counts by poison queue, and the number of blobs in the dead-letter container."""
    poison = {}
    for name in (POLL_QUEUE, BATCH_QUEUE):
        with azure_errors(f"count the messages of the queue {name}{POISON}"):
            about = clients.queues.get_queue_client(f"{name}{POISON}").get_queue_properties()
        poison[name] = int(about.approximate_message_count or 0)
    with azure_errors(f"list the container {clients.dead_letters.container_name}"):
        return poison, sum(1 for _ in clients.dead_letters.list_blob_names())


def poison_messages(clients: Clients) -> Iterator["PoisonMessage"]:
    """Yield the messages of the poison queues, each once."""
    for name in (POLL_QUEUE, BATCH_QUEUE):
        queue = clients.queues.get_queue_client(f"{name}{POISON}")
        messages = queue.receive_messages(messages_per_page=_PAGE, visibility_timeout=_HIDDEN)
        for message in each(messages, f"read the queue {queue.queue_name}"):
            yield PoisonMessage(clients, name, message)


def dead_letters(clients: Clients, archive_of: ArchiveOf) -> Iterator["DeadLetteredEvent"]:
    """Yield the events of the dead-letter container."""
    for blob in each(clients.dead_letters.list_blobs(), f"list the container {clients.dead_letters.container_name}"):
        with azure_errors(f"read the dead letter {blob.name}"):
            try:
                content = clients.dead_letters.download_blob(blob.name).readall()
            except ResourceNotFoundError:
                # Another process removed it after it was listed.
                continue
        yield DeadLetteredEvent(clients, str(blob.name), content, archive_of)


class PoisonMessage:
    """A message that the functions host moved to a poison queue after several failed or killed calls."""

    def __init__(self, clients: Clients, queue: str, message: QueueMessage) -> None:
        self._clients = clients
        self._target = queue
        self._queue = clients.queues.get_queue_client(f"{queue}{POISON}")
        self._message = message
        self.name = f"{self._queue.queue_name}/{message.id}"
        self.why = f"its queue message was given up at {message.inserted_on:%Y-%m-%d %H:%M:%S} UTC, after the last try"
        self.requests: Sequence[BatchMessage] = ()
        self.nonsense: str | None = None
        try:
            # Poll messages need no redrive: every tick of the timer puts new ones.
            self.requests = _requests(queue, message.content)
        except PermanentError as exc:
            self.nonsense = str(exc)

    def send_back(self) -> None:
        """Put the message back on its queue."""
        if self.requests:
            target = self._clients.queues.get_queue_client(self._target)
            with azure_errors(f"put a message back on the queue {self._target}"):
                target.send_message(self._message.content)

    def keep(self, reason: str) -> None:
        """Write a copy into the state container."""
        message, queue = self._message, self._queue.queue_name
        copy = {"reason": reason, "content": message.content, "inserted_at": f"{message.inserted_on}", "queue": queue}
        JsonBlob(self._clients.state, kept_blob(queue, str(message.id)), dict[str, str]).write(copy)

    def remove(self) -> None:
        """Delete the message from the poison queue, unless it is already deleted."""
        with azure_errors(f"delete the message {self.name}"):
            try:
                self._queue.delete_message(self._message)
            except ResourceNotFoundError:
                return


class DeadLetteredEvent:
    """A blob of events that Event Grid could not deliver."""

    def __init__(self, clients: Clients, blob: str, content: bytes, archive_of: ArchiveOf) -> None:
        self._clients = clients
        self._blob = blob
        self._content = content
        self.name = f"{clients.dead_letters.container_name}/{blob}"
        self.why = "Event Grid stopped delivering its event"
        self.requests: Sequence[BatchMessage] = ()
        self.nonsense: str | None = None
        try:
            events = _events(content)
            self.why = "; ".join(sorted({_why(event) for event in events}))
            self.requests = [BatchMessage(blob=_archive(event, archive_of)) for event in events]
        except PermanentError as exc:
            self.nonsense = str(exc)

    def send_back(self) -> None:
        """Put requests to plan the archives."""
        for request in self.requests:
            BatchMessages(self._clients).put(request.blob, None)

    def keep(self, reason: str) -> None:
        """Write a copy into the state container."""
        copy = {"reason": reason, "content": self._content.decode(errors="replace")}
        name = kept_blob(self._clients.dead_letters.container_name, self._blob)
        JsonBlob(self._clients.state, name, dict[str, str]).write(copy)

    def remove(self) -> None:
        """Delete the blob from the dead-letter container, unless it is already deleted."""
        with azure_errors(f"delete the dead letter {self._blob}"):
            try:
                self._clients.dead_letters.delete_blob(self._blob)
            except ResourceNotFoundError:
                return


def _requests(queue: str, content: str) -> Sequence[BatchMessage]:
    try:
        body = base64.b64decode(content.encode(), validate=True)
    except binascii.Error as exc:
        raise PermanentError(f"read a message of the queue {queue}{POISON}: it is not base64") from exc
    if queue == BATCH_QUEUE:
        return [parse_batch_message(body)]
    parse_poll_message(body)
    return ()


def _events(content: bytes) -> list[dict[str, Any]]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise PermanentError("read a dead letter: it is not valid JSON") from exc
    events = parsed if isinstance(parsed, list) else [parsed]
    if not events or not all(isinstance(event, dict) for event in events):
        raise PermanentError("read a dead letter: it holds no events")
    return events


def _archive(event: dict[str, Any], archive_of: ArchiveOf) -> str:
    about = event.get("data")
    api = about.get("api") if isinstance(about, dict) else None
    # A CloudEvent names this field `type`.
    blob = archive_of(str(event.get("eventType") or event.get("type")), str(event.get("subject")), str(api))
    if blob is None:
        raise PermanentError("read a dead letter: an event in it announces no archive of the raw container")
    return blob


def _why(event: dict[str, Any]) -> str:
    reason, attempts = event.get("deadLetterReason", "unknown"), event.get("deliveryAttempts", "some")
    return f"Event Grid stopped delivering its event after {attempts} attempts: {reason}"
