"""Watch a container and send an event for every new blob to a webhook, at least once."""

import logging
import queue
import threading
import time
from collections import deque
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContainerClient

from local.relay.container import WatchedContainer
from local.relay.delivery import Answer, Delivery, dead_letter, post
from local.relay.events import Blob, blob_created, fingerprint
from local.relay.state import Seen, StateFile
from local.relay.subscription import Pace, Subscription

log = logging.getLogger(__name__)


class Relay:
    """One subscription. One thread owns the state; each concurrent delivery has its own thread."""

    def __init__(
        self, connection: str, subscription: Subscription, *, pace: Pace | None = None, state: Path | None = None
    ) -> None:
        """Load the state. Raises ValueError for an invalid connection string, OSError or ValueError for the state."""
        # The SDK does not retry, because the next listing does.
        self._service = service = BlobServiceClient.from_connection_string(connection, retry_total=0)
        self._watched = WatchedContainer(service.get_container_client(subscription.container))
        self._dead_letters: ContainerClient | None = None
        if subscription.dead_letter_container:
            self._dead_letters = service.get_container_client(subscription.dead_letter_container)
        self._subscription = subscription
        self._pace = pace or Pace()
        self._file = StateFile(state)
        self._state = self._file.load()
        self._unsaved = False
        self._waiting = [Delivery(event) for event in self._state.pending.values()]
        self._in_flight = 0
        self._reachable = True
        self._answers: queue.SimpleQueue[tuple[Delivery, Answer] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def skip_existing(self) -> None:
        """Record the container's blobs as known, unless an earlier run has saved its state. Raises AzureError."""
        if not self._file.exists():
            for blob in filter(lambda blob: self._subscription.wants(blob.name), self._watched.list()):
                self._remember(blob, self._watched.blocks(blob))
            self._file.save(self._state)

    def start(self) -> Self:
        """Run in the background."""
        self._thread = threading.Thread(target=self.run, name="event-relay", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, and wait for the thread of `start`. Events in delivery stay pending; a later run sends them again."""
        self._stopping.set()
        self._answers.put(None)
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def run(self) -> None:
        """Watch and deliver until `stop`. Raises OSError if the state cannot be written."""
        url = urlsplit(self._subscription.to)  # the query is not logged, because it may hold a key
        log.info("relay.watching container=%s to=%s://%s%s", self._watched.name, url.scheme, url.netloc, url.path)
        with self._service:
            self._watch()

    def _watch(self) -> None:
        listings: deque[float] = deque(maxlen=4)
        while not self._stopping.is_set():
            began = time.monotonic()
            listings.append(self._discover())
            # A large container is listed less often, so that the emulator has most of its time for other clients. The
            # shortest of the last listings counts, because one listing may have waited for other requests.
            self._deliver(until=began + max(self._pace.interval, 5 * min(listings)))
        self._save()

    def _discover(self) -> float:
        """List the container and queue events for new blobs. Return the seconds that the listing took."""
        began, listing = time.monotonic(), 0.0
        try:
            listed = {blob.name: blob for blob in self._watched.list() if self._subscription.wants(blob.name)}
            listing = time.monotonic() - began
            for blob in sorted(listed.values(), key=lambda blob: blob.modified):
                self._look_at(blob)
        except AzureError as exc:
            self._note(reachable=False, why=str(exc).partition("\n")[0])
        else:
            self._note(reachable=True)
            self._unsaved |= self._state.forget_all_but(listed.keys())
        # Saved before anything is sent, so that events which are sent again after a restart keep their IDs.
        self._save()
        return listing

    def _note(self, *, reachable: bool, why: str = "") -> None:
        """Log once when the container becomes unreachable or reachable, not at every listing."""
        if reachable != self._reachable:
            self._reachable = reachable
            state = "reachable again" if reachable else f"unreachable, trying again: {why}"
            log.warning("relay.container name=%s %s", self._watched.name, state)

    def _look_at(self, blob: Blob) -> None:
        seen = self._state.seen.get(blob.name)
        if seen is not None and seen.etag == blob.etag:
            return
        blocks = self._watched.blocks(blob)
        if self._remember(blob, blocks):
            watched = self._watched
            event = blob_created(
                blob, account=watched.account, container=watched.name, url=watched.url(blob), blocks=blocks
            )
            self._state.pending[event["id"]] = event
            self._waiting.append(Delivery(event))

    def _remember(self, blob: Blob, blocks: tuple[str, ...]) -> bool:
        """Record a blob's ETag and fingerprint. Return True if its content is new."""
        before = self._state.seen.get(blob.name)
        now = Seen(blob.etag, fingerprint(blob, blocks))
        self._state.seen[blob.name] = now
        self._unsaved = True
        return before is None or before.fingerprint != now.fingerprint

    def _deliver(self, until: float) -> None:
        """Send due events and handle responses, until the next listing."""
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._send_due()
            try:
                answered = self._answers.get(timeout=left)
            except queue.Empty:
                return
            if answered is not None:
                self._in_flight -= 1
                self._settle(*answered)

    def _send_due(self) -> None:
        now = time.monotonic()
        due = [delivery for delivery in self._waiting if delivery.due <= now][: self._pace.parallel - self._in_flight]
        for delivery in due:
            self._waiting.remove(delivery)
            self._in_flight += 1
            delivery.attempts += 1
            threading.Thread(target=self._attempt, args=(delivery,), daemon=True).start()

    def _attempt(self, delivery: Delivery) -> None:
        answer = post(self._subscription.to, delivery.event, delivery.attempts, self._pace.patience.timeout)
        self._answers.put((delivery, answer))

    def _settle(self, delivery: Delivery, answer: Answer) -> None:
        name = delivery.event["subject"].partition("/blobs/")[2]
        said = f"status={answer.status or answer.detail!r} attempt={delivery.attempts} seconds={answer.seconds:.3f}"
        patience = self._pace.patience
        if answer.accepted:
            log.info("relay.delivered blob=%s %s", name, said)
            self._forget(delivery)
        elif (wait := patience.retry_after(delivery, answer)) is not None:
            log.warning("relay.retried blob=%s %s again_in=%gs", name, said, wait)
            delivery.due = time.monotonic() + wait
            self._waiting.append(delivery)
        else:
            self._give_up(delivery, answer, name, said)

    def _give_up(self, delivery: Delivery, answer: Answer, name: str, said: str) -> None:
        reason = self._pace.patience.reason(delivery, answer)
        if self._dead_letters is None:
            log.error("relay.dropped blob=%s %s reason=%s", name, said, reason)
        else:
            try:
                _put(self._dead_letters, *dead_letter(delivery, answer, reason))
            except AzureError as exc:
                log.warning("relay.unavailable dead-letter container: %s", str(exc).partition("\n")[0])
                delivery.due = time.monotonic() + 10
                self._waiting.append(delivery)
                return
            log.error("relay.dead_lettered blob=%s %s reason=%s", name, said, reason)
        self._forget(delivery)

    def _forget(self, delivery: Delivery) -> None:
        del self._state.pending[delivery.event["id"]]
        self._unsaved = True

    def _save(self) -> None:
        if self._unsaved:
            self._file.save(self._state)
            self._unsaved = False


def _put(container: ContainerClient, name: str, content: bytes) -> None:
    try:
        container.create_container()
    except ResourceExistsError:
        log.debug("container %s is there", container.container_name)
    container.upload_blob(name, content, overwrite=True)
