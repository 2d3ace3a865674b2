"""Queue messages that request work: small, with the names of blobs and numbers of batches, never content."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.storage.queue import QueueClient

from config import telemetry
from imagefeed.azure_errors import azure_errors
from imagefeed.errors import PermanentError
from imagefeed.layout import NAME
from preprocess.model import Batch
from storage.clients import Clients

_POLL_COUNTS = timedelta(minutes=1)
"""Age after which a poll message is dropped: every tick of the timer puts a new one."""
_POLL_LIVES = 3_600
"""Seconds. The functions host ends itself where it is to hide a message for longer than the message lives: for a lease
of 10 minutes while it runs, for visibilityTimeout when it failed. A poll begins within the first minute, and takes
functionTimeout at most."""
_FOR_EVER = -1
"""Messages of batches never expire: a batch has to be processed however late it is."""
_PUT_AT = "put_at"
_MOST_PEEKED = 32
"""The most messages that the service returns for one peek."""
_BLOB = re.compile(r"[^\ud800-\udfff\0]{1,1024}")
"""Valid blob names; the service refuses requests for any other."""

# A member that is named like a message's metadata (id, dequeueCount, ...) would shadow it in the functions host.


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMessage:
    """A request to preprocess batch number `batch` of an archive, or to plan the archive if it is None."""

    blob: str
    pipeline: str | None = None
    batch: int | None = None
    traceparent: str | None = field(default=None, compare=False)
    """The sender's trace, because the functions host passes none to queue functions. None if not recorded."""


class BatchMessages:
    """The queue of batches; a BatchQueue."""

    def __init__(self, clients: Clients) -> None:
        self._queue = clients.batch_queue

    def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
        """Put a request to preprocess a batch, or to plan the archive if it is None; hidden for `after`."""
        payload: dict[str, str | int] = {"blob": blob}
        if batch is not None:
            payload |= {"pipeline": batch.pipeline, "batch": batch.number}
        _send(self._queue, payload, lives=_FOR_EVER, after=after)

    def oldest_visible(self) -> datetime | None:
        """Return when the oldest of the next 32 visible messages was put; None if none is visible."""
        with azure_errors(f"peek at the queue {self._queue.queue_name}"):
            messages = self._queue.peek_messages(_MOST_PEEKED)
        return min((message.inserted_on for message in messages if message.inserted_on is not None), default=None)

    def waiting(self) -> int:
        """Return the approximate number of messages that wait or are being processed."""
        with azure_errors(f"count the messages of the queue {self._queue.queue_name}"):
            return int(self._queue.get_queue_properties().approximate_message_count or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollMessage:
    """A request to poll a source."""

    source: str
    put_at: datetime | None = field(default=None, compare=False)
    """None if a person put the message: it is then never stale."""
    traceparent: str | None = field(default=None, compare=False)
    """The sender's trace, as in a BatchMessage."""

    def is_stale(self, now: datetime) -> bool:
        """Return True if later ticks of the timer have put newer messages."""
        return self.put_at is not None and now - self.put_at > _POLL_COUNTS


class PollMessages:
    """The queue of sources to poll."""

    def __init__(self, clients: Clients) -> None:
        self._queue = clients.poll_queue

    def put(self, source: str) -> None:
        """Put a request to poll a source."""
        _send(self._queue, {"source": source, _PUT_AT: datetime.now(UTC).isoformat()}, lives=_POLL_LIVES)


def parse_batch_message(body: bytes | str) -> BatchMessage:
    """Parse a message of the batch queue. Raises PermanentError if it is malformed."""
    payload = _members(body)
    blob, pipeline, batch = payload.get("blob"), payload.get("pipeline"), payload.get("batch")
    if not isinstance(blob, str) or not _BLOB.fullmatch(blob):
        raise PermanentError(f"read a message of the batch queue: it names no blob: {_shown(body)}")
    traceparent = _traceparent(payload)
    if pipeline is None and batch is None:
        return BatchMessage(blob=blob, traceparent=traceparent)
    if not _is_name(pipeline) or type(batch) is not int or batch < 0:
        raise PermanentError(f"read a message of the batch queue: its pipeline or batch is wrong: {_shown(body)}")
    return BatchMessage(blob=blob, pipeline=pipeline, batch=batch, traceparent=traceparent)


def parse_poll_message(body: bytes | str) -> PollMessage:
    """Parse a message of the poll queue. Raises PermanentError if it is malformed."""
    payload = _members(body)
    source = payload.get("source")
    if not _is_name(source):
        raise PermanentError(f"read a message of the poll queue: it names no source: {_shown(body)}")
    return PollMessage(source=str(source), put_at=_moment(payload.get(_PUT_AT)), traceparent=_traceparent(payload))


def _send(queue: QueueClient, payload: dict[str, str | int], lives: int, after: timedelta = timedelta()) -> None:
    """Put a message on the queue, with the trace of the current call if there is one."""
    if trace := telemetry.traceparent():
        payload[telemetry.TRACEPARENT] = trace
    with azure_errors(f"put a message on the queue {queue.queue_name}"):
        queue.send_message(json.dumps(payload), time_to_live=lives, visibility_timeout=round(after.total_seconds()))


def _members(body: bytes | str) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise PermanentError(f"read a queue message: it is not valid JSON: {_shown(body)}") from exc
    if not isinstance(payload, dict):
        raise PermanentError(f"read a queue message: it is not a JSON object: {_shown(body)}")
    return payload


def _traceparent(payload: dict[str, Any]) -> str | None:
    trace = payload.get(telemetry.TRACEPARENT)
    return trace if isinstance(trace, str) else None


def _moment(value: object) -> datetime | None:
    """Parse an ISO 8601 time with a UTC offset; None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _shown(body: bytes | str) -> str:
    return repr(body[:200])
