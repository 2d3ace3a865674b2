"""Messages between a process and its decoding child: JSON followed by bytes. Not pickle: a child cannot be trusted."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any

_LENGTHS = struct.Struct("<LQ")
_MOST_JSON = 2**20
MOST_TEXT = 100_000
"""Characters of a reason or a log line. They fit into `_MOST_JSON` even if all are escaped."""
_CHUNK = 2**20


class Channel:
    """One end of a socket pair."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, message: Mapping[str, Any], payload: memoryview | bytes = b"", seconds: float | None = None) -> None:
        """Send a message within `seconds`. Raises TimeoutError, or OSError if the other end is gone."""
        text = json.dumps(message).encode()
        until = _moment(seconds)
        for part in (_LENGTHS.pack(len(text), len(payload)) + text, payload):
            self._socket.settimeout(_rest(until))
            self._socket.sendall(part)

    def receive(self, most: int, seconds: float | None = None) -> tuple[Mapping[str, Any], BytesIO]:
        """Receive a message with a payload of at most `most` bytes, within `seconds`.

        Raises TimeoutError, EOFError or OSError if the other end is gone, and ValueError if the message is invalid.
        """
        until = _moment(seconds)
        text, payload = _LENGTHS.unpack(self._bytes(_LENGTHS.size, until).getvalue())
        if text > _MOST_JSON or payload > most:
            raise ValueError(f"a message of {text} and {payload} bytes is too long")
        message = json.loads(self._bytes(text, until).getvalue())
        if not isinstance(message, dict):
            raise ValueError("a message is not a JSON object")  # noqa: TRY004 # as for all that the other end gets wrong
        return message, self._bytes(payload, until)

    def close(self) -> None:
        """Close the socket, which ends the stream for the other end."""
        self._socket.close()

    def _bytes(self, count: int, until: float | None) -> BytesIO:
        content = BytesIO()
        while content.tell() < count:
            self._socket.settimeout(_rest(until))
            chunk = self._socket.recv(min(_CHUNK, count - content.tell()))
            if not chunk:
                raise EOFError
            content.write(chunk)
        content.seek(0)
        return content


def _moment(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _rest(until: float | None) -> float | None:
    """Return seconds until `until`, always above 0: with a timeout of 0 a socket raises BlockingIOError instead."""
    return None if until is None else max(until - time.monotonic(), 1e-6)
