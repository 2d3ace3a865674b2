"""Options of a relay."""

from dataclasses import dataclass, field

from local.relay.delivery import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The watched container, the webhook and the filters."""

    container: str
    to: str
    prefix: str = ""
    suffix: str = ""
    without: str | None = None
    dead_letter_container: str | None = None

    def wants(self, blob: str) -> bool:
        """Return True if the filters accept a blob's name; case is ignored, the default of Event Grid."""
        name = blob.casefold()
        if self.without is not None and self.without.casefold() in name:
            return False
        return name.startswith(self.prefix.casefold()) and name.endswith(self.suffix.casefold())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Rates of listings and deliveries."""

    interval: float = 0.5
    """Seconds between two listings; more if a listing takes long."""
    parallel: int = 16
    """Concurrent deliveries, so that a slow one does not delay others."""
    patience: Patience = field(default_factory=Patience)
