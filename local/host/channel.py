"""Messages between a host and its worker processes: pickled values, each behind its length, over a socket."""

import asyncio
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct(">I")


class Channel:
    """One end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: object) -> None:
        """Send a message; nothing happens if the other end is gone, which its reader notices."""
        content = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> Any:
        """Return the next message. Raises EOFError once the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            # The other end is a process of ours that runs the same code.
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301
        except (asyncio.IncompleteReadError, ConnectionError) as exc:
            raise EOFError from exc

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
