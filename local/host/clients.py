"""Clients of the storage accounts of the app's bindings."""

import logging
from collections.abc import Mapping

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient

from local.host.app import HostError, connection_string

log = logging.getLogger(__name__)


class Clients:
    """Cache of storage clients: each is opened once, and all are closed together."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._queues: dict[tuple[str, str], QueueClient] = {}
        self._blobs: BlobServiceClient | None = None

    def queue(self, connection: str, name: str) -> QueueClient:
        """Return a client for a queue of the account of the setting `connection`. Raises HostError."""
        if (connection, name) not in self._queues:
            text = connection_string(connection, self._environ)
            try:
                self._queues[connection, name] = QueueClient.from_connection_string(text, name, retry_total=0)
            except ValueError as exc:
                raise HostError(
                    f"{connection or 'AzureWebJobsStorage'} is not a valid connection string: {exc}"
                ) from exc
        return self._queues[connection, name]

    def blobs(self) -> BlobServiceClient | None:
        """Return a client of the host's own account; None if AzureWebJobsStorage is not set. Raises HostError."""
        if self._blobs is None and any(name.casefold().startswith("azurewebjobsstorage") for name in self._environ):
            try:
                self._blobs = BlobServiceClient.from_connection_string(
                    connection_string("", self._environ), retry_total=0
                )
            except ValueError as exc:
                raise HostError(f"AzureWebJobsStorage is not a valid connection string: {exc}") from exc
        return self._blobs

    async def is_reachable(self) -> bool:
        """Return True if the host's own account answers, even with an error, or is not set."""
        try:
            service = self.blobs()
            if service is not None:
                await service.get_service_properties()
        except HttpResponseError:
            return True
        except HostError as exc:
            log.error("AzureWebJobsStorage: %s", exc)  # noqa: TRY400 - the message is complete
        except AzureError:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        for queue in self._queues.values():
            await queue.close()
        if self._blobs is not None:
            await self._blobs.close()


async def create_queue(queue: QueueClient) -> None:
    """Create a queue unless it exists. Raises AzureError."""
    try:
        await queue.create_queue()
    except ResourceExistsError:
        log.debug("queue %s was created by another process meanwhile", queue.queue_name)


async def send(queue: QueueClient, content: str) -> None:
    """Send a message without encoding it, and create the queue if it does not exist. Raises AzureError."""
    try:
        await queue.send_message(content)
    except ResourceNotFoundError:
        await create_queue(queue)
        await queue.send_message(content)
