"""Kill the functions host during a copy and during a batch, and restart it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.ledger import entries
from local.demo.observations import observe
from local.demo.progress import UNSEEN
from local.demo.traffic import Arrival
from local.system import System
from storage.clients import Clients

DEATHS = 2
_LOOK_EVERY = 0.02
_BLOCKS_BEFORE = 8
_WORK_BEFORE = 0.4
"""Seconds from the start of a batch until the host is killed."""


class Chaos:
    """Kills the host twice: during the copy of a large archive, and during one of its batches."""

    def __init__(self, system: System, clients: Clients, say: Callable[[str], None]) -> None:
        self._system = system
        self._clients = clients
        self._say = say
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(1, "chaos")
        self._work: Future[None] | None = None
        self.deaths: list[str] = []
        """The step that the host was working on at each kill."""

    def strike(self, arrival: Arrival) -> None:
        """Wait in the background for the archive's copy and its batch, and kill the host in each."""
        self._work = self._executor.submit(self._kill_twice, arrival)

    def end(self) -> None:
        """Stop waiting, and re-raise an error of the background work."""
        self._stop.set()
        self._executor.shutdown()
        if self._work is not None:
            self._work.result()

    def _kill_twice(self, arrival: Arrival) -> None:
        if self._wait_for(lambda: self._copying(arrival)):
            self._kill("in the middle of the large copy")
        if self._wait_for(lambda: self._preprocessing(arrival)):
            time.sleep(_WORK_BEFORE)
            self._kill("in the middle of a batch of the large archive")

    def _copying(self, arrival: Arrival) -> bool:
        """Return True if at least 8 of the archive's blocks are staged, but not committed."""
        archives = (entry.archive for entry in entries(self._clients, arrival.drop.source))
        return any(
            self._staged(archive.blob) >= _BLOCKS_BEFORE for archive in archives if archive.version == arrival.version
        )

    def _staged(self, blob: str) -> int:
        try:
            _, uncommitted = self._clients.raw.get_blob_client(blob).get_block_list("all")
        except ResourceNotFoundError:
            return 0
        return len(uncommitted)

    def _preprocessing(self, arrival: Arrival) -> bool:
        """Return True if a worker runs one of the archive's batches."""
        progress = observe(self._clients, [arrival.drop.source]).get((arrival.drop.source, arrival.version), UNSEEN)
        if progress.processing is None or progress.settled:
            return False
        rows = self._clients.batches.list_entities()
        return any(
            row["PartitionKey"].endswith(f"~{arrival.version}") and row.get("owner") and not row.get("done_at")
            for row in rows
        )

    def _wait_for(self, moment: Callable[[], bool]) -> bool:
        while not moment():
            if self._stop.wait(_LOOK_EVERY):
                return False
        return True

    def _kill(self, doing: str) -> None:
        self._system.kill_host()
        self.deaths.append(doing)
        self._say(f"the host was killed {doing}")
        self._system.start_host()
        self._say(f"the host was killed {doing}, and is back")
