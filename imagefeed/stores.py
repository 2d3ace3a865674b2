"""The containers and tables that readers need, and functions that connect to them."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from azure.data.tables import TableClient, TableServiceClient
from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient, ExponentialRetry

from imagefeed.azure_errors import azure_errors
from imagefeed.connections import Connections
from imagefeed.errors import PermanentError, StoreUnavailableError
from imagefeed.layout import ARCHIVES_TABLE, BATCHES_TABLE, IMAGES_TABLE, PROCESSED_CONTAINER, STATE_CONTAINER

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

DEVELOPMENT_ACCOUNT = "devstoreaccount1"
# Published by Microsoft and the same in every emulator; no real account accepts it.
DEVELOPMENT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PIECE = 8 * 2**20
"""Bytes of one request; the SDK's default is 32 MiB."""
# Waits of about 1, 3, 5 and 9 seconds: long enough for a failover, much shorter than a function's time-out.
BACKOFF: dict[str, Any] = {"initial_backoff": 1, "increment_base": 2, "random_jitter_range": 1}
_LOOPBACK = re.compile(r"://(127\.|localhost[:/]|\[::1\])|^\s*UseDevelopmentStorage=true", re.IGNORECASE)
_ADDRESS = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)*)\.blob\.([a-z0-9.-]+)/?", re.IGNORECASE)


class Stores(Protocol):
    """The containers and tables with results and the ledger. Reading never writes to them."""

    @property
    def processed(self) -> ContainerClient:
        """Shards."""

    @property
    def state(self) -> ContainerClient:
        """The states of sources."""

    @property
    def archives(self) -> TableClient:
        """The ledger."""

    @property
    def batches(self) -> TableClient:
        """The batches of each archive."""

    @property
    def images(self) -> TableClient:
        """Rows of images and refusals."""

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStores:
    """A reader's connections, which implement Stores. Safe to share between threads."""

    blobs: BlobServiceClient
    tables: TableServiceClient
    processed: ContainerClient
    state: ContainerClient
    archives: TableClient
    batches: TableClient
    images: TableClient

    def close(self) -> None:
        """Close the connections."""
        self.blobs.close()
        self.tables.close()


def connect_stores(
    where: str,
    credential: "TokenCredential | None" = None,
    *,
    table: str | None = None,
    client_id: str | None = None,
    patient: bool = True,
) -> ReaderStores:
    """Return the stores at the blob service's address or of a connection string (see `open_reader`).

    `table` is the table service's address if it does not follow from the blob service's; `client_id` names a
    user-assigned identity. Both are used only with an address. For `patient` see `connect_retries`. Sends no request.
    Raises PermanentError if `where` is neither, and ImportError if a package is missing.
    """
    connects = connect_retries(where, patient=patient)
    of_tables = table_client_options(connects=connects)
    blob_options = {**blob_client_options(connects=connects), "max_single_get_size": PIECE, "max_chunk_get_size": PIECE}
    if not where.lower().startswith(("https:", "http:")):
        if credential is not None:
            raise PermanentError("open a reader: a connection string contains its own key; pass no credential")
        text = spelt_out(where)
        try:
            blobs = BlobServiceClient.from_connection_string(text, **blob_options)
            tables = TableServiceClient.from_connection_string(text, **of_tables)
        except ValueError:
            # `from None`, because the SDK's message may repeat the text, which contains the key.
            raise PermanentError("open a reader: invalid connection string; copy it from the account") from None
    else:
        table = table or table_address(where)
        identity = credential or default_identity(client_id)
        blobs = BlobServiceClient(where, credential=identity, **blob_options)
        tables = TableServiceClient(table, credential=identity, **of_tables)
    return ReaderStores(
        blobs=blobs,
        tables=tables,
        processed=blobs.get_container_client(PROCESSED_CONTAINER),
        state=blobs.get_container_client(STATE_CONTAINER),
        archives=tables.get_table_client(ARCHIVES_TABLE),
        batches=tables.get_table_client(BATCHES_TABLE),
        images=tables.get_table_client(IMAGES_TABLE),
    )


