"""What the smoke test puts into storage, what becomes of it there, and its removal; all under a source of its own."""

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
"""Seconds for which a smoke test that died holds off the next one."""
_GONE = ("MessageNotFound", "PopReceiptMismatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an archive has come."""

    arrived: bool = False
    """Its event has been heard."""
    pipeline: str | None = None
    """Whose plan it has."""
    state: State = State.SEEN
    reason: str | None = None
    """Why it was refused or failed."""
    batches: Sequence[BatchState] = ()

    @property
    def started(self) -> bool:
        """Somebody has begun with one of its batches."""
        return any(batch.failures or batch.claim.kind or batch.done_at for batch in self.batches)

    @property
    def errors(self) -> Sequence[str]:
        """Why batches failed the last time, if they are not done by now."""
        undone = (batch for batch in self.batches if batch.done_at is None)
        return [f"batch {batch.batch.number}: {batch.error}" for batch in undone if batch.error]


@contextmanager
def lock(clients: Clients) -> Iterator[None]:
    """Hold off other smoke tests, and in the end clear away what this one and any earlier one left.

    Raises LeaseLostError while another one runs, and the errors of storage.
    """
    with ExitStack() as stack:
        # Last, since a lease's blob cannot be removed before the lease is released.
        stack.callback(_remove_lease, clients)
        _take_lease(clients, stack)
        stack.callback(remove_all, clients)
        yield


def upload(clients: Clients, content: bytes) -> RawArchive:
    """Put a zip there as a person would by hand: without any metadata of ours."""
    blob = smoke_blob()
    with azure_errors(f"write raw/{blob}"):
        clients.raw.upload_blob(blob, content)
    archive = RawBlobs(clients, lambda _source, _name: None).find(blob)
    if archive is None:
        raise StoreRefusedError(f"read raw/{blob}: it is gone although it was just written; who removes it?")
    return archive


def progress_of(clients: Clients, archive: RawArchive) -> Progress:
    """Look how far an archive has come, under whichever pipeline."""
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
    """Where messages about an archive are."""

    WAITING = auto()
    """At the front of the queue, and nobody took them."""
    BEHIND_OTHERS = auto()
    GIVEN_UP = auto()
    """On the poison queue."""
    TAKEN = auto()
    """Somebody has them, had them, or never put them there."""


def find_messages(clients: Clients) -> Location:
    """Find the messages of the smoke test on the queue of batches."""
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
    """Give the members that were refused, with the reasons."""
    partition = archive.key.partition(pipeline)
    rows = scan(clients.images, partition, select=["RowKey", "member", "reason"])
    return {row["member"]: row["reason"] for row in rows if row.get("reason") is not None}


class PollRequest:
    """A request to poll the source of the smoke test, of which `poll_source` knows that there is nothing to do."""

    def __init__(self, clients: Clients) -> None:
        """Put it on the queue, for ever: one that expired would look as if it had been taken."""
        self._queue = clients.poll_queue
        with azure_errors("put a message on the queue of polls"):
            self._message = self._queue.send_message(json.dumps({"source": SMOKE}), time_to_live=-1)

    def is_taken(self) -> bool:
        """Tell whether somebody took it, as far as a look at the front of the queue shows."""
        front = peek(self._queue)
        return len(front) < FRONT and all(message.id != self._message.id for message in front)

    def reset(self) -> bool:
        """Remove it; False if somebody took it: from then on the receipt of putting it there does not hold."""
        with azure_errors("take a message back from the queue of polls"):
            try:
                self._queue.delete_message(self._message)
            except HttpResponseError as exc:
                if error_code(exc) not in _GONE:
                    raise
                return False
        return True


def remove_all(clients: Clients) -> None:
    """Remove all that any smoke test has put or caused. Raw blobs first: what comes late finds nothing to do."""
    # What a person put into that folder is none of ours.
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
    # With a hierarchical namespace folders are listed like blobs, and can be removed once they are empty.
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
    """Take the lease, once that of a smoke test that died has run out."""
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
            # Another one has begun: it is its lease by now.
            if exc.status_code not in (404, 412):
                raise
