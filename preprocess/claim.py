"""Claim to a batch, which the call that works on it renews. Claims only avoid duplicate work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

MOST_VANISHED = 20
"""Vanished owners within `VANISHED_WITHIN` after which a batch fails. Hosts end now and then, but not this often."""
MOST_DEQUEUES = 5
"""Failures after which the functions host gives a message up: maxDequeueCount in host.json."""
VANISHED_WITHIN = timedelta(hours=24)


class ClaimKind(StrEnum):
    """State of a claim's owner."""

    WAITING = "waiting"
    """The call waits until its process has ended the batch that it runs."""
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim as stored in a batch's row."""

    owner: str = ""
    kind: ClaimKind | None = None
    """None: the batch is not claimed."""
    until: datetime | None = None
    vanished: tuple[datetime, ...] = ()
    """When owners were found to have vanished while running the batch, oldest first; the last `MOST_VANISHED`."""

    def stands(self, at: datetime) -> bool:
        """Return whether the batch is claimed, and the claim has not expired at `at`."""
        return self.kind is not None and self.until is not None and self.until > at

    def taken(self, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> Self | None:
        """Return the claim taken or renewed by `owner`; None if another owner's claim has not expired."""
        if self.owner == owner:
            return replace(self, kind=kind, until=until)
        if self.stands(at):
            return None
        return replace(self.ended(at), owner=owner, kind=kind, until=until)

    def ended(self, at: datetime) -> Self:
        """Return the claim without its owner, recorded as vanished if it ran the batch and did not release it."""
        vanished = (*self.vanished, at) if self.kind is ClaimKind.RUNNING else self.vanished
        return replace(self.let_go(at), vanished=vanished[-MOST_VANISHED:])

    def let_go(self, at: datetime) -> Self:
        """Return the claim as released by its owner."""
        return replace(self, owner="", kind=None, until=at)

    def vanished_since(self, start: datetime) -> Sequence[datetime]:
        """Return the times, from `start` on, at which owners were found to have vanished."""
        return [time for time in self.vanished if time >= start]


NOBODY = Claim()
