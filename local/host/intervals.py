"""The real host's intervals, as measured; tests scale them and the app by one factor."""

from dataclasses import dataclass, fields, replace
from datetime import timedelta

_SHORTEST_BLOB_LEASE = 15.0
_MOST_SCALED = 4.0
"""Then the lease of a timer that host.json does not shorten is the shortest that a blob can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """All in seconds."""

    message_lease: float = 600.0
    """A message is hidden for so long while it runs; renewed at half."""
    timer_lease: float = 60.0
    """A timer's blob lease, renewed at half: `singleton.listenerLockPeriod` of host.json."""
    timer_retry: float = 60.0
    """A host without a timer's lease asks for it again so often: `singleton.listenerLockRecoveryPollingInterval`."""
    storage_patience: float = 25.0
    """Storage that refuses connections for so long ends the host."""
    shutdown: float = 10.0
    """For so long what runs may go on once the host is stopped."""
    deaths_forgotten: float = 1_800.0
    """Deaths of workers count together unless so long lies between them."""

    def scaled(self, factor: float) -> "Intervals":
        """Return all of them shorter by one factor, but for a timer's lease below 15 s. Raises ValueError."""
        if not 1 <= factor <= _MOST_SCALED:
            raise ValueError(f"the factor must be 1 to {_MOST_SCALED:g}, not {factor:g}")
        shorter = Intervals(**{field.name: getattr(self, field.name) / factor for field in fields(self)})
        return replace(shorter, timer_lease=max(shorter.timer_lease, _SHORTEST_BLOB_LEASE))

    @property
    def forgotten(self) -> timedelta:
        """`deaths_forgotten` as a span of time."""
        return timedelta(seconds=self.deaths_forgotten)
