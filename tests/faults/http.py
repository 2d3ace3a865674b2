"""A proxy before Azurite, which answers requests itself, or breaks the connection in the middle of one."""

import json
import re
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from tests.faults.tcp import TcpProxy, connect, reset

_CHUNK = 2**16
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the storage service."""

    method: str
    path: str
    operation: str
    """`comp` of the query: `block`, `blocklist`, `lease`, …"""

    @property
    def kind(self) -> str:
        """The operation on which container or table."""
        where = re.match(r"/\w+/(\w+)", self.path)
        return f"{self.method} {where[1] if where else '/'} {self.operation}".rstrip()


class Break(Enum):
    """The fault of a request."""

    UPLOAD = "in the middle of what is sent"
    DOWNLOAD = "in the middle of what is answered"
    STALL = "no answer"
    DAMAGE = "something else arrives than was sent, and is answered"
    SWAP = "the answer to the request before this one, which was not swapped"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status instead of the service's; `done`: the service still executes the request, but its answer is dropped."""

    status: int
    code: str
    done: bool = False


type Chooser = Callable[[Request], Answer | Break | None]


class HttpProxy(TcpProxy):
    """Calls `choose` for the fault of each request; None passes it on. `requests` has all requests."""

    def __init__(self, upstream: int, *, of_tables: bool = False) -> None:
        super().__init__(upstream)
        self._of_tables = of_tables
        self.choose: Chooser = lambda _: None
        self.requests: list[Request] = []
        self.names_requests = True
        """Whether answers name the request to which they belong."""
        self._before = b""

    def serve(self, client: socket.socket) -> None:
        """Serve one connection; it ends with its first answer, and the SDK makes another."""
        head, body = _read_head(client)
        request = _parse(head)
        self.requests.append(request)
        decision = self.choose(request)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        missing = (int(length[1]) if length else 0) - len(body)
        if decision is Break.UPLOAD:
            client.recv(max(missing // 2, 1))
            return reset(client)
        while missing > 0 and (part := client.recv(min(missing, _CHUNK))):
            body, missing = body + part, missing - len(part)
        if decision is Break.STALL:
            return self._stall(client)
        if decision is Break.DAMAGE:
            body = bytes([body[0] ^ 1]) + body[1:]
        answer = b""
        if not isinstance(decision, Answer) or decision.done:
            answer = self._ask(head, body)
        if not self.names_requests:
            answer = re.sub(rb"(?i)\r\nx-ms-client-request-id: [^\r]*", b"", answer)
        if decision is Break.SWAP:
            answer = self._before
        self._before = answer
        if isinstance(decision, Answer):
            answer = _answer(decision, of_tables=self._of_tables)
        if decision is Break.DOWNLOAD:
            client.sendall(answer[: len(answer) // 2])
            return reset(client)
        return client.sendall(answer)

    def _ask(self, head: bytes, body: bytes) -> bytes:
        head = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head).replace(_END, b"\r\nConnection: close" + _END)
        with connect(self.upstream) as server:
            server.sendall(head + body)
            parts = []
            while part := server.recv(_CHUNK):
                parts.append(part)
        return b"".join(parts)

    def _stall(self, client: socket.socket) -> None:
        while not self.closing.is_set():
            if select.select([client], [], [], 0.1)[0] and not client.recv(_CHUNK):
                return


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    came = b""
    while _END not in came:
        part = client.recv(_CHUNK)
        if not part:
            raise ConnectionAbortedError("no request")
        came += part
    head, _, body = came.partition(_END)
    return head + _END, body


def _parse(head: bytes) -> Request:
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    url = urlsplit(target)
    return Request(method, url.path, parse_qs(url.query).get("comp", [""])[0])


def _answer(answer: Answer, *, of_tables: bool) -> bytes:
    kind, body = "application/xml", f"<Error><Code>{answer.code}</Code><Message>made up</Message></Error>"
    if of_tables:
        kind = "application/json"
        body = json.dumps({"odata.error": {"code": answer.code, "message": {"lang": "en", "value": "made up"}}})
    head = (
        f"HTTP/1.1 {answer.status} made up\r\nx-ms-error-code: {answer.code}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return (head + body).encode()
