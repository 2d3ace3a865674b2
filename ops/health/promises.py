"""Reads the promises of sources as the app stores them, so that a shell without its settings judges as the app does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingest.model import Promises
from storage.blobs.raw import MANUAL
from storage.blobs.runs import last_run
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Promises of sources by name, and the names of polled sources whose promises are unknown."""

    promises: Mapping[str, Promises]
    unknown: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        """Return the names of polled sources; whether one answers can be checked without its promises."""
        return self.unknown | self.promises.keys()


def held_to(clients: Clients, sources: Iterable[str], settings: Mapping[str, Promises]) -> Held:
    """Read the promises of sources from their states, or from `settings` of this shell if a state has none.

    A source that is no longer in the app's settings has no promises. Raises StoreUnavailableError,
    StoreRefusedError.
    """
    run, states = last_run(clients, "poll_sources"), BlobSourceStates(clients)
    polled = run.sources if run else ()
    promises: dict[str, Promises] = {}
    unknown = set[str]()
    for source in {*sources} - {MANUAL}:
        of_app = not polled or source in polled
        source_state = states.look(source) if of_app else None
        kept = (source_state.promises if source_state else None) or settings.get(source)
        if kept:
            promises[source] = kept
        elif of_app:
            unknown.add(source)
    return Held(promises=promises, unknown=frozenset(unknown))
