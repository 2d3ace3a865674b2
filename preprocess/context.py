"""Dependencies of the preprocessing use cases: ports, settings, and the process's batch lock."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from imagefeed.layout import SMOKE
from preprocess.model import BatchSizes, Hook, Limits, Recipe
from preprocess.ports import BatchLedger, BatchQueue, RawArchives, Results

_MOST_DECODE_WORKERS = 4
"""More workers would wait for each other, because all steps other than decoding run one at a time."""
_MOST_DOUBLINGS = 16
_LONGEST = timedelta(days=3_650)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class ReplayContext:
    """Ports and values needed to queue archives and batches again."""

    raw: RawArchives
    ledger: BatchLedger
    queue: BatchQueue
    pipeline: str
    redrive_after: timedelta = timedelta(minutes=15)
    redrive_tries: int = 6
    claim_for: timedelta = timedelta(minutes=1)
    """Time until a claim expires. Its owner renews it, so another call can take over this soon after a crash."""
    clock: Callable[[], datetime] = _now

    def pause(self, tries: int) -> timedelta:
        """Return the time until a batch is redriven. It doubles with each try, up to ten years."""
        return min(self.redrive_after * (1 << min(tries, _MOST_DOUBLINGS)), _LONGEST)


@dataclass(frozen=True, kw_only=True)
class Context(ReplayContext):
    """Ports and values that preprocessing needs."""

    results: Results
    recipe: Recipe
    hook: Hook | None
    limits: Limits
    sizes: BatchSizes
    member_encodings: Mapping[str, str] = field(default_factory=dict)
    """Encoding of member names that are not marked as UTF-8, for sources that set one."""
    batch_time: timedelta = timedelta(minutes=10)
    """A batch that takes longer is divided. A third of functionTimeout, because it may first wait for another batch."""
    decode_workers: int = field(default_factory=lambda: min(_MOST_DECODE_WORKERS, os.process_cpu_count() or 1))
    """Members of a batch that are decoded concurrently: Pillow releases the GIL while it decodes."""
    batch_lock: Lock = field(default_factory=Lock)
    """Limits this process to one batch at a time, because each may take as much memory as the limits allow."""
    waiter_lock: Lock = field(default_factory=Lock)
    """Held by the one call that waits for `batch_lock`."""

    def sizes_for(self, source: str) -> BatchSizes:
        """Return the batch sizes of a source.

        For the smoke test each member is a batch and none runs inline, so that a few images test the queue, whatever
        the BATCH_ settings are.
        """
        return replace(self.sizes, members=1, inline_bytes=0) if source == SMOKE else self.sizes
