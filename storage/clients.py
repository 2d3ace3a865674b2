"""Clients for Azure Storage, built once from plain values and shared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient, TableServiceClient
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import ExponentialRetry as QueueRetry
from azure.storage.queue import QueueClient, QueueServiceClient, TextBase64EncodePolicy

from config.errors import SettingsError
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.connections import Connections
from imagefeed.layout import (
    ARCHIVES_TABLE,
    BATCH_QUEUE,
    BATCHES_TABLE,
    DEAD_LETTER_CONTAINER,
    IMAGES_TABLE,
    POISON,
    POLL_QUEUE,
    PROCESSED_CONTAINER,
    RAW_CONTAINER,
    STATE_CONTAINER,
)
from imagefeed.shards import IN_MEMORY
from imagefeed.stores import (
    BACKOFF,
    PIECE,
    blob_client_options,
    connect_retries,
    default_identity,
    spelt_out,
    table_client_options,
)
from imagefeed.stores import DEVELOPMENT_ACCOUNT as DEVELOPMENT_ACCOUNT
from imagefeed.stores import DEVELOPMENT_KEY as DEVELOPMENT_KEY
from imagefeed.stores import development_connection as development_connection

_PIECES: dict[str, Any] = {
    # Only shards are large among single-request uploads, and up to this size they are in memory anyway.
    "max_single_put_size": IN_MEMORY,
    "max_block_size": PIECE,
    "max_single_get_size": PIECE,
    "max_chunk_get_size": PIECE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Clients for every container, table and queue of the app. Safe to share between threads."""

    blobs: BlobServiceClient
    tables: TableServiceClient
    queues: QueueServiceClient
    raw: ContainerClient
    processed: ContainerClient
    state: ContainerClient
    dead_letters: ContainerClient
    archives: TableClient
    batches: TableClient
    images: TableClient
    poll_queue: QueueClient
    batch_queue: QueueClient

    def close(self) -> None:
        """Close the connections; the function app keeps them open until its process ends."""
        for service in (self.blobs, self.tables, self.queues):
            service.close()


def connect(
    connection: str | None = None,
    *,
    blob: str | None = None,
    queue: str | None = None,
    table: str | None = None,
    client_id: str | None = None,
    retries: int = 4,
    read_timeout: float = 60,
    patient: bool = True,
) -> Clients:
    """Build clients from a connection string, or from the three services' addresses and an identity.

    `patient` is passed to `connect_retries`. No request is sent. Raises SettingsError.
    """
    connects = connect_retries(connection or blob or "", patient=patient)
    of_blobs = blob_client_options(retries, read_timeout, connects) | _PIECES
    of_tables = table_client_options(retries, read_timeout, connects)
    of_queues: dict[str, Any] = {
        "retry_policy": QueueRetry(retry_total=retries, retry_connect=connects, **BACKOFF),
        "transport": Connections(connection_timeout=10, read_timeout=read_timeout),
    }
    if connection is not None:
        text = spelt_out(connection)
        try:
            return _clients(
                BlobServiceClient.from_connection_string(text, **of_blobs),
                TableServiceClient.from_connection_string(text, **of_tables),
                QueueServiceClient.from_connection_string(text, **of_queues),
            )
        except ValueError:
            # `from None`, because the SDK's message may repeat the text, which contains the key.
            raise SettingsError(
                "DATA_STORAGE is not a valid connection string: copy it from the account's access keys"
            ) from None
    if blob is None or queue is None or table is None:
        raise SettingsError("DATA_STORAGE is missing: give a connection string, or all three services' addresses")
    identity = default_identity(client_id)
    return _clients(
        BlobServiceClient(blob, credential=identity, **of_blobs),
        TableServiceClient(table, credential=identity, **of_tables),
        QueueServiceClient(queue, credential=identity, **of_queues),
    )


@contextmanager
def connected(connection: str, *, retries: int = 4, read_timeout: float = 60) -> Iterator[Clients]:
    """Open clients for the length of a block, then close them."""
    clients = connect(connection, retries=retries, read_timeout=read_timeout)
    try:
        yield clients
    finally:
        clients.close()


def prepare(clients: Clients) -> Mapping[str, Sequence[str]]:
    """Create missing containers, tables and queues, including poison queues; return the names of all."""
    containers = (clients.raw, clients.processed, clients.state, clients.dead_letters)
    for container in containers:
        with azure_errors(f"make the container {container.container_name}"), _ignore_existing():
            container.create_container()
    tables = (clients.archives, clients.batches, clients.images)
    for table in tables:
        with azure_errors(f"make the table {table.table_name}"), _ignore_existing():
            table.create_table()
    queues = [queue for name in (POLL_QUEUE, BATCH_QUEUE) for queue in (name, f"{name}{POISON}")]
    for queue in queues:
        with azure_errors(f"make the queue {queue}"), _ignore_existing():
            clients.queues.create_queue(queue)
    names = [container.container_name for container in containers]
    return {"containers": names, "tables": [table.table_name for table in tables], "queues": queues}


@contextmanager
def _ignore_existing() -> Iterator[None]:
    try:
        yield
    except ResourceExistsError as exc:
        if error_code(exc).endswith("BeingDeleted"):
            raise


def _clients(blobs: BlobServiceClient, tables: TableServiceClient, queues: QueueServiceClient) -> Clients:
    # The functions host expects base64 unless host.json says otherwise.
    encode = TextBase64EncodePolicy()
    return Clients(
        blobs=blobs,
        tables=tables,
        queues=queues,
        raw=blobs.get_container_client(RAW_CONTAINER),
        processed=blobs.get_container_client(PROCESSED_CONTAINER),
        state=blobs.get_container_client(STATE_CONTAINER),
        dead_letters=blobs.get_container_client(DEAD_LETTER_CONTAINER),
        archives=tables.get_table_client(ARCHIVES_TABLE),
        batches=tables.get_table_client(BATCHES_TABLE),
        images=tables.get_table_client(IMAGES_TABLE),
        poll_queue=queues.get_queue_client(POLL_QUEUE, message_encode_policy=encode),
        batch_queue=queues.get_queue_client(BATCH_QUEUE, message_encode_policy=encode),
    )
