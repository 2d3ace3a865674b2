"""A process that decodes the members of one batch, so that a crash refuses only the member that caused it.

`child_decoder` starts it by its own command, because multiprocessing would import the parent's main module, which is
the functions worker. The user's hook runs here too, because it can also crash. It runs in one process and in member
order, so that state which it keeps between members is preserved.
"""

import ctypes
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from imagefeed.errors import MemberRefusedError, PermanentError, TransientError
from imagefeed.layout import format_stamp, parse_stamp
from imagefeed.model import RawArchive
from preprocess.hook_errors import HookFailedError
from preprocess.image.channel import MOST_TEXT, Channel
from preprocess.image.decode import warnings_heard
from preprocess.image.maker import ImageMaker, MemoryBudget
from preprocess.member_log import member_log
from preprocess.model import Image, Limits, Recipe
from preprocess.recipe import load_hook
from preprocess.zip.directory import Member

_PR_SET_PDEATHSIG = 1
_TRACEBACKS = logging.Formatter()


def main(descriptor: int) -> None:
    """Decode the members that the parent sends through a socket, until it closes the socket."""
    connection = socket.socket(fileno=descriptor)
    # Processes that a hook starts must not hold it open.
    connection.set_inheritable(False)
    channel = Channel(connection)
    task, _ = channel.receive(0)
    _die_first(task["memory"])
    logging.getLogger().addHandler(_Forward(channel))
    logging.getLogger().setLevel(logging.INFO)
    recipe = Recipe(**{name: _tuple(value) for name, value in task["recipe"].items()})
    archive = RawArchive(
        source=task["source"], path=task["path"], stamp=parse_stamp(task["stamp"]), version="", blob="", size=0, etag=""
    )
    hook = load_hook(recipe.hook) if recipe.hook else None
    maker = ImageMaker(archive, recipe, hook, Limits(**task["limits"]))
    channel.send({"kind": "ready"})
    with warnings_heard():
        while True:
            try:
                message, content = channel.receive(sys.maxsize)
            except EOFError:
                return
            maker.pixels = message["pixels"]
            channel.send(
                {**_decoded(maker, Member(*message["member"]), content, channel, task), "pixels": maker.pixels}
            )


def task_of(archive: RawArchive, recipe: Recipe, limits: Limits, memory: int | None) -> Mapping[str, Any]:
    """Return the first message to a child. `memory` is the number of bytes that it may take; None: no limit."""
    return {
        "source": archive.source,
        "path": archive.path,
        "stamp": format_stamp(archive.stamp),
        "recipe": asdict(recipe),
        "limits": asdict(limits),
        "memory": memory,
    }


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _die_first(memory: int | None) -> None:
    """Limit this process's memory to `memory` bytes, be killed first if memory is short, and end with the parent.

    Does nothing on systems other than Linux.
    """
    if sys.platform != "linux":
        return
    import resource

    # A core dump of a gigabyte would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _decoded(
    maker: ImageMaker, member: Member, content: BytesIO, channel: Channel, task: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Send a member's images. Return the message that ends the member."""
    try:
        for image in maker.finish(maker.decode(content, member, MemoryBudget())):
            _send(image, channel)
    except MemberRefusedError as exc:
        if isinstance(exc, HookFailedError):
            member_log.exception("member.failed member=%d", member.number)
        return _error("refused", str(exc), exc.__cause__ or exc)
    except (TransientError, PermanentError) as exc:
        return _error("transient" if isinstance(exc, TransientError) else "permanent", str(exc), exc)
    except MemoryError as exc:
        reason = f"out of memory: {task['memory']} bytes were available" if task["memory"] else "out of memory"
        return _error("refused", reason, exc)
    except Exception as exc:
        member_log.exception("member.failed member=%d", member.number)
        return _error("refused", str(exc) or type(exc).__name__, exc)
    return {"kind": "end"}


def _send(image: Image, channel: Channel) -> None:
    pixels, captured_at = np.ascontiguousarray(image.pixels), image.metadata.captured_at
    message = {
        "kind": "image",
        "frame": image.metadata.frame,
        "format": image.metadata.format,
        "captured_at": captured_at.isoformat() if captured_at else None,
        "shape": pixels.shape,
        "dtype": pixels.dtype.str,
        "source_pixels": image.source_pixels,
        "near": image.near,
    }
    channel.send(message, memoryview(pixels.reshape(-1).view(np.uint8)))


def _error(kind: str, reason: str, error: BaseException) -> Mapping[str, Any]:
    return {"kind": kind, "reason": reason[:MOST_TEXT], "error": type(error).__name__}


class _Forward(logging.Handler):
    """Sends log records to the parent, which writes them among its own lines and within its limits."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record to the parent."""
        trace = _TRACEBACKS.formatException(record.exc_info) if record.exc_info else None
        line = {"logger": record.name, "level": record.levelno, "text": record.getMessage()[: MOST_TEXT // 2]}
        self._channel.send({"kind": "log", **line, "trace": trace and trace[-MOST_TEXT // 2 :]})
