"""A proxy before an FTP server, for control and passive data connections; it can send replies of its own."""

import re
import socket
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress

from local.servers.child import HOST
from tests.faults.tcp import Fault, Link, TcpProxy, accept, connect

_PASSIVE = re.compile(rb"227 .*?\((?:\d+,){4}(\d+),(\d+)\)")


class FtpProxy(TcpProxy):
    """`faults` apply to control connections, `data` to the data connections of a command; each applies once."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.data: dict[str, deque[Fault]] = defaultdict(deque)
        self.answers: dict[str, deque[str]] = defaultdict(deque)
        """Replies that the proxy sends instead of passing a command on; 421 closes the connection."""
        self.replies: dict[str, deque[str]] = defaultdict(deque)
        """Text sent instead of the server's reply with a code; an empty text closes the connection."""
        self.rewrite: dict[str, Callable[[bytes], bytes]] = {}
        """The fault of a command's data connection."""
        self.received: dict[str, int] = defaultdict(int)
        """Bytes that the server sent over data connections, by command."""

    def serve(self, client: socket.socket) -> None:
        """Serve one control connection."""
        fault = self.faults.popleft() if self.faults else None
        with connect(self.upstream) as server:
            _Control(self, client, server, fault).run()


class _Control(Link):
    """A control connection."""

    def __init__(self, ftp: FtpProxy, client: socket.socket, server: socket.socket, fault: Fault | None) -> None:
        super().__init__(ftp, client, server)
        self.ftp = ftp
        self.command = ""
        self._fault = fault

    def fault(self) -> Fault | None:
        return self._fault

    def up(self, part: bytes) -> bytes:
        """Read a command; ftplib sends each in one piece and waits for its answer."""
        self.command = part.split()[0].decode()
        if not self.ftp.answers[self.command]:
            return part
        answer = self.ftp.answers[self.command].popleft()
        self.client.sendall(f"{answer}\r\n".encode())
        if answer.startswith("421"):
            raise ConnectionAbortedError(answer)
        return b""

    def down(self, part: bytes) -> bytes:
        """Pass replies on, with the requested changes."""
        return b"".join(self._reply(line) for line in part.splitlines(keepends=True))

    def _reply(self, line: bytes) -> bytes:
        if passive := _PASSIVE.match(line):
            return self._open_data(256 * int(passive[1]) + int(passive[2]))
        if not self.ftp.replies[line[:3].decode()]:
            return line
        reply = self.ftp.replies[line[:3].decode()].popleft()
        if not reply:
            raise ConnectionAbortedError("the control connection dies")
        return f"{reply}\r\n".encode()

    def _open_data(self, upstream: int) -> bytes:
        listener = socket.create_server((HOST, 0))
        port: int = listener.getsockname()[1]
        self.ftp.spawn(self._serve_data, listener, upstream)
        return f"227 Entering Passive Mode (127,0,0,1,{port // 256},{port % 256})\r\n".encode()

    def _serve_data(self, listener: socket.socket, upstream: int) -> None:
        with listener:
            client = accept(listener, self.ftp.closing)
        if client is None:
            return
        # The side that closes first ends it; the server may have done so before a client came.
        with client, suppress(OSError), connect(upstream) as server:
            _Data(self, client, server).run()


class _Data(Link):
    """A data connection. Which command it belongs to is known once bytes come."""

    def __init__(self, control: _Control, client: socket.socket, server: socket.socket) -> None:
        super().__init__(control.ftp, client, server)
        self._control = control
        self._ftp = control.ftp

    def fault(self) -> Fault | None:
        waiting = self._ftp.data[self._control.command]
        return waiting.popleft() if waiting else None

    def down(self, part: bytes) -> bytes:
        command = self._control.command
        self._ftp.received[command] += len(part)
        return self._ftp.rewrite[command](part) if command in self._ftp.rewrite else part
