"""One call's claims to batches, renewed while the call lives."""

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
    """The claims of one call. They only save work, so that to lose one is no error."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.owner = uuid4().hex
        """Another for each call: of two that are asked for the same batch in one process, one works."""
        self._held: dict[int, tuple[Batch, ClaimKind]] = {}
        """By their batches' numbers; all are of one archive."""
        self._until: dict[int, datetime] = {}
        """For how long each is ours for sure."""
        self._renewing = Lock()
        self._ended = Event()
        # In a thread: a single member may take longer than a claim lasts.
        self._renewal = Thread(target=self._renew, name="claim", daemon=True)

    def waiting(self, at: datetime) -> Claim:
        """Return the claim that a batch is inserted with which this call will run."""
        return Claim(owner=self.owner, kind=ClaimKind.WAITING, until=at + self._ctx.claim_for)

    def hold(self, batches: Iterable[Batch]) -> None:
        """Renew claims that are written with the plan, for batches that wait."""
        self._held |= {batch.number: (batch, ClaimKind.WAITING) for batch in batches}
        self._start()

    def take(self, batch: Batch, kind: ClaimKind) -> int | None:
        """Claim a batch, and return how many of its owners have vanished of late; None if it is not to be had."""
        # A renewal that is under way would turn its kind back.
        with self._renewing:
            vanished = self._claim(batch, kind)
            if vanished is None:
                self._held.pop(batch.number, None)
                return None
            self._held[batch.number] = (batch, kind)
        self._start()
        return vanished

    def keep(self, batch: Batch) -> bool:
        """Return whether a batch is still this call's; a request is sent only where its renewal is late."""
        if batch.number not in self._held:
            return False
        return self._ctx.clock() < self._until[batch.number] or self.take(batch, ClaimKind.RUNNING) is not None

    def done(self, batch: Batch) -> None:
        """Stop renewing the claim to a batch that is done, or whose archive is at its end: that needs no request."""
        self._held.pop(batch.number, None)

    def release(self, batch: Batch, error: BaseException | None = None) -> None:
        """Let a batch go, with what went wrong, so that the next try need not wait."""
        # A renewal that is under way would take back what is let go.
        with self._renewing:
            self._held.pop(batch.number, None)
            reason = None if error is None else f"{type(error).__name__}: {error}"
            try:
                self._ctx.ledger.release(batch, self.owner, self._ctx.clock(), reason)
            except PipelineError as exc:
                # The claim runs out by itself.
                log.info("claim.not_released blob=%s batch=%d error=%s", batch.archive.blob, batch.number, exc)

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let go what is still held: batches that never ran, so that no error is theirs."""
        self._ended.set()
        for batch, _kind in list(self._held.values()):
            self.release(batch)

    def _start(self) -> None:
        if self._renewal.ident is None and self._ctx.claim_for > timedelta(0):
            self._renewal.start()

    def _renew(self) -> None:
        """Take each claim again whenever half of its time is over."""
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
            # Whatever it is, the batch's end meets it too, and tells.
            log.info("claim.not_renewed blob=%s batch=%d error=%s", batch.archive.blob, number, exc)
            return
        except Exception:
            # Not foreseen: the other claims, and the next round, must not be lost with it.
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