def is_loopback(where: str) -> bool:
    """Return whether an address or a connection string refers to this machine."""
    return _LOOPBACK.search(where) is not None


def is_emulator(client: BlobClient | ContainerClient) -> bool:
    """Return whether a client's blob service is an emulator, on this machine or behind TLS."""
    return client.account_name == DEVELOPMENT_ACCOUNT or is_loopback(client.url)


def connect_retries(where: str, *, patient: bool) -> int:
    """Return the number of retries of a failed connection: 0 on this machine unless `patient`, else 3.

    An emulator that does not listen has not been started, so retrying only makes a person wait.
    """
    return 3 if patient or not is_loopback(where) else 0


def blob_client_options(retries: int = 4, read_timeout: float = 60, connects: int = 3) -> dict[str, Any]:
    """Return the retry and transport options of a client of the blob service; `read_timeout` is in seconds."""
    retry = ExponentialRetry(retry_total=retries, retry_connect=connects, **BACKOFF)
    return {"retry_policy": retry, "transport": Connections(connection_timeout=10, read_timeout=read_timeout)}


def table_client_options(retries: int = 4, read_timeout: float = 60, connects: int = 3) -> dict[str, Any]:
    """Return the same options for the table service."""
    return {
        "retry_total": retries,
        "retry_connect": connects,
        "retry_backoff_factor": 0.5,
        "retry_backoff_max": 8,
        # Large pieces for answers with many rows; the SDK's default is 4 KiB.
        "transport": Connections(connection_timeout=10, read_timeout=read_timeout, connection_data_block_size=2**20),
    }


def table_address(blob: str) -> str:
    """Return an account's table address for its blob address, in any cloud. Raises PermanentError if none follows."""
    match = _ADDRESS.fullmatch(blob)
    if match is None:
        # The message names only the host, because the rest may contain a key or a signature.
        raise PermanentError(
            f"open a reader at {urlsplit(blob).hostname}: give https://ACCOUNT.blob.core.windows.net (or as your cloud "
            "ends), without a path or signature, or a connection string with BlobEndpoint and TableEndpoint"
        )
    return f"https://{match[1]}.table.{match[2]}"


def default_identity(client_id: str | None = None) -> "TokenCredential":
    """Return the user-assigned identity `client_id`, or without one a DefaultAzureCredential.

    Raises ImportError if azure-identity is missing.
    """
    # Imported here, because it takes half a second and a connection string does not need it.
    try:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
    except ModuleNotFoundError as exc:
        raise ImportError(
            "open a reader: azure-identity, which finds an identity, is missing: "
            "`pip install 'imagefeed[identity]'`, or give a credential"
        ) from exc
    if client_id:
        return ManagedIdentityCredential(client_id=client_id, transport=Connections())
    return DefaultAzureCredential(transport=Connections())


def spelt_out(connection: str) -> str:
    """Return a connection string with the emulator's short form expanded, which the Python SDKs do not know."""
    if connection.strip().rstrip(";").lower() != "usedevelopmentstorage=true":
        return connection
    return development_connection({"Blob": 10_000, "Queue": 10_001, "Table": 10_002})


def development_connection(ports: dict[str, int]) -> str:
    """Return the connection string of an emulator that listens on these ports of 127.0.0.1."""
    addresses = (f"{name}Endpoint=http://127.0.0.1:{port}/{DEVELOPMENT_ACCOUNT}" for name, port in ports.items())
    account = ("DefaultEndpointsProtocol=http", f"AccountName={DEVELOPMENT_ACCOUNT}", f"AccountKey={DEVELOPMENT_KEY}")
    return ";".join((*account, *addresses))


def names_in(container: ContainerClient, folder: str) -> list[str]:
    """Return the names of a folder's blobs, without the folder and without `.json`."""
    doing = f"list {container.container_name}/{folder}"
    with azure_errors(doing):
        names = list(container.list_blob_names(name_starts_with=folder))
    if others := [name for name in names if not name.startswith(folder)]:
        raise StoreUnavailableError(f"{doing}: the answer names {others[0]}, which was not requested")
    return [name.removeprefix(folder).removesuffix(".json") for name in names]
