"""SourceStates: JSON blobs of the state container, each under a blob lease that is renewed while held."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from config.errors import LeaseLostError
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.layout import source_state_blob
from ingest.model import SourceState
from storage.blobs.json_blob import JSON, JsonBlob
from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")

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
        """`lease_seconds` is 15 to 60: after its holder dies, a lease lasts that long by the service's clock.

        With `renew_seconds` a third of it, two renewals may fail before the lease expires.
        """
        self._state = clients.state
        self._seconds = lease_seconds
        self._every = renew_seconds

    @contextmanager
    def hold(self, source: str) -> Iterator["HeldSourceState"]:
        """Acquire the source's lease for the length of a block. Raises LeaseLostError if another process holds it."""
        blob = self._blob(source)
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
        """Return the last saved source state, without the lease; None if the source was never polled."""
        return _load(self._blob(source), source)

    def _blob(self, source: str) -> JsonBlob[SourceState]:
        return JsonBlob(self._state, source_state_blob(source), SourceState)

    def _acquire(self, blob: JsonBlob[SourceState], source: str) -> BlobLeaseClient:
        with azure_errors(f"take the lease of source {source}"):
            try:
                return blob.blob.acquire_lease(self._seconds)
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                blob.create(SourceState(source=source))
                return self._acquire(blob, source)
            except HttpResponseError as exc:
                if error_code(exc) != "LeaseAlreadyPresent":
                    raise
                raise LeaseLostError(f"poll source {source}: another process is polling it") from exc


class HeldSourceState:
    """A source state whose lease this process holds; a SourceStateHold."""

    def __init__(self, blob: JsonBlob[SourceState], lease: BlobLeaseClient, source: str, lost: threading.Event) -> None:
        self._blob = blob
        self._lease = lease
        self._source = source
        self._lost = lost

    def load(self) -> SourceState:
        """Return the source state; an empty one if there is none yet, or if it is unreadable."""
        return _load(self._blob, self._source) or SourceState(source=self._source)

    def save(self, source_state: SourceState) -> None:
        """Write the source state. Raises LeaseLostError if the lease is lost: the caller then has to stop at once."""
        self.check()
        with azure_errors(f"write the source state of source {self._source}"):
            try:
                # The write sends the lease's id, so the service refuses it if the lease is lost.
                content = self._blob.encode(source_state)
                self._blob.blob.upload_blob(content, overwrite=True, lease=self._lease, content_settings=JSON)
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
        return LeaseLostError(f"poll source {self._source}: the lease was lost; another process may be polling it")


def _load(blob: JsonBlob[SourceState], source: str) -> SourceState | None:
    try:
        return blob.read()
    except ValueError as exc:
        # An empty state neither loses nor doubles files: blob names are deterministic, so copies that exist are found.
        log.warning(
            "source_state.unreadable source=%s error=%s; continues with an empty state", source, type(exc).__name__
        )
        return SourceState(source=source)


def _renew(lease: BlobLeaseClient, source: str, every: float, lost: threading.Event, done: threading.Event) -> None:
    """Renew the lease until done. An outage does not lose it yet: the next renewal or write finds out."""
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
    """Release the lease, so that the next poll can begin at once. If this fails, the lease expires by itself."""
    try:
        lease.release()
    except AzureError as exc:
        log.info("source_state.lease_not_released source=%s error=%s", source, type(exc).__name__)
