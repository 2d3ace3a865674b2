"""What became of archives since somebody looked last, in lines for a terminal."""

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

_TERMINAL = (State.PROCESSED, State.REFUSED, State.FAILED, State.EXPIRED)
_LIMIT = 100
"""Archives of a source that one look reads, the newest: it is taken every second."""


class Completions:
    """The ends of sources' archives; what has ended before the first look is no news."""

    def __init__(self, clients: Clients, sources: Iterable[str]) -> None:
        """Raises StoreUnavailableError."""
        self._clients = clients
        self._sources = tuple(sources)
        self._known: set[_Key] = set()
        self._known = {end for end, _ in self._new()}

    def news(self) -> Iterator[str]:
        """Tell what has ended since the last look, again if it was done again. Raises StoreUnavailableError."""
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
    """Say how an archive ended."""
    archive, counts, lag = entry.archive, entry.counts, lag_of(entry)
    name = f"{archive.source}: {terminal.clean(archive.path)}"
    if entry.state is not State.PROCESSED:
        return f"{name} is {entry.state}: {terminal.clean(entry.reason or 'no longer on the server')}"
    images = terminal.count(counts.images if counts else 0, "image")
    refused = f", {terminal.count(counts.refused, 'member')} refused" if counts and counts.refused else ""
    return f"{name} is readable{'' if lag is None else f' after {text.span(lag)}'}, {images}{refused}"
