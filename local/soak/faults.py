"""Inject faults during the soak: kills, cut connections and outages, in an order that depends on the seed."""

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
"""Seconds to wait for a session that can be cut; between two polls there is none."""
_OUTAGE, _LONG_OUTAGE = 10.0, 60.0
"""Duration of outages of storage in seconds, before scaling; the long one ends the host."""
_BETWEEN_ENDS = 180.0
"""Seconds between two ends of the host, before scaling; after each, timers pause for one minute."""

KINDS = (
    "host killed", "worker killed", "server killed", "connections cut", "storage away", "storage away for long",
)  # fmt: skip


class Faults:
    """Injects one fault after the other, and restarts what it stopped."""

    def __init__(
        self,
        system: System,
        rng: Random,
        say: Callable[[str], None],
        spare_host: threading.Event,
        scale: float,
        pace: float,
    ) -> None:
        """Set up. `spare_host` stops faults that end the host or a worker, so that their memory can be measured.

        `scale` divides the durations of outages and pauses, like the host's intervals. `pace` multiplies the time
        between two light faults, `_GAP`, and the time that a killed server is away, `_AWAY`.
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
        """Number of faults by kind."""
        self.ended_at: list[datetime] = []
        """Times at which the host ended."""
        self.ends: list[float] = []
        """The same times in seconds from the beginning."""
        self.restarts = 0
        """Number of restarts of programs."""

    def run(self, stop: threading.Event) -> None:
        """Inject faults until `stop` is set."""
        light = (self._kill_server, self._cut_sessions, self._cut_sessions)
        # Azurite's start is not scaled, so on a slow machine even a short outage may end the host.
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
        """Stop and restart Azurite. It is not killed, because it would lose confirmed writes, unlike Azure Storage."""
        self._system.storage.stop()
        try:
            stop.wait(seconds / self._scale)
        finally:
            self._system.storage.start()
        self.restarts += 1

    def _source(self) -> tuple[str, Server]:
        return self._rng.choice(list(self._system.sources.items()))

    def note_end(self) -> None:
        """Record that the host has ended now, by a kill or by itself."""
        self.ended_at.append(datetime.now(UTC))
        self.ends.append(time.monotonic() - self._began)

    def _note(self, kind: str, where: str = "") -> None:
        self.injected[kind] += 1
        self._say(f"fault: {kind} {where}".rstrip())
