"""Whether anybody listens to the queues: the symptom of a trigger that looks at another account, or at none."""

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
"""For how long a message waits in vain: a host that ended is back before that."""
_LATELY = timedelta(minutes=2)
_AGAIN = 5.0
"""Seconds until the second look: whoever works off a backlog has taken something by then."""
FRONT = 32
"""Messages that one look can show."""


def queue_not_consumed(queue: str, waited: timedelta, account: str, *, worked_on: bool) -> Finding | None:
    """Judge a queue whose oldest message that nobody ever took has waited for so long.

    `worked_on`: somebody is at what the queue asks for, so that it waits its turn; a batch may take half an hour.
    """
    if worked_on or waited < _LONG:
        return None
    finding = unheard(queue, account)
    waits = f"a message has waited for {waited.total_seconds():.0f} s on the queue {queue}, and nobody is at work"
    return replace(finding, detail=f"{waits}: {finding.detail}")


def unheard(queue: str, account: str) -> Finding:
    """Say what it means that nobody takes messages."""
    function = LISTENERS[queue]
    detail = f"the trigger of {function} does not listen to the queues of {account}, or the app does not run"
    return Finding(slug=Slug.QUEUE_UNHEARD, name=function, detail=detail)


def account_of(clients: Clients) -> str:
    """Name the account whose queues are ours, for people; never a key."""
    return str(clients.queues.primary_hostname)


def check_queues(
    clients: Clients,
    names: Iterable[str],
    now: datetime,
    window: timedelta,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[Finding]:
    """Find queues to which nobody listens; `names` are the sources that are polled.

    Two requests as long as nothing waits. Raises StoreUnavailableError, StoreRefusedError.
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
    """Give the messages at the front that wait for too long.

    Those that somebody took and put back are left out: they are as old as ever, but nobody can tell since when they
    are to be had again. So are those that would expire before the second look.
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
    """Look at the messages in front that are to be had."""
    with azure_errors(f"look at the queue {queue.queue_name}"):
        return list(queue.peek_messages(FRONT))


def read_request(message: QueueMessage) -> BatchMessage | None:
    """Read what a message of the queue of batches asks for; None where it is nonsense, and asks for nothing."""
    try:
        return parse_batch_message(b64decode(message.content, validate=True))
    except (PermanentError, ValueError):
        return None


def is_polled(clients: Clients, names: Iterable[str], now: datetime) -> bool:
    """Tell whether a source is being polled, for which its lease is held, or was listed just now."""
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
    """Tell whether a batch is claimed: by a claim that its holder renews, for as long as it lives."""
    partitions = {*_unfinished_plans(clients, now - window), *_requested_plans(clients, waiting)}
    columns = ["claimed_until", "done_at"]
    return any(
        row.get("done_at") is None and (until := moment(row.get("claimed_until"))) is not None and until > now
        for partition in partitions
        for row in scan(clients.batches, partition, select=columns)
    )


def _unfinished_plans(clients: Clients, since: datetime) -> Iterator[str]:
    """Name the plans of the archives that are not at their end."""
    for source in sources(clients):
        for row in scan(clients.archives, source, end=behind_stamp(since), select=ARCHIVE_COLUMNS):
            if row.get("pipeline") is not None and state_of(row) in (State.PROCESSING, State.FAILED):
                yield _plan(row["pipeline"], raw_archive(source, row))


def _requested_plans(clients: Clients, waiting: Iterable[QueueMessage]) -> Iterator[str]:
    """Name the plans that messages are about: archives of older times are only replayed, batch after batch."""
    raw = RawBlobs(clients, lambda _source, _name: None)
    for message in waiting:
        request = read_request(message)
        archive = raw.find(request.blob) if request is not None and request.pipeline is not None else None
        if archive is not None and request is not None and request.pipeline is not None:
            yield _plan(request.pipeline, archive)


def _plan(pipeline: str, archive: RawArchive) -> str:
    return archive.key.partition(pipeline)
