"""A TCP proxy before a real server, which breaks connections on purpose."""

import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from local.servers.child import HOST

_CHUNK = 2**16
_LOOK_UP = 0.1
"""Seconds after which a link sees that the proxy closes."""
_TRICKLE = 0.05
"""Seconds between two bytes of a connection that trickles."""


class How(Enum):
    """The fault of a connection."""

    CUT = "cut"
    """It is closed in order, but early."""
    RESET = "reset"
    STALL = "stall"
    """No more bytes come, and it stays open."""
    TRICKLE = "trickle"
    """Single bytes come now and then."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault occurs after this many bytes from the server."""

    how: How
    after: int = 0


class TcpProxy:
    """Passes connections on to a port of this machine; each of `faults` applies to one connection, in their order."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self._listener = socket.create_server((HOST, 0))
        self._threads = list[threading.Thread]()
        self.closing = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.faults: deque[Fault] = deque()
        self.sent = 0
        """Bytes that the server sent."""
        self.connections = 0

    def __enter__(self) -> Self:
        self.spawn(self._serve)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def spawn(self, work: Callable[..., None], *arguments: object) -> None:
        """Work in a thread that ends with the proxy."""
        thread = threading.Thread(target=work, args=arguments, name=f"proxy-{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        fault = self.faults.popleft() if self.faults else None
        with connect(self.upstream) as server:
            _FaultyLink(self, client, server, fault).run()

    def _serve(self) -> None:
        while (client := accept(self._listener, self.closing)) is not None:
            self.connections += 1
            self.spawn(self._guarded, client)

    def _guarded(self, client: socket.socket) -> None:
        # Either side may close at any time, as the tests intend.
        with client, suppress(OSError):
            self.serve(client)


class Link:
    """Two sockets whose bytes are passed on in both directions, until one side closes or the fault occurs.

    One thread serves both directions, because a reset needs a socket that no other thread waits on.
    """

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server

    def fault(self) -> Fault | None:
        """Choose the fault of this connection; called after each read from the server until it returns one."""
        return None

    def up(self, part: bytes) -> bytes:
        """Change the bytes that the client sends. An OSError closes the connection."""
        return part

    def down(self, part: bytes) -> bytes:
        """Change the bytes that the server sends. An OSError closes the connection."""
        return part

    def run(self) -> None:
        """Pass bytes on."""
        passed, fault = 0, None
        while (ready := self._wait(self.client, self.server)) is not None:
            if self.client in ready:
                part = self.client.recv(_CHUNK)
                if not part:
                    return
                self.server.sendall(self.up(part))
            if self.server in ready:
                part = self.server.recv(_CHUNK)
                if not part:
                    return
                part, fault = self.down(part), fault or self.fault()
                if fault and passed + len(part) > fault.after:
                    self.client.sendall(part[: fault.after - passed])
                    self._strike(fault.how, part[fault.after - passed :])
                    return
                self.client.sendall(part)
                passed += len(part)

    def _strike(self, how: How, left: bytes) -> None:
        if how is How.RESET:
            reset(self.client)
        elif how is How.STALL:
            while (ready := self._wait(self.client)) is not None and not (ready and not self.client.recv(_CHUNK)):
                pass
        elif how is How.TRICKLE:
            self._trickle(left)

    def _trickle(self, left: bytes) -> None:
        while not self.proxy.closing.wait(_TRICKLE):
            for ready in select.select([self.client] if left else [self.client, self.server], [], [], 0)[0]:
                part = ready.recv(_CHUNK)
                if not part:
                    return
                if ready is self.client:
                    self.server.sendall(self.up(part))
                else:
                    left = part
            self.client.sendall(left[:1])
            left = left[1:]

    def _wait(self, *sockets: socket.socket) -> list[socket.socket] | None:
        """Wait until one can be read; None when the proxy closes."""
        ready: list[socket.socket] = []
        while not ready:
            if self.proxy.closing.is_set():
                return None
            ready = select.select(sockets, [], [], _LOOK_UP)[0]
        return ready


class _FaultyLink(Link):
    """A link with a fault of its own, whose bytes are counted."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket, fault: Fault | None) -> None:
        super().__init__(proxy, client, server)
        self._fault = fault

    def fault(self) -> Fault | None:
        return self._fault

    def down(self, part: bytes) -> bytes:
        self.proxy.sent += len(part)
        return part


def connect(port: int) -> socket.socket:
    """Reach a port of this machine."""
    return socket.create_connection((HOST, port), 20)


def accept(listener: socket.socket, closing: threading.Event) -> socket.socket | None:
    """Wait for a connection; None when the proxy closes."""
    listener.settimeout(_LOOK_UP)
    while not closing.is_set():
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        client.settimeout(None)
        return client
    return None


def reset(connection: socket.socket) -> None:
    """Make closing a connection a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
