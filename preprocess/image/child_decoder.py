"""Decodes a batch's members in a child process, one after the other, so that a crash affects one member only."""

import logging
import os
import signal
import socket
import subprocess  # our own command
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from imagefeed.errors import MemberRefusedError, PermanentError, TransientError
from imagefeed.model import ImageMetadata, RawArchive
from preprocess.image.channel import Channel
from preprocess.image.child import task_of
from preprocess.image.formats import METHODS, printable
from preprocess.image.memory import memory_left
from preprocess.image.pool import PendingMember, Read
from preprocess.model import Image, Limits, Recipe
from preprocess.zip.directory import Member

log = logging.getLogger(f"ingestion.{__name__}")

_COMMAND = (
    "import sys; descriptor = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from preprocess.image.child import main; main(descriptor)"
)
_LEAST_MEMORY = 256 * 2**20
"""Bytes. With less, members would be refused that are not at fault."""
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_MOST_LINE = 2_000


class RefusedInChildError(MemberRefusedError):
    """A member is refused by its child process, or because that died. `kind` is the error's type in a few words."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class ChildDecoder:
    """A Decoder that uses one child process, and replaces it if it dies."""

    def __init__(self, read: Read, archive: RawArchive, recipe: Recipe, limits: Limits) -> None:
        self._read = read
        self._archive = archive
        self._recipe = recipe
        self._limits = limits
        self._child: _Child | None = None
        self._pixels = 0
        """Pixels of all frames so far, of all child processes."""

    def each(self, members: Sequence[Member]) -> Generator[tuple[Member, PendingMember]]:
        """Yield the members in order. The caller must call each pending member before it requests the next."""
        try:
            for member in members:
                yield member, partial(self._pending, member)
        finally:
            self._end()

    def _pending(self, member: Member) -> Iterator[Image] | None:
        content = self._read(member)
        return None if content is None else self._decoded(member, content)

    def _decoded(self, member: Member, content: BytesIO) -> Iterator[Image]:
        child: _Child | None = None
        complete = False
        try:
            child = self._begun(member, content)
            del content
            for message, payload in child.answers():
                if message["kind"] == "image":
                    yield _image(message, payload, member, self._archive)
                else:
                    complete = True
                    self._pixels = int(message["pixels"])
                    _raise_error(message)
        except TimeoutError as exc:
            raise RefusedInChildError(f"it takes longer than LIMIT_SECONDS={self._limits.seconds}", "Timeout") from exc
        except (EOFError, ConnectionError) as exc:
            reason = f"the process that decodes it died: {child.death() if child else exc}"
            raise RefusedInChildError(reason, "ProcessDied") from exc
        except (ValueError, LookupError, TypeError) as exc:
            raise RefusedInChildError(
                f"the process that decodes it sent an invalid answer: {exc}", "ProcessDied"
            ) from exc
        finally:
            # If the caller stops before the last image, the child still sends the others.
            if not complete:
                self._end()

    def _begun(self, member: Member, content: BytesIO) -> "_Child":
        """Send a member to the child, or to a new child if that one died after an earlier member."""
        if self._child is not None and not self._child.lives():
            self._end()
        try:
            return self._sent(member, content)
        except ConnectionError:
            self._end()
            return self._sent(member, content)

    def _sent(self, member: Member, content: BytesIO) -> "_Child":
        child = self._child = self._child or _Child(self._archive, self._recipe, self._limits)
        child.begin(member, self._pixels, content)
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _Child:
    """A child process and the channel to it."""

    def __init__(self, archive: RawArchive, recipe: Recipe, limits: Limits) -> None:
        """Start the process. Raises TransientError, because a failure is not a member's fault."""
        left = memory_left()
        # An eighth is left for the images that it sends back.
        self._memory = None if left is None else left - left // 8
        if self._memory is not None and self._memory < _LEAST_MEMORY:
            raise TransientError(f"start a decoding process: only {left} bytes of memory are left; try again later")
        self._seconds = limits.seconds
        self._left = _START_SECONDS
        began = time.monotonic()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 # every argument is our own
                    [sys.executable, "-c", _COMMAND, str(theirs.fileno()), *sys.path],
                    stdin=subprocess.DEVNULL,
                    # Output that a hook prints goes to stderr.
                    stdout=2,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except OSError as exc:
            self._channel.close()
            raise TransientError(f"start a decoding process: {exc}") from exc
        try:
            self._channel.send(task_of(archive, recipe, limits, self._memory), seconds=self._left)
            next(self.answers())
        except (EOFError, OSError, ValueError) as exc:
            # `death` waits for the process and returns how it ended; a process that hangs is killed.
            reason = str(exc) if isinstance(exc, TimeoutError | ValueError) else self.death()
            self.end()
            raise TransientError(f"start a decoding process: {reason}") from exc
        log.info("child.started pid=%d seconds=%.2f", self._process.pid, time.monotonic() - began)

    def begin(self, member: Member, pixels: int, content: BytesIO) -> None:
        """Send a member. Raises TimeoutError, or OSError if the process is gone."""
        self._left = self._seconds
        with self._counted():
            self._channel.send({"member": member, "pixels": pixels}, content.getbuffer(), self._left)

    def answers(self) -> Iterator[tuple[Mapping[str, Any], BytesIO]]:
        """Yield its answers, and write its log lines. Raises TimeoutError, EOFError, OSError, ValueError."""
        while True:
            with self._counted():
                message, payload = self._channel.receive(self._memory or sys.maxsize, self._left)
            if message["kind"] == "log":
                _write_line(message)
                continue
            yield message, payload
            if message["kind"] != "image":
                return

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Subtract the time that the block takes from the member's time: only waiting for the process counts."""
        began = time.monotonic()
        yield
        self._left -= time.monotonic() - began

    def lives(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    def death(self) -> str:
        """Return how the process ended, as text for a reason."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        if code == -signal.SIGKILL:
            return "killed by signal 9 (SIGKILL), usually because memory is short"
        return f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"it exited with code {code}"

    def end(self) -> None:
        """Kill the process, and processes that a hook started in it."""
        self._channel.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _write_line(message: Mapping[str, Any]) -> None:
    """Log a line of the child, with its traceback, as if it had been logged in this process."""
    name, level = str(message["logger"]), int(message["level"])
    if logging.getLogger(name).isEnabledFor(level):
        text = printable(str(message["text"]), _MOST_LINE)
        record = logging.LogRecord(name, level, __file__, 0, text, None, None)
        record.exc_text = str(message["trace"]) if message["trace"] else None
        logging.getLogger(name).handle(record)


def _image(message: Mapping[str, Any], payload: BytesIO, member: Member, archive: RawArchive) -> Image:
    """Return the image of a message. Raises ValueError, LookupError or TypeError if it is not a valid image."""
    dtype, shape = np.dtype(message["dtype"]), [int(length) for length in message["shape"]]
    if dtype.kind not in "biufc" or not shape or min(shape) < 0:
        raise ValueError(f"not an array of numbers: {dtype}, {shape}")
    captured_at = message["captured_at"]
    metadata = ImageMetadata(
        source=archive.source,
        archive=archive.path,
        stamp=archive.stamp,
        member=member.number,
        frame=int(message["frame"]),
        name=member.name,
        format=str(message["format"]),
        captured_at=datetime.fromisoformat(captured_at) if captured_at else None,
        method=METHODS.get(str(message["format"]), 1),
    )
    # Raises ValueError if the number of bytes does not fit the shape.
    pixels = np.frombuffer(payload.getbuffer(), dtype).reshape(shape)
    near = {str(limit): float(share) for limit, share in dict(message["near"]).items()}
    return Image(metadata=metadata, pixels=pixels, source_pixels=int(message["source_pixels"]), near=near)


def _raise_error(message: Mapping[str, Any]) -> None:
    """Raise the error that a member ended with, if any."""
    kind = message["kind"]
    if kind == "end":
        return
    reason = str(message["reason"])
    if kind == "transient":
        raise TransientError(reason)
    if kind == "permanent":
        raise PermanentError(reason)
    raise RefusedInChildError(reason, str(message["error"]))
