"""Measured intervals of the real host; tests divide them and the app's intervals by one factor."""

from dataclasses import dataclass, fields, replace
from datetime import timedelta

_SHORTEST_BLOB_LEASE = 15.0
_MOST_SCALED = 4.0
"""A larger factor would make the default timer lease shorter than the minimum of a blob lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Intervals in seconds."""

    message_lease: float = 600.0
    """Time for which a message is hidden while it runs; renewed at half."""
    timer_lease: float = 60.0
    """Blob lease of a timer, renewed at half: `singleton.listenerLockPeriod` of host.json."""
    timer_retry: float = 60.0
    """Time between attempts to get a timer's lease: `singleton.listenerLockRecoveryPollingInterval`."""
    storage_patience: float = 25.0
    """The host ends if storage refuses connections for this long."""
    shutdown: float = 10.0
    """Time that running functions get after the host is stopped."""
    deaths_forgotten: float = 1_800.0
    """The count of worker deaths restarts after this long without one."""

    def scaled(self, factor: float) -> "Intervals":
        """Return all intervals divided by `factor`, but a timer's lease of at least 15 s. Raises ValueError."""
        if not 1 <= factor <= _MOST_SCALED:
            raise ValueError(f"the factor must be 1 to {_MOST_SCALED:g}, not {factor:g}")
        shorter = Intervals(**{field.name: getattr(self, field.name) / factor for field in fields(self)})
        return replace(shorter, timer_lease=max(shorter.timer_lease, _SHORTEST_BLOB_LEASE))

    @property
    def forgotten(self) -> timedelta:
        """`deaths_forgotten` as a timedelta."""
        return timedelta(seconds=self.deaths_forgotten)
