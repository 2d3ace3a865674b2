"""A process's claim to a batch, and its notes of the member that it is at, which tell what killed it."""

from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from errors import MemberRefusedError, PipelineError, TransientError
from preprocess.directory import Member
from preprocess.model import Batch
from preprocess.preprocessing import Preprocessing

_MOST_DEATHS = 3
"""At one member. A process may die for any reason while an innocent member is begun, but hardly so often."""


class Claim:
    """Tells others that this process is at a batch. It only saves work, so that to lose it is no error."""

    def __init__(self, batch: Batch, p: Preprocessing) -> None:
        self._batch = batch
        self._p = p
        self._renew_at = p.clock()
        self._wary = False

    def take(self) -> bool:
        """Claim the batch; False if it is not to be had."""
        now = self._p.clock()
        self._renew_at = now + self._p.claim_for / 2
        holders = self._p.ledger.claim(self._batch, self._p.holder, now, now + self._p.claim_for)
        # The first time notes would only cost. Where claims hold nobody off, to take over tells of no death.
        self._wary = holders > 1 and self._p.claim_for > timedelta(0)
        return holders > 0

    def begin(self, member: Member) -> None:
        """Note a member before it is read. Raises MemberRefusedError if too many died of it."""
        deaths = self._p.ledger.begin(self._batch, member.number) if self._wary else 0
        if deaths >= _MOST_DEATHS:
            raise MemberRefusedError(
                f"the process died {deaths} times while it was at this member: it makes a library crash, "
                "or takes more memory or time than there is"
            )

    def over(self) -> None:
        """Note that all members are behind."""
        if self._wary:
            self._p.ledger.begin(self._batch, None)

    def renew(self) -> None:
        """Take it again when half of its time is over."""
        if self._p.clock() >= self._renew_at:
            with suppress(TransientError):
                self.take()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """After an error note it and let go, so that the next try need not wait."""
        if error is not None and kind is not None:
            now = self._p.clock()
            # The error itself goes on to whoever decides about it.
            with suppress(PipelineError):
                self._p.ledger.trouble(self._batch, f"{kind.__name__}: {error}", now)
                self._p.ledger.claim(self._batch, self._p.holder, now, now)
