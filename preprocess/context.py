"""What the use cases of preprocessing work with: ports, settings, and this process's lock for batches."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from imagefeed.layout import SMOKE
from preprocess.model import BatchSizes, Hook, Limits, Recipe
from preprocess.ports import BatchLedger, BatchQueue, RawArchives, Results

_MOST_DECODE_WORKERS = 4
"""More would wait for one another: what is not decoding is done one after the other."""
_MOST_DOUBLINGS = 16
_LONGEST = timedelta(days=3_650)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class ReplayContext:
    """Ports and values that asking for an archive again needs."""

    raw: RawArchives
    ledger: BatchLedger
    queue: BatchQueue
    pipeline: str
    redrive_after: timedelta = timedelta(minutes=15)
    redrive_tries: int = 6
    claim_for: timedelta = timedelta(minutes=1)
    """A claim is renewed while its owner lives; so soon after an owner's death another may go on."""
    clock: Callable[[], datetime] = _now

    def pause(self, tries: int) -> timedelta:
        """Give the time that a batch has until it is driven again: it doubles with each try, within the calendar."""
        return min(self.redrive_after * (1 << min(tries, _MOST_DOUBLINGS)), _LONGEST)


@dataclass(frozen=True, kw_only=True)
class Context(ReplayContext):
    """Ports and values that preprocessing needs, bundled once at start."""

    results: Results
    recipe: Recipe
    hook: Hook | None
    limits: Limits
    sizes: BatchSizes
    batch_time: timedelta = timedelta(minutes=10)
    """A batch that takes longer is divided: a third of functionTimeout, for it may wait for another one before."""
    decode_workers: int = field(default_factory=lambda: min(_MOST_DECODE_WORKERS, os.process_cpu_count() or 1))
    """Members of a batch that are decoded at once: Pillow does so without Python's lock."""
    batch_lock: Lock = field(default_factory=Lock)
    """One batch at a time in this process: each may take as much memory as the limits allow."""
    waiter_lock: Lock = field(default_factory=Lock)
    """Held by the one call that waits for `batch_lock`."""

    def sizes_for(self, source: str) -> BatchSizes:
        """Give the sizes of a source's batches; of the smoke test each member is one, and none runs inline.

        Whatever BATCH_ settings say, a few pictures become several batches, and all of them go over the queue.
        """
        return replace(self.sizes, members=1, inline_bytes=0) if source == SMOKE else self.sizes
