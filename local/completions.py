"""Report archives that have reached a terminal state since the last call, as lines for a terminal."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from imagefeed import terminal
from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from ops import text
from ops.web.assess import lag_of
from storage.clients import Clients

type _Key = tuple[str, datetime, str, datetime]

_TERMINAL = (State.PROCESSED, State.REFUSED, State.EMPTY, State.FAILED, State.EXPIRED)
_LIMIT = 100
"""Newest archives of a source that one call reads; there is one call a second."""


class Completions:
    """Archives that reach a terminal state after this object was created."""

    def __init__(self, clients: Clients, sources: Iterable[str]) -> None:
        """Read the archives that have already ended. Raises StoreUnavailableError."""
        self._clients = clients
        self._sources = tuple(sources)
        self._known: set[_Key] = set()
        self._known = {end for end, _ in self._new()}

    def news(self) -> Iterator[str]:
        """Yield a line for each archive that ended since the last call, oldest first.

        An archive that was processed again is reported again. Raises StoreUnavailableError.
        """
        for end, entry in sorted(self._new(), key=lambda completion: completion[0][-1]):
            self._known.add(end)
            yield f"{end[-1]:%H:%M:%S}  {line(entry)}"

    def _new(self) -> list[tuple[_Key, Entry]]:
        newest = (entry for source in self._sources for entry in islice(entries(self._clients, source), _LIMIT))
        keyed = ((_key(entry), entry) for entry in newest if entry.state in _TERMINAL)
        return [(end, entry) for end, entry in keyed if end not in self._known]


def _key(entry: Entry) -> _Key:
    return entry.archive.source, entry.archive.stamp, entry.archive.version, entry.times[entry.state]


def line(entry: Entry) -> str:
    """Return a line with an archive's final state, and its delay and counts or the reason."""
    archive, counts, lag = entry.archive, entry.counts, lag_of(entry)
    name = f"{archive.source}: {terminal.clean(archive.path)}"
    if entry.state is not State.PROCESSED:
        return f"{name} is {entry.state}: {terminal.clean(entry.reason or 'no longer on the server')}"
    images = terminal.count(counts.images if counts else 0, "image")
    refused = f", {terminal.count(counts.refused, 'member')} refused" if counts and counts.refused else ""
    return f"{name} is readable{'' if lag is None else f' after {text.span(lag)}'}, {images}{refused}"
