"""Checks that every container, table and queue exists and can be read and written, and names missing roles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from azure.core.exceptions import AzureError, HttpResponseError
from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from imagefeed.azure_errors import error_code, translated
from imagefeed.layout import BATCH_QUEUE, POISON, POLL_QUEUE
from storage.clients import Clients

_NAME = "doctor-probe"
_HIDDEN = 30
"""Seconds for which a probe message stays invisible if it cannot be deleted."""
_ROLES = {
    "container": "Storage Blob Data Contributor",
    "table": "Storage Table Data Contributor",
    "queue": "Storage Queue Data Contributor",
}


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """Result for one container, table or queue; `problem` is the fault and its cure, None if there is no fault."""

    name: str
    detail: str
    problem: str | None = None


def probe(clients: Clients) -> Iterator[ProbeOutcome]:
    """Check every container, table and queue. Skip the rest of a service that does not answer."""
    yield from _service("container", _containers(clients))
    yield from _service("table", _tables(clients))
    yield from _service("queue", _queues(clients))


def probe_dead_letters(clients: Clients) -> Iterator[ProbeOutcome]:
    """Yield queues with poison messages and a container with dead letters; `probe` reports unreadable ones."""
    for name in (POLL_QUEUE, BATCH_QUEUE):
        count = _count(partial(_length, clients.queues.get_queue_client(f"{name}{POISON}")))
        if count:
            yield _given_up(f"queue {name}{POISON}", f"poison messages: {count}", "--poison")
    dead_letters = _count(lambda: len(list(next(clients.dead_letters.list_blobs(results_per_page=1000).by_page(), ()))))
    if dead_letters:
        name = clients.dead_letters.container_name
        yield _given_up(f"container {name}", f"undelivered events: {dead_letters}", "--dead-letters")


type _Attempt = tuple[str, Callable[[], str]]


def _service(kind: str, tries: Iterator[_Attempt]) -> Iterator[ProbeOutcome]:
    for name, attempt in tries:
        try:
            yield ProbeOutcome(f"{kind} {name}", attempt())
        except AzureError as exc:
            yield ProbeOutcome(f"{kind} {name}", "", _problem(exc, kind, name))
            if not isinstance(exc, HttpResponseError) or exc.status_code is None:
                return


def _problem(exc: AzureError, kind: str, name: str) -> str:
    """Return the fault and its cure; the service's error code distinguishes a missing role from a firewall."""
    match error_code(exc):
        case "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions":
            return f"a role is missing: give the identity {_ROLES[kind]} on the {kind} {name} or on the account"
        case "AuthorizationFailure" if "failed to authenticate" not in exc.message:
            return (
                "the account's firewall rejects this machine: allow its address, or run the doctor inside the network"
            )
        case "KeyBasedAuthenticationNotPermitted":
            return "the account accepts no keys: set DATA_STORAGE__blobServiceUri etc. instead of DATA_STORAGE"
        case "AuthenticationFailed" | "AuthorizationFailure":
            return "the key, or this machine's clock, is wrong: copy DATA_STORAGE again, or correct the clock"
    return str(translated(exc, f"try the {kind} {name}"))


def _containers(clients: Clients) -> Iterator[_Attempt]:
    yield clients.raw.container_name, partial(_probe_blobs, clients.raw)
    yield clients.processed.container_name, partial(_probe_blobs, clients.processed)
    yield clients.state.container_name, partial(_probe_writing, clients.state)
    yield clients.dead_letters.container_name, partial(_probe_listing, clients.dead_letters)


def _tables(clients: Clients) -> Iterator[_Attempt]:
    for table in (clients.archives, clients.batches, clients.images):
        yield table.table_name, partial(_probe_table, table)


def _queues(clients: Clients) -> Iterator[_Attempt]:
    for queue in (clients.poll_queue, clients.batch_queue):
        yield queue.queue_name, partial(_probe_queue, queue)
        poison = clients.queues.get_queue_client(f"{queue.queue_name}{POISON}")
        yield poison.queue_name, partial(_probe_existence, poison)


def _probe_listing(container: ContainerClient) -> str:
    next(container.list_blobs(results_per_page=1).by_page(), None)
    return "exists; can be read"


def _probe_blobs(container: ContainerClient) -> str:
    """Stage a block without committing it: no blob, no event; the service deletes it after a week."""
    _probe_listing(container)
    container.get_blob_client(_NAME).stage_block("0" * 8, b"x")
    return "exists; can be read and written"


def _probe_writing(container: ContainerClient) -> str:
    blob = container.get_blob_client(f"{_NAME}/{uuid4().hex}")
    blob.upload_blob(b"x")
    blob.download_blob().readall()
    blob.delete_blob()
    return "exists; can be read, written and deleted from"


def _probe_table(table: TableClient) -> str:
    """Delete a row that does not exist: this needs the same role as writing and changes nothing."""
    next(table.query_entities("PartitionKey eq ''", results_per_page=1).by_page(), None)
    table.delete_entity(_NAME, uuid4().hex)
    return "exists; can be read and written"


def _probe_queue(queue: QueueClient) -> str:
    length = _length(queue)
    message = queue.send_message(_NAME, visibility_timeout=_HIDDEN, time_to_live=_HIDDEN + 1)
    queue.delete_message(message)
    return f"exists; can be written; messages that wait or are being processed: {length}"


def _probe_existence(queue: QueueClient) -> str:
    _length(queue)
    return "exists"


def _length(queue: QueueClient) -> int:
    return int(queue.get_queue_properties().approximate_message_count or 0)


def _count(count: Callable[[], int]) -> int | None:
    try:
        return count()
    except AzureError:
        return None


def _given_up(name: str, detail: str, option: str) -> ProbeOutcome:
    return ProbeOutcome(name, "", f"{detail}: reconcile queues them again; to do it now: `imagefeed replay {option}`")
