"""Calls to storage as the real host makes them: patient with a storage that is away, for so long and no longer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from local.host.workers import HostEndsError

log = logging.getLogger(__name__)

_PAUSE = 0.5
_BUSY = 500
"""From this status on the service says that it is in trouble, not that the request is wrong."""


async def insist[T](call: Callable[[], Awaitable[T]], doing: str, patience: float) -> T:
    """Make a call; try again while connections are refused, for `patience` seconds, and for ever while it hangs.

    Measured on the real host: its SDK gives up after 26 s of refusals, and then the host ends. Answers of the service
    pass through. Raises HostEndsError.
    """
    since: float | None = None
    while True:
        try:
            return await call()
        except ServiceRequestError as exc:
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > patience:
                raise HostEndsError(f"{doing}: storage refused for {patience:g} s: {_first_line(exc)}") from exc
            log.debug("%s: trying again: %s", doing, exc)
        except ServiceResponseError as exc:
            since = None
            log.debug("%s: trying again: %s", doing, exc)
        await asyncio.sleep(_PAUSE)


def is_busy(exc: HttpResponseError) -> bool:
    """Tell whether the service answered that it is in trouble."""
    return (exc.status_code or 0) >= _BUSY


def ends_host(doing: str, exc: HttpResponseError) -> HostEndsError:
    """Make the error of an answer that the real host does not survive."""
    return HostEndsError(f"{doing}: storage answered {exc.status_code}: {_first_line(exc)}")


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
