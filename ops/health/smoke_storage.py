"""Storage of the smoke test: writes, observes and removes its data, under a source of its own."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueMessage

from config.errors import LeaseLostError
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.entities import scan
from imagefeed.errors import StoreRefusedError
from imagefeed.layout import BATCH_QUEUE, POISON, SMOKE, SMOKE_BLOB, open_partition, smoke_blob, source_state_blob
from imagefeed.ledger import ARCHIVE_COLUMNS, state_of
from imagefeed.model import RawArchive, State
from imagefeed.pipelines import known_pipelines
from ops.health.listening import FRONT, peek, read_request
from preprocess.model import BatchState
from storage.blobs.raw import RawBlobs, list_blobs
from storage.blobs.raw_upload import stat_blob
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.batches import TableBatchLedger

_LEASE = 30
"""Lease in seconds; a crashed smoke test blocks the next one for this time."""
_GONE = ("MessageNotFound", "PopReceiptMismatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of an archive."""

    arrived: bool = False
    """Its event was handled."""
    pipeline: str | None = None
    """Pipeline of its plan; None without a plan."""
    state: State = State.SEEN
    reason: str | None = None
    """Reason of a refusal or failure."""
    batches: Sequence[BatchState] = ()

    @property
    def started(self) -> bool:
        """Return whether a worker has started one of its batches."""
        return any(batch.failures or batch.claim.kind or batch.done_at for batch in self.batches)

    @property
    def errors(self) -> Sequence[str]:
        """Return the last errors of unfinished batches."""
        undone = (batch for batch in self.batches if batch.done_at is None)
        return [f"batch {batch.batch.number}: {batch.error}" for batch in undone if batch.error]


@contextmanager
def lock(clients: Clients) -> Iterator[None]:
    """Hold the lease of the smoke test; at the end remove the data of this and all earlier smoke tests.

    Raises LeaseLostError if another smoke test runs, and storage errors.
    """
    with ExitStack() as stack:
        # Runs last: a blob cannot be deleted while it is leased.
        stack.callback(_remove_lease, clients)
        _take_lease(clients, stack)
        stack.callback(remove_all, clients)
        yield


def upload(clients: Clients, content: bytes) -> RawArchive:
    """Write a zip to the raw container like a manual upload: without our metadata."""
    blob = smoke_blob()
    with azure_errors(f"write raw/{blob}"):
        clients.raw.upload_blob(blob, content)
    archive = RawBlobs(clients, lambda _source, _name: None).find(blob)
    if archive is None:
        raise StoreRefusedError(
            f"read raw/{blob}: it is missing although it was just written; find out what deletes blobs there"
        )
    return archive


def progress_of(clients: Clients, archive: RawArchive) -> Progress:
    """Return the progress of an archive under any pipeline."""
    rows = [row for row in scan(clients.archives, SMOKE, select=ARCHIVE_COLUMNS) if row["version"] == archive.version]
    result = next((row for row in rows if row.get("pipeline") is not None), None)
    if result is None:
        return Progress(arrived=bool(rows))
    pipeline = result["pipeline"]
    return Progress(
        arrived=True,
        pipeline=pipeline,
        state=state_of(result),
        reason=result.get("reason"),
        batches=TableBatchLedger(clients).plan(archive, pipeline) or (),
    )


class Location(Enum):
    """Location of the messages about an archive."""

    WAITING = auto()
    """At the front of the queue, never received."""
    BEHIND_OTHERS = auto()
    GIVEN_UP = auto()
    """On the poison queue."""
    TAKEN = auto()
    """Received, deleted or never sent."""


def find_messages(clients: Clients) -> Location:
    """Return the location of the smoke test's messages by peeking at the batch and poison queues."""
    front = peek(clients.batch_queue)
    ours = [message for message in front if _is_ours(message)]
    if any(message.dequeue_count for message in ours):
        return Location.TAKEN
    if ours:
        return Location.WAITING if _is_ours(front[0]) else Location.BEHIND_OTHERS
    if len(front) == FRONT:
        return Location.BEHIND_OTHERS
    poison = clients.queues.get_queue_client(f"{BATCH_QUEUE}{POISON}")
    return Location.GIVEN_UP if any(_is_ours(message) for message in peek(poison)) else Location.TAKEN


