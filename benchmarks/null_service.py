"""`python -m benchmarks.null_service`: a blob service that stores nothing, to measure only the speed of its client.

It answers every PUT with 201, and stores only names and lengths, which rclone requests.
"""

import re
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

_END = b"\r\n\r\n"
_BUFFER = 2**20
_EMPTY_LIST = b'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs /><NextMarker /></EnumerationResults>'
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class _NullService:
    """State that all connections share."""

    def __init__(self) -> None:
        self._staged: dict[str, int] = defaultdict(int)
        self._committed: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, length: int) -> tuple[str, int, bytes]:
        """Return the status, the Content-Length, and the body."""
        url = urlsplit(target)
        asked = parse_qs(url.query).get("comp", [""])[0]
        with self._lock:
            if method == "PUT":
                if asked == "block":
                    self._staged[url.path] += length
                else:
                    self._committed[url.path] = self._staged.pop(url.path, 0) if asked == "blocklist" else length
                return "201 Created", 0, b""
            if method == "GET" and asked == "list":
                return "200 OK", len(_EMPTY_LIST), _EMPTY_LIST
            if url.path.count("/") == 2 or url.path in self._committed:
                return "200 OK", self._committed.get(url.path, 0), b""
        return "404 Not Found", 0, b""


def _serve(connection: socket.socket, service: _NullService) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer, left = memoryview(bytearray(_BUFFER)), b""
    with connection:
        while True:
            while _END not in left:
                received = connection.recv_into(buffer)
                if not received:
                    return
                left += buffer[:received]
            head, _, left = left.partition(_END)
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            match = _LENGTH.search(head)
            length = int(match[1]) if match else 0
            missing, left = length - len(left), left[length:]
            while missing > 0 and (received := connection.recv_into(buffer, min(missing, _BUFFER))):
                missing -= received
            status, announced, body = service.answer(method, target, length)
            connection.sendall(_head(status, announced) + body)


def _head(status: str, length: int) -> bytes:
    code = "x-ms-error-code: BlobNotFound\r\n" if status.startswith("404") else ""
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Type: application/xml\r\n{code}"
        f'ETag: "0x1"\r\nLast-Modified: {formatdate(usegmt=True)}\r\nx-ms-blob-type: BlockBlob\r\n'
        "x-ms-request-id: 0\r\nx-ms-version: 2021-12-02\r\nx-ms-request-server-encrypted: true\r\n\r\n"
    ).encode()


@contextmanager
def null_service() -> Iterator[tuple[int, int]]:
    """Run the service in its own process. Yield its port and process ID."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.null_service"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield (int(process.stdout.readline()) if process.stdout else 0), process.pid
        finally:
            # The service ends when its standard input is closed.
            process.communicate()


def main() -> int:
    """Print the port, then serve until stdin ends."""
    listener, service = socket.create_server(("127.0.0.1", 0)), _NullService()
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, service), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
