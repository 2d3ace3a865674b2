"""The part of SFTP (version 3) that reading needs, over an SSH channel.

paramiko's own client fails a whole listing for one name that is not UTF-8. Its read-ahead is unbounded, polls, and can
hang after an error. Its channels have none of these faults.
https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02
"""

import re
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import batched

import paramiko

from ingest.protocols.pace import Pace

_INIT, _VERSION, _OPEN, _CLOSE, _OPENDIR, _READDIR, _READ, _STAT, _EXTENDED = 1, 2, 3, 4, 11, 12, 5, 17, 200
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED_REPLY = 101, 102, 103, 104, 105, 201
_LIMITS = b"limits@openssh.com"
_LONGEST_READ = 32 * 1024
"""Bytes of one READ that every server must support."""
_MIN_READ = 4 * 1024
"""Smallest READ in bytes, if a server advertises a tiny maximum. Short replies are requested again."""
_MAX_READ = 255 * 1024
"""OpenSSH's maximum READ in bytes. More would only increase what is lost when a connection breaks."""
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 1, 2, 4, 8, 0x8000_0000
_FOR_READING = 1
_HEADER = struct.Struct(">LBL")
_LONGEST_ANSWER = 2**20
"""Maximum bytes of a reply. OpenSSH's have at most 256 KiB. A longer one is shell output, not SFTP."""
_RECEIVE = 2**20
"""Bytes per receive. Each call moves the channel's whole buffer, so small receives are slow. Larger ones only take more
memory."""
_LONG_NAME = re.compile(rb"([-dlbcpsD])[-rwxsStTlL]{9}")
_OTHERS = (stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0o150000, 0o160000)
"""Types of what is no file; the last two are Solaris's doors and ports."""
_LARGEST = 2**63 - 1
"""Sizes are unsigned, so that a server which does not know one, and sends -1, sends a larger number."""
_TYPES = {b"-": stat.S_IFREG, b"d": stat.S_IFDIR, b"l": stat.S_IFLNK}
_STATS = 64
"""Outstanding requests for attributes. OpenSSH's own client sends as many."""
_FOLDER_READS = 8
"""Outstanding READDIR requests while a folder is read. Each reply has about a hundred names."""

EOF, NO_SUCH_FILE, PERMISSION_DENIED = 1, 2, 3


class StatusError(Exception):
    """Error status in a server's reply to a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message or f"status {code}")
        self.code = code


class ProtocolError(Exception):
    """Reply that violates the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Attributes of a file; None if the server does not send them. `modified`: seconds since 1970."""

    size: int | None
    mode: int | None
    modified: int | None

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self._type == stat.S_IFLNK

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self._type == stat.S_IFDIR

    @property
    def may_be_file(self) -> bool:
        """Whether it is a regular file, or of no known type."""
        return self._type not in _OTHERS

    @property
    def is_sufficient(self) -> bool:
        """Whether nothing is missing: a link's size and time are not those of its file."""
        if self.is_link or not self._type:
            return False
        return not self.may_be_file or None not in (self.size, self.modified)

    def completed_by(self, other: "Attributes") -> "Attributes":
        """Return these attributes, and those of `other` where one is missing."""
        return Attributes(
            size=other.size if self.size is None else self.size,
            mode=self.mode if self._type else other.mode,
            modified=other.modified if self.modified is None else self.modified,
        )

    @property
    def _type(self) -> int:
        return stat.S_IFMT(self.mode or 0)


class _Fields:
    """Sequential reader of the fields of a message."""

    def __init__(self, message: memoryview) -> None:
        self._message = message
        self._at = 0

    def number(self, kind: str = ">L") -> int:
        try:
            (value,) = struct.unpack_from(kind, self._message, self._at)
        except struct.error as exc:
            raise ProtocolError("a reply of the server is too short for its fields") from exc
        self._at += struct.calcsize(kind)
        return int(value)

    def text(self) -> bytes:
        return bytes(self.view())

    def view(self) -> memoryview:
        length = self.number()
        self._at += length
        if self._at > len(self._message):
            raise ProtocolError("a reply of the server is too short for its fields")
        return self._message[self._at - length : self._at]

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.number(">Q") if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            self.number(">Q")
        mode = self.number() if flags & _HAS_MODE else None
        modified = (self.number(), self.number())[1] if flags & _HAS_TIMES else None
        for _ in range(2 * self.number() if flags & _HAS_MORE else 0):
            self.text()
        return Attributes(size=size if (size or 0) <= _LARGEST else None, mode=mode, modified=modified)


