"""Deliver every event again, several times at once and late, as Event Grid may do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

from azure.core.exceptions import AzureError

from local.relay.container import WatchedContainer
from local.relay.delivery import post
from local.relay.events import Event, blob_created
from local.soak.workload import SUPPRESSED
from local.system import System
from storage.clients import Clients

_LOOK_EVERY = 1.0
_LATE = (3.0, 20.0)
_TIMEOUT = 30.0


class DuplicateEvents:
    """Watches the raw container like the relay, and posts a separate event for each blob three times."""

    def __init__(self, system: System, clients: Clients, rng: Random) -> None:
        self._to = f"{system.host_url}/runtime/webhooks/EventGrid?functionName=on_raw_archive"
        self._raw = WatchedContainer(clients.raw)
        self._rng = rng
        self._known = set[str]()
        self._due: list[tuple[float, Event]] = []
        self.delivered = 0

    def run(self, stop: threading.Event) -> None:
        """Post duplicates until `stop` is set."""
        with ThreadPoolExecutor(4, "duplicate") as pool:
            while not stop.wait(_LOOK_EVERY):
                # During an injected outage of storage the listing fails; the next one finds the same blobs.
                with suppress(AzureError):
                    self._discover()
                now = time.monotonic()
                due = [event for at, event in self._due if at <= now]
                self._due = [(at, event) for at, event in self._due if at > now]
                for event, accepted in zip(due, pool.map(self._post, due), strict=True):
                    self.delivered += accepted
                    if not accepted:
                        # The host may be down; an event that was not delivered is sent again.
                        self._due.append((now + _LOOK_EVERY, event))

    def _discover(self) -> None:
        for blob in self._raw.list():
            if blob.name not in self._known and SUPPRESSED not in blob.name:
                raw = self._raw
                event = blob_created(
                    blob, account=raw.account, container=raw.name, url=raw.url(blob), blocks=raw.blocks(blob)
                )
                self._known.add(blob.name)
                now = time.monotonic()
                self._due += [(now, event), (now, event), (now + self._rng.uniform(*_LATE), event)]

    def _post(self, event: Event) -> bool:
        return post(self._to, event, 1, _TIMEOUT).accepted
