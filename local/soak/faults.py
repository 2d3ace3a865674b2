"""What goes wrong during the soak: kills, cuts and outages, in an order that a seed gives."""

import threading
from collections import Counter
from collections.abc import Callable
from random import Random

from local.servers import Server
from local.system import System

_GAP = (1.0, 5.0)
_AWAY = (0.3, 3.0)
_SESSION_WITHIN = 6.0
"""Seconds to wait for a session that can be cut: between two polls there is none."""


KINDS = ("host killed", "server killed", "connections cut", "storage away")


class Faults:
    """Injects one fault after the other; what it stopped it starts again."""

    def __init__(self, system: System, rng: Random, say: Callable[[str], None], spare_host: threading.Event) -> None:
        """Once `spare_host` is set the host lives on, so that its memory can be watched."""
        self._system = system
        self._rng = rng
        self._say = say
        self._spare_host = spare_host
        self.injected = Counter[str]()
        """How often, by kind."""
        self.restarts = 0
        """Programs that were started again."""

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        kinds = (self._kill_host, self._kill_server, self._cut_sessions, self._cut_sessions, self._take_storage_away)
        while True:
            for inject in self._rng.sample(kinds, len(kinds)):
                if stop.wait(self._rng.uniform(*_GAP)):
                    return
                if inject != self._kill_host or not self._spare_host.is_set():
                    inject(stop)

    def _kill_host(self, _: threading.Event) -> None:
        self._note("host killed")
        self._system.restart_host()
        self.restarts += 1

    def _kill_server(self, stop: threading.Event) -> None:
        name, server = self._source()
        self._note("server killed", name)
        server.kill()
        stop.wait(self._rng.uniform(*_AWAY))
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
        """Stop Azurite in good order: killed, it would lose what it had confirmed, which Azure Storage never does."""
        self._note("storage away")
        self._system.storage.stop()
        try:
            stop.wait(self._rng.uniform(*_AWAY))
        finally:
            self._system.storage.start()
        self.restarts += 1

    def _source(self) -> tuple[str, Server]:
        return self._rng.choice(list(self._system.sources.items()))

    def _note(self, kind: str, where: str = "") -> None:
        self.injected[kind] += 1
        self._say(f"fault: {kind} {where}".rstrip())
