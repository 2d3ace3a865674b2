"""State of the relay that is kept over restarts: known blobs and undelivered events."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from local.relay.events import Event


@dataclass(frozen=True, slots=True)
class Seen:
    """A blob's state when its last event was made."""

    etag: str
    fingerprint: str


@dataclass(slots=True)
class State:
    """Known blobs and pending events. Deleted blobs and delivered events are removed, so the size is bounded."""

    seen: dict[str, Seen] = field(default_factory=dict)
    pending: dict[str, Event] = field(default_factory=dict)
    """Events by ID; the IDs stay the same over restarts."""

    def forget_all_but(self, names: Collection[str]) -> bool:
        """Remove blobs that are not in `names`. Return True if there were any."""
        gone = self.seen.keys() - names
        for name in gone:
            del self.seen[name]
        return bool(gone)


class StateFile:
    """The file of the state, which is replaced atomically. Without a path nothing is saved."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def exists(self) -> bool:
        """Return True if an earlier run has saved its state."""
        return self._path is not None and self._path.is_file()

    def load(self) -> State:
        """Read the saved state; empty if there is none. Raises OSError, ValueError."""
        if self._path is None or not self.exists():
            return State()
        try:
            content = json.loads(self._path.read_text("utf-8"))
            seen = {name: Seen(etag, fingerprint) for name, (etag, fingerprint) in content["seen"].items()}
            return State(seen, {event["id"]: event for event in content["pending"]})
        except (ValueError, AttributeError, KeyError, TypeError) as exc:
            raise ValueError(
                f"{self._path} is not a valid state of this relay: remove it, or name another file"
            ) from exc

    def save(self, state: State) -> None:
        """Write the state atomically. Raises OSError."""
        if self._path is None:
            return
        seen = {name: [blob.etag, blob.fingerprint] for name, blob in state.seen.items()}
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(json.dumps({"seen": seen, "pending": list(state.pending.values())}), "utf-8")
        fresh.replace(self._path)
