"""How far each archive has come, as storage tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ingest.model import SourceSpec
from ingest.stager import BUFFERS
from local.demo.traffic import Arrival

_BLOCK = SourceSpec(name="any").block_size // BUFFERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An archive's times and counts so far; None is what has not happened yet."""

    seen: datetime | None = None
    copying: datetime | None = None
    raw: datetime | None = None
    processing: datetime | None = None
    processed: datetime | None = None
    images: int = 0
    refused: int = 0
    skipped: int = 0
    ended: str | None = None
    """How it ended where it was not processed: refused, failed, superseded, …, with the reason."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come."""
        return self.processed is not None or self.ended is not None


UNSEEN = Progress()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One archive, from its arrival on the server on."""

    arrival: Arrival
    progress: Progress

    def since_arrival(self, moment: datetime | None) -> float | None:
        """Seconds from the last byte on the server to `moment`; a listing under way may see it a moment before."""
        return None if moment is None else (moment - self.arrival.arrived).total_seconds()

    @property
    def lag(self) -> float | None:
        """Seconds from the last byte on the server until the rows could be read."""
        return self.since_arrival(self.progress.processed)

    @property
    def copy_rate(self) -> float | None:
        """Bytes a second, from the first staged block to the commit; None for a file of few blocks.

        What came before that block was staged is left out, as is the time that it took.
        """
        rest = self.arrival.drop.sample.size - _BLOCK
        return _rate(rest, self.progress.copying, self.progress.raw) if rest >= 3 * _BLOCK else None

    @property
    def image_rate(self) -> float | None:
        """Images a second, from the plan to the last batch's end."""
        return _rate(self.progress.images, self.progress.processing, self.progress.processed)


def lines(arrivals: list[Arrival], progress: Mapping[tuple[str, str], Progress]) -> list[Line]:
    """Join what was put on the servers with what storage tells, in the order of arrival."""
    return [
        Line(arrival=arrival, progress=progress.get((arrival.drop.source, arrival.version), UNSEEN))
        for arrival in arrivals
    ]


def _rate(amount: int, begun: datetime | None, ended: datetime | None) -> float | None:
    if begun is None or ended is None or ended <= begun:
        return None
    return amount / (ended - begun).total_seconds()
