"""Remember in a blob when a timer last ran, where Azure Functions keeps it too."""

import json
import logging
from datetime import datetime

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from local.host.timers import Status

log = logging.getLogger(__name__)

_CONTAINER = "azure-webjobs-hosts"


class BlobMonitor:
    """One timer's blob. Storage that fails is a warning: the timer runs all the same."""

    def __init__(self, service: BlobServiceClient, host: str, function: str) -> None:
        self._container = service.get_container_client(_CONTAINER)
        self._blob = self._container.get_blob_client(f"timers/{host}/Host.Functions.{function}/status")
        self._function = function

    async def load(self) -> Status | None:
        """Give what was saved last, if anything was."""
        try:
            content = await (await self._blob.download_blob()).readall()
        except ResourceNotFoundError:
            return None
        except AzureError as exc:
            log.warning("timer.status function=%s: reading when it last ran failed: %s", self._function, exc)
            return None
        return _from_json(content)

    async def save(self, status: Status) -> None:
        """Remember it over restarts."""
        try:
            await self._put(json.dumps(status.to_json()).encode())
        except AzureError as exc:
            log.warning("timer.status function=%s: saving when it last ran failed: %s", self._function, exc)

    async def _put(self, content: bytes) -> None:
        try:
            await self._blob.upload_blob(content, overwrite=True)
        except ResourceNotFoundError:
            try:
                await self._container.create_container()
            except ResourceExistsError:
                log.debug("container %s was made by somebody else meanwhile", _CONTAINER)
            await self._blob.upload_blob(content, overwrite=True)


def _from_json(content: bytes) -> Status | None:
    try:
        told = json.loads(content)
        last, due, updated = (datetime.fromisoformat(told[key]) for key in ("Last", "Next", "LastUpdated"))
    except (ValueError, KeyError, TypeError) as exc:
        log.warning("timer.status: what was saved is unreadable, and is passed over: %s", exc)
        return None
    return Status(last=None if last.year == 1 else last, next=due, updated=updated)
