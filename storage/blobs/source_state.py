"""SourceStates: JSON blobs of the state container, each under a blob lease that is renewed while held."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient, ContentSettings
from pydantic import TypeAdapter

from config.errors import LeaseLostError
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.layout import source_state_blob
from ingest.model import SourceState
from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")

_SOURCE_STATE = TypeAdapter(SourceState)
_LEASE_LOST = {
    "LeaseLost",
    "LeaseIdMissing",
    "LeaseIdMismatchWithBlobOperation",
    "LeaseIdMismatchWithLeaseOperation",
    "LeaseNotPresentWithBlobOperation",
    "LeaseNotPresentWithLeaseOperation",
    "LeaseAlreadyBroken",
    "LeaseIsBrokenAndCannotBeRenewed",
}


class BlobSourceStates:
    """SourceStates in the state container; a SourceStateStore and a SourceStateView."""

    def __init__(self, clients: Clients, lease_seconds: int = 30, renew_seconds: float = 10) -> None:
        """A lease lasts 15 to 60 seconds, by the service's clock, beyond the death of its holder.

        With renewals at a third of it, two of them may fail before it runs out.
        """
        self._state = clients.state
        self._seconds = lease_seconds
        self._every = renew_seconds

    @contextmanager
    def hold(self, source: str) -> Iterator["HeldSourceState"]:
        """Take the source's lease. Raises LeaseLostError if another process holds it."""
        blob = self._state.get_blob_client(source_state_blob(source))
        lease = self._acquire(blob, source)
        lost = threading.Event()
        done = threading.Event()
        renewer = threading.Thread(
            target=_renew, args=(lease, source, self._every, lost, done), name=f"lease-{source}", daemon=True
        )
        renewer.start()
        try:
            yield HeldSourceState(blob, lease, source, lost)
        finally:
            done.set()
            renewer.join()
            _release(lease, source)

    def look(self, source: str) -> SourceState | None:
        """The source state as it was saved last, without the lease; None if the source was never polled."""
        with azure_errors(f"look for the source state of source {source}"):
            try:
                return _load(self._state.get_blob_client(source_state_blob(source)), source)
            except ResourceNotFoundError:
                return None

    def _acquire(self, blob: BlobClient, source: str) -> BlobLeaseClient:
        with azure_errors(f"take the lease of source {source}"):
            try:
                return blob.acquire_lease(self._seconds)
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                _create_empty(blob, source)
                return self._acquire(blob, source)
            except HttpResponseError as exc:
                if error_code(exc) != "LeaseAlreadyPresent":
                    raise
                raise LeaseLostError(f"poll source {source}: another process is at it") from exc


class HeldSourceState:
    """A source state under our lease; a SourceStateHold."""

    def __init__(self, blob: BlobClient, lease: BlobLeaseClient, source: str, lost: threading.Event) -> None:
        self._blob = blob
        self._lease = lease
        self._source = source
        self._lost = lost

    def load(self) -> SourceState:
        """Read it; an empty one if there is none yet, or none that can be read."""
        with azure_errors(f"read the source state of source {self._source}"):
            return _load(self._blob, self._source)

    def save(self, source_state: SourceState) -> None:
        """Write it. Raises LeaseLostError if another process took over: then stop at once."""
        self.check()
        with azure_errors(f"write the source state of source {self._source}"):
            try:
                # The lease's id is the fence: without the lease the service refuses the write.
                self._blob.upload_blob(
                    _json(source_state), overwrite=True, lease=self._lease, content_settings=_CONTENT
                )
            except HttpResponseError as exc:
                if error_code(exc) not in _LEASE_LOST:
                    raise
                self._lost.set()
                raise self._error() from exc

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost. Costs no request."""
        if self._lost.is_set():
            raise self._error()

    def _error(self) -> LeaseLostError:
        return LeaseLostError(f"poll source {self._source}: the lease was lost, another process may be at it")


def _load(blob: BlobClient, source: str) -> SourceState:
    text = blob.download_blob().readall()
    try:
        return _SOURCE_STATE.validate_python(json.loads(text))
    except ValueError as exc:
        # Nothing is lost or doubled: names are deterministic, so what was copied is found to be there.
        log.warning("source_state.unreadable source=%s error=%s; begins anew", source, type(exc).__name__)
        return SourceState(source=source)


_CONTENT = ContentSettings(content_type="application/json")


def _json(source_state: SourceState) -> bytes:
    # Not dump_json: it fails at names that were no UTF-8, which arrive with surrogates; here they are escaped.
    return json.dumps(_SOURCE_STATE.dump_python(source_state, mode="json")).encode("ascii")


def _create_empty(blob: BlobClient, source: str) -> None:
    try:
        blob.upload_blob(_json(SourceState(source=source)), overwrite=False, content_settings=_CONTENT)
    except ResourceExistsError:
        log.debug("source_state.made_by_another source=%s", source)


def _renew(lease: BlobLeaseClient, source: str, every: float, lost: threading.Event, done: threading.Event) -> None:
    """Renew until done. An outage is no loss yet: the next renewal, or the fence, decides."""
    while not done.wait(every):
        try:
            lease.renew()
        except HttpResponseError as exc:
            if error_code(exc) in _LEASE_LOST:
                lost.set()
                return
            log.warning("source_state.lease_not_renewed source=%s error=%s", source, error_code(exc))
        except AzureError as exc:
            log.warning("source_state.lease_not_renewed source=%s error=%s", source, type(exc).__name__)


def _release(lease: BlobLeaseClient, source: str) -> None:
    """Let the next poll begin at once. Should this fail, the lease runs out by itself."""
    try:
        lease.release()
    except AzureError as exc:
        log.info("source_state.lease_not_released source=%s error=%s", source, type(exc).__name__)
