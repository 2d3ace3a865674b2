"""Messages between a host and its worker processes: pickled values with a length prefix, over a socket."""

import asyncio
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct(">I")


class Channel:
    """One end of the socket between host and worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: object) -> None:
        """Send a message. A closed connection raises no error here; `receive` reports it."""
        content = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> Any:
        """Return the next message. Raises EOFError if the other end has closed."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            # Safe to unpickle, because the other end is a child process with the same code.
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301
        except (asyncio.IncompleteReadError, ConnectionError) as exc:
            raise EOFError from exc

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
