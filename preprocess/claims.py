"""Claims of one call to batches, renewed in a thread while the call runs."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from types import TracebackType
from uuid import uuid4

from imagefeed.errors import PermanentError, PipelineError, TransientError
from preprocess.claim import Claim, ClaimKind
from preprocess.context import Context
from preprocess.model import Batch

log = logging.getLogger(f"ingestion.{__name__}")


class Claims:
    """The claims of one call. They only avoid duplicate work, so losing one is not an error."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.owner = uuid4().hex
        """Unique to each call, so that two calls of one process do not both run the same batch."""
        self._held: dict[int, tuple[Batch, ClaimKind]] = {}
        """By batch number; all batches are of one archive."""
        self._until: dict[int, datetime] = {}
        """Time until which each claim is certainly held, by batch number."""
        self._renewing = Lock()
        self._ended = Event()
        # In a thread, because a single member may take longer than a claim lasts.
        self._renewal = Thread(target=self._renew, name="claim", daemon=True)

    def waiting(self, at: datetime) -> Claim:
        """Return the claim to insert with a batch that this call will run."""
        return Claim(owner=self.owner, kind=ClaimKind.WAITING, until=at + self._ctx.claim_for)

    def hold(self, batches: Iterable[Batch]) -> None:
        """Start renewing the claims of waiting batches that were inserted with the plan."""
        self._held |= {batch.number: (batch, ClaimKind.WAITING) for batch in batches}
        self._start()

    def take(self, batch: Batch, kind: ClaimKind) -> int | None:
        """Claim a batch. Return how many of its owners vanished recently; None if it cannot be claimed."""
        # Without the lock, a renewal under way could write the old kind again.
        with self._renewing:
            vanished = self._claim(batch, kind)
            if vanished is None:
                self._held.pop(batch.number, None)
                return None
            self._held[batch.number] = (batch, kind)
        self._start()
        return vanished

    def keep(self, batch: Batch) -> bool:
        """Return whether this call still holds the claim. Sends a request only if the renewal is late."""
        if batch.number not in self._held:
            return False
        return self._ctx.clock() < self._until[batch.number] or self.take(batch, ClaimKind.RUNNING) is not None

    def done(self, batch: Batch) -> None:
        """Stop renewing the claim to a batch that is done, or whose archive is terminal. Sends no request."""
        self._held.pop(batch.number, None)

    def release(self, batch: Batch, error: BaseException | None = None) -> None:
        """Release the claim and record the error, so that the next try does not wait for the claim to expire."""
        # Without the lock, a renewal under way could claim the batch again.
        with self._renewing:
            self._held.pop(batch.number, None)
            reason = None if error is None else f"{type(error).__name__}: {error}"
            try:
                self._ctx.ledger.release(batch, self.owner, self._ctx.clock(), reason)
            except PipelineError as exc:
                # The claim expires by itself.
                log.info("claim.not_released blob=%s batch=%d error=%s", batch.archive.blob, batch.number, exc)

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Release the claims still held. Their batches never ran, so no error is recorded for them."""
        self._ended.set()
        for batch, _kind in list(self._held.values()):
            self.release(batch)

    def _start(self) -> None:
        if self._renewal.ident is None and self._ctx.claim_for > timedelta(0):
            self._renewal.start()

    def _renew(self) -> None:
        """Renew each claim whenever half of its time is over."""
        while not self._ended.wait(self._ctx.claim_for / timedelta(seconds=2)):
            for number in list(self._held):
                with self._renewing:
                    self._renew_one(number)

    def _renew_one(self, number: int) -> None:
        batch, kind = self._held.get(number, (None, ClaimKind.WAITING))
        if batch is None or self._ended.is_set():
            return
        try:
            ours = self._claim(batch, kind) is not None
        except TransientError:
            return
        except PermanentError as exc:
            # The batch will meet the same error when it ends, and report it.
            log.info("claim.not_renewed blob=%s batch=%d error=%s", batch.archive.blob, number, exc)
            return
        except Exception:
            # An unexpected error must not stop the renewal of other claims, or end this thread.
            log.exception("claim.not_renewed blob=%s batch=%d", batch.archive.blob, number)
            return
        if not ours:
            self._held.pop(number, None)

    def _claim(self, batch: Batch, kind: ClaimKind) -> int | None:
        now = self._ctx.clock()
        until = now + self._ctx.claim_for
        vanished = self._ctx.ledger.claim(batch, self.owner, kind, now, until)
        if vanished is not None:
            self._until[batch.number] = until
        return vanished