def refusals(clients: Clients, archive: RawArchive, pipeline: str) -> dict[int, str]:
    """Return the reasons of refused members, by member number."""
    partition = archive.key.partition(pipeline)
    rows = scan(clients.images, partition, select=["RowKey", "member", "reason"])
    return {row["member"]: row["reason"] for row in rows if row.get("reason") is not None}


class PollRequest:
    """A request to poll the source of the smoke test, which `poll_source` ignores."""

    def __init__(self, clients: Clients) -> None:
        """Send the message without expiry: an expired message would look as if it had been received."""
        self._queue = clients.poll_queue
        with azure_errors("put a message on the queue of polls"):
            self._message = self._queue.send_message(json.dumps({"source": SMOKE}), time_to_live=-1)

    def is_taken(self) -> bool:
        """Return whether the message is no longer among the visible messages; False if the queue is too long."""
        front = peek(self._queue)
        return len(front) < FRONT and all(message.id != self._message.id for message in front)

    def reset(self) -> bool:
        """Delete the message; return False if it was received, which invalidates the pop receipt of sending."""
        with azure_errors("take a message back from the queue of polls"):
            try:
                self._queue.delete_message(self._message)
            except HttpResponseError as exc:
                if error_code(exc) not in _GONE:
                    raise
                return False
        return True


def remove_all(clients: Clients) -> None:
    """Remove the data of all smoke tests. Raw blobs go first, so that late events and messages find no work."""
    # Keep manual uploads in that folder.
    _remove_folder(clients.raw, SMOKE, lambda name: SMOKE_BLOB.fullmatch(name) is not None)
    _remove_rows(clients.archives, SMOKE, SMOKE)
    for pipeline in known_pipelines(clients):
        _remove_rows(clients.batches, open_partition(pipeline, SMOKE), open_partition(pipeline, SMOKE))
        for table in (clients.batches, clients.images):
            _remove_rows(table, f"{pipeline}~{SMOKE}~", f"{pipeline}~{SMOKE}~~")
        _remove_folder(clients.processed, f"{pipeline}/{SMOKE}")


def _is_ours(message: QueueMessage) -> bool:
    request = read_request(message)
    return request is not None and SMOKE_BLOB.fullmatch(request.blob) is not None


def _remove_folder(container: ContainerClient, folder: str, ours: Callable[[str], bool] = lambda _name: True) -> None:
    names = [str(blob.name) for blob in list_blobs(container, f"{folder}/")]
    removable = [name for name in names if ours(name)]
    itself = stat_blob(container, folder) if len(removable) == len(names) else None
    # With a hierarchical namespace, folders are listed like blobs and can be deleted once they are empty.
    if itself is not None and (itself.metadata or {}).get("hdi_isfolder") == "true":
        removable.append(folder)
    for name in sorted(removable, reverse=True):
        with azure_errors(f"remove {container.container_name}/{name}"), suppress(ResourceNotFoundError):
            container.delete_blob(name)


def _remove_rows(table: TableClient, first: str, last: str) -> None:
    """Remove the rows of all partitions from `first` to `last`."""
    keys = ["PartitionKey", "RowKey"]
    with azure_errors(f"remove the rows of the smoke test from the table {table.table_name}"):
        query = "PartitionKey ge @first and PartitionKey le @last"
        for row in list(table.query_entities(query, parameters={"first": first, "last": last}, select=keys)):
            table.delete_entity(row["PartitionKey"], row["RowKey"])


def _take_lease(clients: Clients, stack: ExitStack) -> None:
    """Acquire the lease; wait until the lease of a crashed smoke test has expired."""
    until = time.monotonic() + 1.5 * _LEASE
    while True:
        try:
            stack.enter_context(BlobSourceStates(clients, lease_seconds=_LEASE).hold(SMOKE))
        except LeaseLostError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return


def _remove_lease(clients: Clients) -> None:
    with azure_errors("remove the lease of the smoke test"):
        try:
            clients.state.delete_blob(source_state_blob(SMOKE))
        except HttpResponseError as exc:
            # 404, 412: another smoke test has started and holds the lease.
            if exc.status_code not in (404, 412):
                raise
