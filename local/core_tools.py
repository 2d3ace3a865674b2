"""Azure Functions Core Tools: check the version, and wait for the host to start."""

import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.request import urlopen

from imagefeed.errors import PermanentError
from local.servers.child import HOST

OLDEST = (4, 0, 7512)
"""First version that supports Python 3.13 and includes a worker for it."""
BELOW = (5,)
"""Version 5 is a preview whose `func start` only plays a script of made-up events."""
_INSTALL = "type `npm install --global azure-functions-core-tools@4`, or add `--host local`"
_VERSION = re.compile(r"^(\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_VERSION_WITHIN = 600.0
"""Seconds. The npm package fetches its program when `func` runs for the first time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits of a host's start, in seconds."""

    to_listen: float
    to_answer: float
    """Counted from when it listens."""
    quiet: float = 5.0
    """Until the first progress line; further ones follow every 30 s."""


FIRST_START = Patience(to_listen=660.0, to_answer=180.0)
"""`func` downloads its extension bundle before it listens, for up to 10 minutes and without output. If that fails, the
host tries once more when it listens, for up to 100 seconds."""
_EVERY = 30.0


def check_version(environment: Mapping[str, str]) -> None:
    """Check the version of `func`. Raises PermanentError if it cannot run this app."""
    try:
        said = subprocess.run(
            ["func", "--version"],  # noqa: S607 - the same lookup on PATH as for the start
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_WITHIN,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as exc:
        raise PermanentError(f"run `func --version`: {exc}; {_INSTALL}") from exc
    match = _VERSION.search(said)
    version = tuple(int(part) for part in match.groups()) if match else ()
    if not OLDEST <= version < BELOW:
        named = match[0] if match else repr(said.strip())
        oldest = ".".join(str(part) for part in OLDEST)
        raise PermanentError(
            f"start the functions host: Azure Functions Core Tools {named} cannot run this app, "
            f"which needs {oldest} or newer of version 4 (Python 3.13); {_INSTALL}"
        )


def wait_for_answer(port: int, ended: Callable[[], bool], patience: Patience, say: Callable[[str], None]) -> str | None:
    """Wait until a host answers. Return None, or the reason if it has ended or a time limit has passed.

    Progress lines go to `say`.
    """
    begun = time.monotonic()
    listening: float | None = None
    next_line = begun + patience.quiet
    while not answers(port):
        now = time.monotonic()
        if ended():
            return "it has ended"
        if listening is None and _listens(port):
            listening = now
        if listening is None and now > begun + patience.to_listen:
            return f"it does not listen after {patience.to_listen:.0f} s"
        if listening is not None and now > listening + patience.to_answer:
            return f"it does not answer {patience.to_answer:.0f} s after it began to listen"
        if now > next_line:
            reason = "it is starting" if listening else "the first time it downloads its extension bundle"
            say(f"waiting for func for {now - begun:.0f} s: {reason}")
            next_line = now + _EVERY
        time.sleep(0.05)
    return None


def answers(port: int) -> bool:
    """Return True if the host at `port` reports that it runs."""
    # An HTTP error and a refused connection are both kinds of OSError.
    with suppress(OSError), urlopen(f"http://{HOST}:{port}/admin/host/status", timeout=1) as answer:
        return bool(answer.status == 200)
    return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
