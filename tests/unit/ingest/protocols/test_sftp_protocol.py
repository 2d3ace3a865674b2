"""Answers of SFTP servers are bounded, whatever the servers claim."""

import struct
from collections.abc import Callable
from typing import cast

import paramiko
import pytest

from ingest.protocols.sftp_protocol import ProtocolError, SftpSession

_STAT, _EXTENDED, _VERSION, _ATTRS, _EXTENDED_REPLY = 17, 200, 2, 105, 201
_LIMITS = b"limits@openssh.com"


class Channel:
    """The server's end: answers each request with the result of `answer` for its kind and number."""

    def __init__(self, answer: Callable[[int, int], bytes]) -> None:
        self._answer = answer
        self._greeted = False
        self._out = b""

    def sendall(self, data: bytes) -> None:
        """Take one request, or the greeting."""
        if self._greeted:
            _, kind, number = struct.unpack_from(">LBL", data)
            self._say(self._answer(kind, number))
        else:
            self._greeted = True
            name, value = (struct.pack(">L", len(text)) + text for text in (_LIMITS, b"1"))
            self._say(struct.pack(">BL", _VERSION, 3) + name + value)

    def recv(self, length: int) -> bytes:
        """Return the answers."""
        given, self._out = self._out[:length], self._out[length:]
        return given

    def _say(self, message: bytes) -> None:
        self._out += struct.pack(">L", len(message)) + message


def session(answer: Callable[[int, int], bytes]) -> SftpSession:
    return SftpSession(cast(paramiko.Channel, Channel(answer)), timeout=5)


@pytest.mark.parametrize(
    ("granted", "asked"), [(0, 32 * 1024), (1, 4 * 1024), (40_000, 40_000), (261_120, 261_120), (2**63, 261_120)]
)
def test_reads_are_as_long_as_the_server_grants_within_bounds(granted: int, asked: int) -> None:
    """Otherwise a server that sends single bytes would get sixteen million requests at once."""

    def limits(kind: int, number: int) -> bytes:
        assert kind == _EXTENDED
        return struct.pack(">BLQQQQ", _EXTENDED_REPLY, number, 2**18, granted, 0, 0)

    assert session(limits).longest_read() == asked


@pytest.mark.parametrize("away", [-1, 1])
def test_an_answer_that_nobody_asked_for_is_not_kept(away: int) -> None:
    there = session(lambda _, number: struct.pack(">BLL", _ATTRS, number + away, 0))
    with pytest.raises(ProtocolError, match="is not outstanding"):
        there.stat(b"a.zip")
