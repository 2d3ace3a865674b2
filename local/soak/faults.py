"""What goes wrong during the soak: kills, cuts and outages, in an order that a seed gives."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from local.servers.server import Server
from local.system import System

_GAP = (1.0, 5.0)
_AWAY = (0.3, 3.0)
_SESSION_WITHIN = 6.0
"""Seconds to wait for a session that can be cut: between two polls there is none."""
_OUTAGE, _LONG_OUTAGE = 10.0, 60.0
"""Seconds at real time for which storage is away; the long one ends the host."""
_BETWEEN_ENDS = 180.0
"""Seconds at real time between two ends of the host: after each, timers rest for one minute."""

KINDS = (
    "host killed", "worker killed", "server killed", "connections cut", "storage away", "storage away for long",
)  # fmt: skip


class Faults:
    """Injects one fault after the other; what it stopped it starts again."""

    def __init__(
        self,
        system: System,
        rng: Random,
        say: Callable[[str], None],
        spare_host: threading.Event,
        scale: float,
        pace: float,
    ) -> None:
        """Once `spare_host` is set the host lives on, so that its memory can be watched.

        `scale` is the factor by which the host's intervals are shorter than in Azure, `pace` the one by which the time
        between two light faults is longer than `_GAP`.
        """
        self._system = system
        self._rng = rng
        self._say = say
        self._spare_host = spare_host
        self._scale = scale
        self._pace = pace
        self._next_end = 0.0
        self._began = time.monotonic()
        self.injected = Counter[str]()
        """How often, by kind."""
        self.ended_at: list[datetime] = []
        """When the host has ended."""
        self.ends: list[float] = []
        """The same in seconds from the beginning."""
        self.restarts = 0
        """Programs that were started again."""

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        light = (self._kill_server, self._cut_sessions, self._cut_sessions)
        # Azurite's own start is not scaled, so a short outage ends a slow machine's host now and then.
        heavy = (self._kill_host, self._take_storage_away, self._take_storage_away_for_long, self._kill_worker)
        turn = 0
        while True:
            for inject in self._rng.sample(light, len(light)):
                if stop.wait(self._rng.uniform(*_GAP) * self._pace):
                    return
                inject(stop)
            if time.monotonic() >= self._next_end and not self._spare_host.is_set():
                heavy[turn % len(heavy)](stop)
                turn += 1
                self._next_end = time.monotonic() + _BETWEEN_ENDS / self._scale

    def _kill_host(self, _: threading.Event) -> None:
        self._note("host killed")
        self.note_end()
        self._system.kill_host()
        self._system.start_host()
        self.restarts += 1

    def _kill_worker(self, _: threading.Event) -> None:
        if self._system.kill_worker():
            self._note("worker killed")
            self.restarts += 1

    def _kill_server(self, stop: threading.Event) -> None:
        name, server = self._source()
        self._note("server killed", name)
        server.kill()
        stop.wait(self._rng.uniform(*_AWAY) * self._pace)
        server.start()
        self.restarts += 1

    def _cut_sessions(self, stop: threading.Event) -> None:
        name, server = self._source()
        for _ in range(int(_SESSION_WITHIN / 0.1)):
            if server.process.cut():
                self._note("connections cut", name)
                return
            if stop.wait(0.1):
                return

    def _take_storage_away(self, stop: threading.Event) -> None:
        self._note("storage away")
        self._outage(_OUTAGE, stop)

    def _take_storage_away_for_long(self, stop: threading.Event) -> None:
        self._note("storage away for long")
        self._outage(_LONG_OUTAGE, stop)

    def _outage(self, seconds: float, stop: threading.Event) -> None:
        """Stop Azurite in good order: killed, it would lose what it had confirmed, which Azure Storage never does."""
        self._system.storage.stop()
        try:
            stop.wait(seconds / self._scale)
        finally:
            self._system.storage.start()
        self.restarts += 1

    def _source(self) -> tuple[str, Server]:
        return self._rng.choice(list(self._system.sources.items()))

    def note_end(self) -> None:
        """Note that the host has ended just now, killed here or by itself."""
        self.ended_at.append(datetime.now(UTC))
        self.ends.append(time.monotonic() - self._began)

    def _note(self, kind: str, where: str = "") -> None:
        self.injected[kind] += 1
        self._say(f"fault: {kind} {where}".rstrip())
