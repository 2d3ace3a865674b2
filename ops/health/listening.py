"""Detects queues without a consumer: a trigger uses another account, or the app does not run."""

import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueMessage

from imagefeed.azure_errors import azure_errors
from imagefeed.entities import moment, scan
from imagefeed.errors import PermanentError
from imagefeed.layout import behind_stamp, source_state_blob
from imagefeed.ledger import ARCHIVE_COLUMNS, raw_archive, sources, state_of
from imagefeed.model import RawArchive, State
from ops.health.app_checks import LISTENERS
from ops.health.findings import Finding, Slug
from storage.blobs.raw import RawBlobs
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.queues.messages import BatchMessage, parse_batch_message

_LONG = timedelta(minutes=2)
"""Wait after which a message counts as not consumed; a host that restarts is back sooner."""
_LATELY = timedelta(minutes=2)
_AGAIN = 5.0
"""Seconds until the second peek: a consumer with a backlog has taken a message by then."""
FRONT = 32
"""Largest number of messages that one peek returns."""


def queue_not_consumed(queue: str, waited: timedelta, account: str, *, worked_on: bool) -> Finding | None:
    """Return a finding if the queue's oldest message that was never received has waited too long.

    `worked_on`: other work of this queue is running, so the message waits for it; a batch may take half an hour.
    """
    if worked_on or waited < _LONG:
        return None
    finding = unheard(queue, account)
    waits = f"a message has waited for {waited.total_seconds():.0f} s on the queue {queue}, and no call runs"
    return replace(finding, detail=f"{waits}: {finding.detail}")


def unheard(queue: str, account: str) -> Finding:
    """Return the finding for a queue whose messages are not received."""
    function = LISTENERS[queue]
    detail = f"the trigger of {function} does not listen to the queues of {account}, or the app does not run"
    return Finding(slug=Slug.QUEUE_UNHEARD, name=function, detail=detail)


def account_of(clients: Clients) -> str:
    """Return the host name of the account that holds the queues; it contains no key."""
    return str(clients.queues.primary_hostname)


def check_queues(
    clients: Clients,
    names: Iterable[str],
    now: datetime,
    window: timedelta,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[Finding]:
    """Yield queues without a consumer; `names` are the sources that are polled.

    Makes two requests if no message waits. Raises StoreUnavailableError, StoreRefusedError.
    """
    queues = (clients.poll_queue, clients.batch_queue)
    first = {queue.queue_name: _waiting(queue, now) for queue in queues}
    if not any(first.values()):
        return
    pause(_AGAIN)
    for queue in queues:
        seen = first[queue.queue_name]
        still = {message.id for message in peek(queue) if not message.dequeue_count}
        if not seen or any(message.id not in still for message in seen):
            continue
        at_work = (
            is_polled(clients, names, now) if queue is clients.poll_queue else _is_claimed(clients, seen, now, window)
        )
        waited = now - min(message.inserted_on for message in seen if message.inserted_on)
        finding = queue_not_consumed(queue.queue_name, waited, account_of(clients), worked_on=at_work)
        if finding is not None:
            yield finding


def _waiting(queue: QueueClient, now: datetime) -> list[QueueMessage]:
    """Return the messages at the front that have waited too long.

    Excludes messages that were received before, because it is unknown since when they are visible again, and messages
    that expire before the second peek.
    """
    long, until = now - _LONG, now + timedelta(seconds=2 * _AGAIN)
    return [
        message
        for message in peek(queue)
        if not message.dequeue_count
        and message.inserted_on is not None
        and message.inserted_on <= long
        and (message.expires_on is None or message.expires_on > until)
    ]


def peek(queue: QueueClient) -> list[QueueMessage]:
    """Return the visible messages at the front without receiving them."""
    with azure_errors(f"look at the queue {queue.queue_name}"):
        return list(queue.peek_messages(FRONT))


def read_request(message: QueueMessage) -> BatchMessage | None:
    """Parse a message of the batch queue; return None if it is malformed."""
    try:
        return parse_batch_message(b64decode(message.content, validate=True))
    except (PermanentError, ValueError):
        return None


def is_polled(clients: Clients, names: Iterable[str], now: datetime) -> bool:
    """Return whether any source is being polled (its lease is held) or was listed in the last two minutes."""
    source_states = BlobSourceStates(clients)
    for name in names:
        with azure_errors(f"look at the lease of source {name}"):
            try:
                blob = clients.state.get_blob_client(source_state_blob(name)).get_blob_properties()
            except ResourceNotFoundError:
                continue
        source_state = source_states.look(name)
        listed = source_state.listed_at if source_state else None
        if blob.lease.state == "leased" or (listed is not None and now - listed < _LATELY):
            return True
    return False


def _is_claimed(clients: Clients, waiting: Iterable[QueueMessage], now: datetime, window: timedelta) -> bool:
    """Return whether a batch has a current claim; a running worker renews its claim."""
    partitions = {*_unfinished_plans(clients, now - window), *_requested_plans(clients, waiting)}
    columns = ["claimed_until", "done_at"]
    return any(
        row.get("done_at") is None and (until := moment(row.get("claimed_until"))) is not None and until > now
        for partition in partitions
        for row in scan(clients.batches, partition, select=columns)
    )


def _unfinished_plans(clients: Clients, since: datetime) -> Iterator[str]:
    """Yield the plan partitions of archives that are not finished."""
    for source in sources(clients):
        for row in scan(clients.archives, source, end=behind_stamp(since), select=ARCHIVE_COLUMNS):
            if row.get("pipeline") is not None and state_of(row) in (State.PROCESSING, State.FAILED):
                yield _plan(row["pipeline"], raw_archive(source, row))


def _requested_plans(clients: Clients, waiting: Iterable[QueueMessage]) -> Iterator[str]:
    """Yield the plan partitions that messages name: older archives are only found through their replay messages."""
    raw = RawBlobs(clients, lambda _source, _name: None)
    for message in waiting:
        request = read_request(message)
        archive = raw.find(request.blob) if request is not None and request.pipeline is not None else None
        if archive is not None and request is not None and request.pipeline is not None:
            yield _plan(request.pipeline, archive)


def _plan(pipeline: str, archive: RawArchive) -> str:
    return archive.key.partition(pipeline)
