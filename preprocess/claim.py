"""Who works on a batch: a claim that its owner renews while it lives. It only saves work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

MOST_VANISHED = 20
"""Owners that may vanish at one batch within `VANISHED_WITHIN`: ends of a host are ordinary, but not so many."""
MOST_DEQUEUES = 5
"""After so many failures the functions host gives a message up: host.json's maxDequeueCount."""
VANISHED_WITHIN = timedelta(hours=24)


class ClaimKind(StrEnum):
    """What the owner of a claim is doing."""

    WAITING = "waiting"
    """Its call waits until the process has no other batch at work."""
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim to a batch as its row has it."""

    owner: str = ""
    kind: ClaimKind | None = None
    """None: nobody claims the batch."""
    until: datetime | None = None
    vanished: tuple[datetime, ...] = ()
    """When owners were found to have vanished while they ran the batch, the oldest first; at most `MOST_VANISHED`."""

    def stands(self, at: datetime) -> bool:
        """Return whether somebody claims the batch who has renewed the claim in time."""
        return self.kind is not None and self.until is not None and self.until > at

    def taken(self, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> Self | None:
        """Return the claim as `owner` takes or renews it; None while another's stands."""
        if self.owner == owner:
            return replace(self, kind=kind, until=until)
        if self.stands(at):
            return None
        return replace(self.ended(at), owner=owner, kind=kind, until=until)

    def ended(self, at: datetime) -> Self:
        """Return the claim without its owner, who has vanished if it ran the batch and has not let it go."""
        vanished = (*self.vanished, at) if self.kind is ClaimKind.RUNNING else self.vanished
        return replace(self.let_go(at), vanished=vanished[-MOST_VANISHED:])

    def let_go(self, at: datetime) -> Self:
        """Return the claim without its owner, who lives."""
        return replace(self, owner="", kind=None, until=at)

    def vanished_since(self, start: datetime) -> Sequence[datetime]:
        """Return the times from `start` on at which owners were found to have vanished."""
        return [time for time in self.vanished if time >= start]


NOBODY = Claim()
