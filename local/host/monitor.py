"""A timer's blobs in the host's own account: the time of its last run, and the lease that limits it to one host."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, BlobLeaseClient, BlobServiceClient

from local.host.app import HostError
from local.host.intervals import Intervals
from local.host.storage import ends_host, insist
from local.host.timers import Status, pause

log = logging.getLogger(__name__)

_CONTAINER = "azure-webjobs-hosts"


class _Blob:
    """One of the host's blobs."""

    def __init__(self, service: BlobServiceClient, name: str, patience: float) -> None:
        self.client: BlobClient = service.get_blob_client(_CONTAINER, name)
        self._container = service.get_container_client(_CONTAINER)
        self._patience = patience

    async def ask[T](self, call: Callable[[], Awaitable[T]], doing: str) -> T:
        """Return the result of `call`. Raises HostEndsError, or the SDK's error for a missing blob or a conflict."""
        try:
            return await insist(call, doing, self._patience)
        except (ResourceNotFoundError, ResourceExistsError):
            raise
        except HttpResponseError as exc:
            if exc.status_code == HTTPStatus.CONFLICT:
                raise
            raise ends_host(doing, exc) from exc

    async def put(self, content: bytes, doing: str, *, overwrite: bool) -> None:
        """Write the blob, and create the container if it is missing. Raises HostEndsError, ResourceExistsError."""

        async def upload() -> object:
            return await self.client.upload_blob(content, overwrite=overwrite)

        try:
            await self.ask(upload, doing)
        except ResourceNotFoundError:
            try:
                await self.ask(self._container.create_container, doing)
            except ResourceExistsError:
                log.debug("container %s was created by another process meanwhile", _CONTAINER)
            await self.ask(upload, doing)


class BlobMonitor:
    """Saved status of a timer."""

    def __init__(self, service: BlobServiceClient, host: str, function: str, intervals: Intervals) -> None:
        self._blob = _Blob(service, f"timers/{host}/Host.Functions.{function}/status", intervals.storage_patience)
        self._function = function

    async def load(self) -> Status | None:
        """Return the saved status, or None. Raises HostError if it is unreadable, HostEndsError."""
        try:
            content = await self._blob.ask(self._read, f"read the status of timer {self._function}")
        except ResourceNotFoundError:
            return None
        try:
            return read_status(content)
        except (ValueError, LookupError, TypeError, OverflowError) as exc:
            raise HostError(f"the saved status of timer {self._function} is unreadable: {exc}") from exc

    async def save(self, status: Status) -> None:
        """Save the status. Raises HostEndsError."""
        content = json.dumps(status.to_json()).encode()
        await self._blob.put(content, f"save the status of timer {self._function}", overwrite=True)

    async def _read(self) -> bytes:
        return await (await self._blob.client.download_blob()).readall()


def read_status(content: bytes) -> Status:
    """Parse a status in .NET's format, where absent times have no zone.

    Raises ValueError, LookupError, TypeError or OverflowError if it is invalid.
    """
    status = json.loads(content)
    times = [datetime.fromisoformat(status[key]) for key in ("Last", "Next", "LastUpdated")]
    last, due, updated = (each.astimezone(UTC) if each.tzinfo else each.replace(tzinfo=UTC) for each in times)
    return Status(last=None if last.year == 1 else last, next=due, updated=updated)


class TimerLock:
    """Blob lease of one timer, so that only one of several hosts runs it."""

    def __init__(self, service: BlobServiceClient, host: str, function: str, intervals: Intervals) -> None:
        self._blob = _Blob(service, f"locks/{host}/Host.Functions.{function}.Listener", intervals.storage_patience)
        self._lease: BlobLeaseClient | None = None
        self._doing = f"lock timer {function}"
        self._intervals = intervals

    async def acquire(self, stopping: asyncio.Event) -> bool:
        """Wait for the lease. Return False if the host is stopped first. Raises HostEndsError."""
        while not await self._try():
            if await pause(stopping, self._intervals.timer_retry):
                return False
        return True

    async def renew(self) -> None:
        """Renew the lease until cancelled. Raises HostEndsError."""
        lease = self._lease
        while lease is not None:
            await asyncio.sleep(self._intervals.timer_lease / 2)
            try:
                await self._blob.ask(lease.renew, self._doing)
            except HttpResponseError as exc:
                raise ends_host(self._doing, exc) from exc

    async def release(self) -> None:
        """Release the lease, so that another host can take it at once. Raises HostEndsError."""
        if self._lease is not None:
            try:
                await self._blob.ask(self._lease.release, self._doing)
            except HttpResponseError as exc:
                log.debug("%s: it was lost before: %s", self._doing, exc)

    async def _try(self) -> bool:
        lease = BlobLeaseClient(self._blob.client)

        async def take() -> None:
            await lease.acquire(round(self._intervals.timer_lease))

        try:
            try:
                await self._blob.ask(take, self._doing)
            except ResourceNotFoundError:
                await self._blob.put(b"", self._doing, overwrite=False)
                await self._blob.ask(take, self._doing)
        except HttpResponseError as exc:
            log.debug("%s: another host has it: %s", self._doing, exc.status_code)
            return False
        self._lease = lease
        return True
