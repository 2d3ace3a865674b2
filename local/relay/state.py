"""What the relay knows over restarts: which blobs it has seen, and which events nobody has accepted yet."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from local.relay.events import Event


@dataclass(frozen=True, slots=True)
class Seen:
    """A blob as it was when its last event was made."""

    etag: str
    fingerprint: str


@dataclass(slots=True)
class State:
    """Bounded by the container: a blob that is gone is forgotten, an event that is settled too."""

    seen: dict[str, Seen] = field(default_factory=dict)
    pending: dict[str, Event] = field(default_factory=dict)
    """Events by their ids, which stay the same over restarts."""

    def forget_all_but(self, names: Collection[str]) -> bool:
        """Drop blobs that are gone; True if there were any."""
        gone = self.seen.keys() - names
        for name in gone:
            del self.seen[name]
        return bool(gone)


class StateFile:
    """Keeps the state in a file, replaced whole; without a path nothing outlives the process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def exists(self) -> bool:
        """Tell whether an earlier run has left something."""
        return self._path is not None and self._path.is_file()

    def load(self) -> State:
        """Read what the last run left. Raises OSError, ValueError."""
        if self._path is None or not self.exists():
            return State()
        try:
            content = json.loads(self._path.read_text("utf-8"))
            seen = {name: Seen(etag, fingerprint) for name, (etag, fingerprint) in content["seen"].items()}
            return State(seen, {event["id"]: event for event in content["pending"]})
        except (ValueError, AttributeError, KeyError, TypeError) as exc:
            raise ValueError(f"{self._path} is no state of this relay: remove it, or name another file") from exc

    def save(self, state: State) -> None:
        """Write it, all or nothing. Raises OSError."""
        if self._path is None:
            return
        seen = {name: [blob.etag, blob.fingerprint] for name, blob in state.seen.items()}
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(json.dumps({"seen": seen, "pending": list(state.pending.values())}), "utf-8")
        fresh.replace(self._path)