class SftpSession:
    """One SFTP session on its own channel. Not thread-safe."""

    def __init__(self, channel: paramiko.Channel, timeout: float) -> None:
        """Begin the session. `timeout`: the channel's time-out in seconds."""
        self._channel = channel
        self._timeout = timeout
        self._pace = Pace(timeout)
        self._number = 0
        self._awaited = set[int]()
        """Numbers of outstanding requests."""
        self._answers: dict[int, tuple[int, memoryview]] = {}
        self._received = memoryview(b"")
        channel.sendall(struct.pack(">LBL", 5, _INIT, 3))
        kind, hello = self._receive()
        if kind != _VERSION:
            raise ProtocolError(f"the server began with message type {kind} instead of {_VERSION} (SSH_FXP_VERSION)")
        self._has_limits = _LIMITS in bytes(hello)
        self._longest_read = 0

    def close(self) -> None:
        """Close the session and discard outstanding replies."""
        self._channel.close()

    def read_folder(self, path: bytes) -> Iterator[tuple[bytes, Attributes]]:
        """Yield every name in a folder with its attributes. Links are not followed.

        Raises StatusError if the folder cannot be read, or after the names that came before the server gave up.
        """
        handle = self._expect(self._ask(_OPENDIR, _text(path)), _HANDLE).text()
        asked = self.ask_all(_READDIR, [_text(handle)] * _FOLDER_READS)
        end: StatusError | None = None
        while asked:
            try:
                fields = self._expect(asked.pop(0), _NAME)
            except StatusError as exc:
                end = end or exc
                continue
            if not end:
                asked += self.ask_all(_READDIR, [_text(handle)])
            for _ in range(fields.number()):
                name, long_name = fields.text(), fields.text()
                yield name, _with_type(fields.attributes(), long_name)
        self.close_file(handle)
        if end and end.code != EOF:
            raise end

    def stat(self, path: bytes) -> Attributes:
        """Return a file's attributes. Links are followed. Raises StatusError if there is no such file."""
        return self._expect(self._ask(_STAT, _text(path)), _ATTRS).attributes()

    def stat_all(self, paths: Sequence[bytes]) -> Iterator[Attributes | StatusError]:
        """Yield the attributes of each file, or the error of the server. Links are followed."""
        for some in batched(paths, _STATS, strict=False):
            for number in self.ask_all(_STAT, [_text(path) for path in some]):
                try:
                    yield self._expect(number, _ATTRS).attributes()
                except StatusError as exc:
                    yield exc

    def open_file(self, path: bytes) -> bytes:
        """Open a file for reading and return its handle."""
        return self._expect(self._ask(_OPEN, _text(path) + struct.pack(">LL", _FOR_READING, 0)), _HANDLE).text()

    def close_file(self, handle: bytes) -> None:
        """Close a handle."""
        self._answer(self._ask(_CLOSE, _text(handle)))

    def longest_read(self) -> int:
        """Return the maximum bytes of one READ, as the server advertises it. Some servers hang up on larger ones."""
        if not self._longest_read:
            granted = self._ask_limit() if self._has_limits else 0
            self._longest_read = max(_MIN_READ, min(granted or _LONGEST_READ, _MAX_READ))
        return self._longest_read

    def _ask_limit(self) -> int:
        """Request the server's maximum READ in bytes; 0 if it has none or rejects the request."""
        try:
            fields = self._expect(self._ask(_EXTENDED, _text(_LIMITS)), _EXTENDED_REPLY)
        except StatusError:
            return 0
        return (fields.number(">Q"), fields.number(">Q"))[1]

    def ask_to_read(self, handle: bytes, spans: list[tuple[int, int]]) -> list[int]:
        """Request spans (offset, length) of a file in one send; return the request numbers for `read_answer`."""
        return self.ask_all(_READ, [_text(handle) + struct.pack(">QL", *span) for span in spans])

    def read_answer(self, number: int) -> memoryview:
        """Wait for a span and return its bytes: perhaps fewer than requested, empty at the end of the file."""
        try:
            return self._expect(number, _DATA).view()
        except StatusError as exc:
            if exc.code == EOF:
                return memoryview(b"")
            raise

    def ask_all(self, kind: int, bodies: list[bytes]) -> list[int]:
        """Send requests of one type in one send and return their numbers."""
        first = self._number + 1
        self._number += len(bodies)
        numbers = list(range(first, self._number + 1))
        self._awaited.update(numbers)
        requests = (_HEADER.pack(len(body) + 5, kind, n) + body for n, body in zip(numbers, bodies, strict=True))
        self._channel.sendall(b"".join(requests))
        return numbers

    def _ask(self, kind: int, body: bytes) -> int:
        # A single request waits a whole round trip, so the minimum rate starts anew. Pipelined requests share it.
        self._pace = Pace(self._timeout)
        return self.ask_all(kind, [body])[0]

    def _expect(self, number: int, kind: int) -> _Fields:
        """Wait for a request's reply and return its fields. Raises StatusError, or ProtocolError for any other type."""
        answered, body = self._answer(number)
        fields = _Fields(body)
        if answered == _STATUS:
            code = fields.number()
            raise StatusError(code, fields.text().decode("utf-8", "replace") if len(body) > 4 else "")
        if answered != kind:
            raise ProtocolError(f"the server replied with message type {answered} instead of {kind}")
        return fields

    def _answer(self, number: int) -> tuple[int, memoryview]:
        while number not in self._answers:
            kind, message = self._receive()
            answered = int.from_bytes(message[:4])
            if answered not in self._awaited:
                # Replies without a request would never be collected, so they would fill the memory.
                raise ProtocolError(f"the server replied to request {answered}, which is not outstanding")
            self._awaited.discard(answered)
            self._answers[answered] = (kind, message[4:])
        return self._answers.pop(number)

    def _receive(self) -> tuple[int, memoryview]:
        length = int.from_bytes(self._take(4))
        if not 5 <= length <= _LONGEST_ANSWER:
            raise ProtocolError(f"a message of {length} bytes is not SFTP: does the server's login shell print text?")
        message = self._take(length)
        return message[0], message[1:]

    def _take(self, length: int) -> memoryview:
        """Return exactly `length` bytes."""
        if len(self._received) < length:
            self._received = self._receive_on(length)
        taken, self._received = self._received[:length], self._received[length:]
        return taken

    def _receive_on(self, length: int) -> memoryview:
        """Receive until at least `length` bytes are buffered, and return them all."""
        parts = [self._received]
        while (missing := length - sum(map(len, parts))) > 0:
            began = time.monotonic()
            parts.append(memoryview(self._channel.recv(max(missing, _RECEIVE))))
            self._pace.note(began, len(parts[-1]))
            if not parts[-1]:
                raise EOFError("the server closed the session")
        return memoryview(b"".join(parts)) if len(parts) > 2 or parts[0] else parts[-1]


def _with_type(attributes: Attributes, long_name: bytes) -> Attributes:
    """Add the type of a file from its long name, which looks like a line of `ls -l`, if its mode lacks one."""
    match = _LONG_NAME.match(long_name)
    if match is None or (attributes.mode is not None and stat.S_IFMT(attributes.mode)):
        return attributes
    return replace(attributes, mode=(attributes.mode or 0) | _TYPES.get(match[1], stat.S_IFCHR))


def _text(value: bytes) -> bytes:
    return struct.pack(">L", len(value)) + value
