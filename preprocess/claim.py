"""A process's claim to a batch, and its record of the member that it is at, which shows what killed it."""

from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType

from imagefeed.errors import MemberRefusedError, PipelineError, TransientError
from preprocess.context import Context
from preprocess.model import Batch
from preprocess.zip.directory import Member

_MOST_DEATHS = 3
"""At one member. A process may die for any reason while an innocent member is begun, but hardly so often."""


class Claim:
    """Tells others that this process is at a batch. It only saves work, so that to lose it is no error."""

    def __init__(self, batch: Batch, ctx: Context) -> None:
        self._batch = batch
        self._ctx = ctx
        self.isolate = False
        """True after a worker crashed on this batch: record each member before decoding it, one at a time."""
        self._ended = Event()
        # In a thread: a single member may take longer than a claim lasts.
        self._renewal = Thread(target=self._renew, name="claim", daemon=True)

    def take(self) -> bool:
        """Claim the batch; False if it is not to be had."""
        owners = self._claimed()
        # The first time notes would only cost. Where claims hold nobody off, to take over tells of no death.
        self.isolate = owners > 1 and self._ctx.claim_for > timedelta(0)
        return owners > 0

    def begin(self, member: Member) -> None:
        """Note a member before it is read. Raises MemberRefusedError if too many died of it."""
        deaths = self._ctx.ledger.begin(self._batch, member.number) if self.isolate else 0
        if deaths >= _MOST_DEATHS:
            raise MemberRefusedError(
                f"the process died {deaths} times while it was at this member: it makes a library crash, "
                "or takes more memory or time than there is"
            )

    def over(self) -> None:
        """Note that all members are behind."""
        if self.isolate:
            self._ctx.ledger.begin(self._batch, None)

    def _renew(self) -> None:
        """Take it again whenever half of its time is over, until it ends or is another's."""
        ours = True
        while ours and not self._ended.wait(self._ctx.claim_for / timedelta(seconds=2)):
            try:
                ours = self._claimed() > 0
            except TransientError:
                continue
            except PipelineError:
                # Whatever it is, the batch's end meets it too, and tells.
                return

    def _claimed(self) -> int:
        now = self._ctx.clock()
        return self._ctx.ledger.claim(self._batch, self._ctx.owner, now, now + self._ctx.claim_for)

    def __enter__(self) -> None:
        if self._ctx.claim_for > timedelta(0):
            self._renewal.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """After an error note it and let go, so that the next try need not wait."""
        self._ended.set()
        if error is not None and kind is not None:
            # A renewal that is late would take back what is let go. After a good end it finds the batch done, and
            # takes nothing: so a request that hangs holds up nobody.
            if self._renewal.is_alive():
                self._renewal.join()
            now = self._ctx.clock()
            # The error itself goes on to whoever decides about it.
            with suppress(PipelineError):
                self._ctx.ledger.trouble(self._batch, f"{kind.__name__}: {error}", now)
                self._ctx.ledger.claim(self._batch, self._ctx.owner, now, now)
