"""What is taken out of storage during the soak: only `reconcile` can notice it, and have it made again."""

import threading
from collections import Counter
from collections.abc import Callable
from random import Random

from imagefeed.azure_errors import azure_errors
from imagefeed.entities import find, scan
from imagefeed.errors import StoreUnavailableError
from imagefeed.ledger import entries, sources
from imagefeed.model import State
from local.demo.observations import key_of_raw_blob
from local.demo.verification import Key
from ops.health.listening import read_request
from storage.blobs.raw import list_blobs
from storage.blobs.raw_upload import stat_blob
from storage.blobs.shard_metadata import ShardMetadata, read_shard
from storage.clients import Clients

RESULTS, MESSAGES = "results lost", "messages lost"
_GAP = (10.0, 30.0)


class DataLoss:
    """Deletes a shard, a row or a message now and then; of one archive never more than one."""

    def __init__(self, clients: Clients, rng: Random, say: Callable[[str], None], pace: float) -> None:
        """`pace` is the factor by which the time between two losses is longer than `_GAP`."""
        self._clients = clients
        self._rng = rng
        self._say = say
        self._pace = pace
        self.robbed = set[Key]()
        """Archives of which something was taken."""
        self._shards: list[str] = []
        self._rows: list[tuple[str, str]] = []
        self.injected = Counter[str]()
        """How often, by kind."""

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        while not stop.wait(self._rng.uniform(*_GAP) * self._pace):
            try:
                self._lose_message()
                self._lose_results()
            except StoreUnavailableError:
                # It is we who took storage away.
                continue

    def healed(self) -> bool:
        """Whether all results that were taken are there again."""
        shards = all(stat_blob(self._clients.processed, name) is not None for name in self._shards)
        return shards and all(find(self._clients.images, *row) is not None for row in self._rows)

    def _lose_message(self) -> None:
        queue = self._clients.batch_queue
        with azure_errors("take a message away"):
            message = queue.receive_message(visibility_timeout=30)
            request = read_request(message) if message is not None else None
            if message is None or request is None:
                return
            key = key_of_raw_blob(request.blob)
            if key in self.robbed:
                queue.update_message(message, visibility_timeout=0)
                return
            self.robbed.add(key)
            queue.delete_message(message)
            self._note(MESSAGES, request.blob)

    def _lose_results(self) -> None:
        shards = [shard for shard in self._candidates() if _key_of(shard) not in self.robbed]
        if not shards:
            return
        shard = self._rng.choice(sorted(shards, key=lambda shard: shard.name))
        partition = shard.key.partition(shard.pipeline)
        # Noted first: what fails on its way may be done all the same.
        self.robbed.add(_key_of(shard))
        if self.injected[RESULTS] % 2:
            self._shards.append(shard.name)
            with azure_errors(f"take the shard {shard.name} away"):
                self._clients.processed.delete_blob(shard.name)
        else:
            row = self._rng.choice([row["RowKey"] for row in scan(self._clients.images, partition, select=["RowKey"])])
            self._rows.append((partition, row))
            with azure_errors(f"take a row of {partition} away"):
                self._clients.images.delete_entity(partition, row)
        self._note(RESULTS, shard.name)

    def _candidates(self) -> list[ShardMetadata]:
        """Shards of archives that are processed."""
        done = {entry.archive.key for source in sources(self._clients) for entry in entries(self._clients, source)
                if entry.state is State.PROCESSED}  # fmt: skip
        read = (read_shard(blob) for blob in list_blobs(self._clients.processed, ""))
        return [shard for shard in read if shard is not None and shard.key in done]

    def _note(self, kind: str, subject: str) -> None:
        self.injected[kind] += 1
        self._say(f"fault: {kind} {subject}".rstrip())


def _key_of(shard: ShardMetadata) -> Key:
    return shard.key.source, shard.key.version
