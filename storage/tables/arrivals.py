"""The ledger as read by the watch: the archives, and when each was first seen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from imagefeed.entities import moment, scan
from imagefeed.layout import behind_stamp
from imagefeed.ledger import state_of, time_of
from imagefeed.model import Origin, State
from ingest.model import Arrival
from storage.clients import Clients

_COLUMNS = ["RowKey", "pipeline", "stamp", "origin", "blob", *(time_of(state) for state in State)]
_LOOKED_AT = 100


class TableArrivals:
    """The archives table; an Arrivals."""

    def __init__(self, clients: Clients) -> None:
        self._archives = clients.archives

    def since(self, source: str, start: datetime) -> Sequence[Arrival]:
        """Return the archives with a stamp from `start` on, and the last one before it."""
        behind = behind_stamp(start)
        rows = scan(self._archives, source, end=behind, select=_COLUMNS)
        older = scan(self._archives, source, first=behind, select=_COLUMNS, page=_LOOKED_AT)
        return [*_arrivals(rows), *islice(_arrivals(islice(older, _LOOKED_AT)), 1)]


def _arrivals(rows: Iterable[Mapping[str, Any]]) -> Iterator[Arrival]:
    for row in rows:
        stamp = moment(row.get("stamp"))
        # A file that was only touched is not new. Rows with a pipeline hold an archive's results, not its arrival.
        if stamp is None or row.get("pipeline") is not None or state_of(row) is State.SAME:
            continue
        by_hand = row.get("blob") if row.get("origin") == Origin.MANUAL else None
        seen = moment(row.get(time_of(State.SEEN))) or moment(row.get(time_of(State.RAW)))
        yield Arrival(stamp=stamp, seen=seen, by_hand=by_hand)
