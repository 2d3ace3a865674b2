"""Run the demo from the first upload to the verification."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path

from imagefeed.tables import StoredImage
from local.demo import observations, script
from local.demo.chaos import DEATHS, Chaos
from local.demo.contact_sheet import Tile
from local.demo.progress import Line, lines
from local.demo.traffic import Arrival, Drop, uploads
from local.demo.verification import verify
from local.demo.view import View
from local.system import System
from storage.clients import Clients

_LOOK_EVERY = 0.3
_PATIENCE = 150.0
"""Seconds from the first upload, after which absent results count as missing."""
TILES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOutcome:
    """Results of the demo: archives, problems, pictures to show and kills of the host."""

    lines: Sequence[Line]
    problems: Sequence[str]
    tiles: Sequence[Tile]
    deaths: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Scenario:
    """A running demo: the system, its storage, and the archives on the servers so far."""

    system: System
    clients: Clients
    view: View
    chaos: Chaos | None
    deadline: float = field(default_factory=lambda: time.monotonic() + _PATIENCE)
    planned: list[Drop] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    def perform(self, drops: Sequence[Drop]) -> None:
        """Upload archives, and show their progress until all have ended or the time limit has passed."""
        self.planned += drops
        with uploads(drops, lambda source: self.system.sources[source].root, self._arrived):
            while time.monotonic() < self.deadline:
                if message := self.system.check():
                    self.view.say(message)
                stand = self.stand()
                self.view.show(stand)
                if len(stand) == len(self.planned) and all(line.progress.settled for line in stand):
                    return
                time.sleep(_LOOK_EVERY)

    def stand(self) -> list[Line]:
        """Return the current progress of every archive."""
        return lines(list(self.arrivals), observations.observe(self.clients, self.system.sources))

    def _arrived(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        largest = arrival.drop.sample.size > 50e6
        if self.chaos is not None and largest:
            self.chaos.strike(arrival)


def run_scenario(system: System, clients: Clients, view: View, cache: Path, *, chaos: bool) -> DemoOutcome:
    """Run the whole demo in a running system and return its results."""
    killer = Chaos(system, clients, view.say) if chaos else None
    running = Scenario(system=system, clients=clients, view=view, chaos=killer)
    try:
        running.perform(script.drops(cache, datetime.now(UTC)))
        running.perform([script.replacement(cache)])
    finally:
        if killer is not None:
            killer.end()
    view.say("reading everything back")
    stand = running.stand()
    outcome = _judge(running, stand)
    view.say("everything is read back")
    view.show(stand)
    return outcome


def _judge(running: Scenario, stand: Sequence[Line]) -> DemoOutcome:
    """Read everything back from storage, compare it with the arrivals, and choose pictures to show."""
    clients, killer, sources = running.clients, running.chaos, running.system.sources
    images = observations.images(clients, sources)
    kept = observations.collect(clients, images, observations.observe(clients, sources))
    deaths = killer.deaths if killer is not None else []
    problems = verify(running.planned, running.arrivals, kept)
    if killer is not None and len(deaths) < DEATHS:
        problems.append(f"the host was killed {len(deaths)} times instead of {DEATHS}: the work was done too soon")
    return DemoOutcome(lines=stand, problems=problems, tiles=_tiles(stand, images), deaths=deaths)


def _tiles(stand: Sequence[Line], images: Sequence[StoredImage]) -> list[Tile]:
    """Return up to 24 tiles: one image of each archive in turn, starting at a different place in each, for variety."""
    by_archive = {(line.arrival.drop.source, line.arrival.version): (line, list[StoredImage]()) for line in stand}
    for image in images:
        if (key := (image.metadata.source, image.version)) in by_archive:
            by_archive[key][1].append(image)
    columns = [
        [_tile(line, image) for image in group[start % len(group) :] + group[: start % len(group)]]
        for start, (line, group) in enumerate(by_archive.values())
        if group
    ]
    in_turn = (tile for tiles in zip_longest(*columns) for tile in tiles if tile is not None)
    return list(islice(in_turn, TILES))


def _tile(line: Line, image: StoredImage) -> Tile:
    metadata = image.metadata
    return Tile(
        pixels=image.pixels, source=metadata.source, archive=metadata.archive, member=metadata.name, lag=line.lag or 0.0
    )
