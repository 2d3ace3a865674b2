"""What a relay is asked to do."""

from dataclasses import dataclass, field

from local.relay.delivery import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is watched, and who is told."""

    container: str
    to: str
    prefix: str = ""
    suffix: str = ""
    without: str | None = None
    dead_letter_container: str | None = None

    def wants(self, blob: str) -> bool:
        """Filter as a subscription does by default: whatever the case."""
        name = blob.casefold()
        if self.without is not None and self.without.casefold() in name:
            return False
        return name.startswith(self.prefix.casefold()) and name.endswith(self.suffix.casefold())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard the relay works."""

    interval: float = 0.5
    """Seconds between two listings; more where a listing takes long."""
    parallel: int = 16
    """Deliveries in flight: a slow one holds up no other."""
    patience: Patience = field(default_factory=Patience)
