"""Which sources there are: a misspelt one would look as if it had nothing."""

from errors import PermanentError
from storage.clients import Clients
from storage.entries import sources
from storage.rosters import BlobRosters


def known_sources(clients: Clients) -> set[str]:
    """Name every source that was polled or has archives in the ledger."""
    return {*sources(clients), *BlobRosters(clients).sources()}


def require_source(clients: Clients, source: str, doing: str) -> None:
    """Raise PermanentError for a source that never was."""
    known = known_sources(clients)
    if source not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        raise PermanentError(f"{doing} {source}: there is no such source; {there}")
