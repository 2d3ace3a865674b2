"""Progress of each archive, from the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ingest.model import SourceSpec
from ingest.stager import BUFFERS
from local.demo.traffic import Arrival

_BLOCK = SourceSpec(name="any").block_size // BUFFERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An archive's times and counts so far; a time is None until it happens."""

    seen: datetime | None = None
    copying: datetime | None = None
    raw: datetime | None = None
    processing: datetime | None = None
    processed: datetime | None = None
    images: int = 0
    refused: int = 0
    skipped: int = 0
    ended: str | None = None
    """State and reason of an archive that ended without being processed: refused, failed, superseded, …"""

    @property
    def settled(self) -> bool:
        """Whether the archive has reached a terminal state."""
        return self.processed is not None or self.ended is not None


UNSEEN = Progress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One archive: its arrival on the server and its progress."""

    arrival: Arrival
    progress: Progress

    def since_arrival(self, moment: datetime | None) -> float | None:
        """Return the seconds from the last byte on the server to `moment`; a listing may begin a moment before."""
        return None if moment is None else (moment - self.arrival.arrived).total_seconds()

    @property
    def lag(self) -> float | None:
        """Seconds from the last byte on the server until the rows are readable."""
        return self.since_arrival(self.progress.processed)

    @property
    def copy_rate(self) -> float | None:
        """Bytes per second from the first staged block to the commit; None for a file of few blocks.

        The first block is excluded: neither its bytes nor its time count.
        """
        rest = self.arrival.drop.sample.size - _BLOCK
        return _rate(rest, self.progress.copying, self.progress.raw) if rest >= 3 * _BLOCK else None

    @property
    def image_rate(self) -> float | None:
        """Images per second, from the plan to the end of the last batch."""
        return _rate(self.progress.images, self.progress.processing, self.progress.processed)


def lines(arrivals: list[Arrival], progress: Mapping[tuple[str, str], Progress]) -> list[Line]:
    """Return arrivals with their progress, in the order of arrival."""
    return [
        Line(arrival=arrival, progress=progress.get((arrival.drop.source, arrival.version), UNSEEN))
        for arrival in arrivals
    ]


def _rate(amount: int, begun: datetime | None, ended: datetime | None) -> float | None:
    if begun is None or ended is None or ended <= begun:
        return None
    return amount / (ended - begun).total_seconds()
