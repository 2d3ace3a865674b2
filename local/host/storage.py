"""Call storage with the retries and the time limit of the real host."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from local.host.workers import HostEndsError

log = logging.getLogger(__name__)

_PAUSE = 0.5
_BUSY = 500
"""Statuses from this one on mean an error of the service, not of the request."""


async def insist[T](call: Callable[[], Awaitable[T]], doing: str, patience: float) -> T:
    """Return the result of `call`; retry refused connections for `patience` seconds, and lost responses without limit.

    Measured on the real host: its SDK gives up after 26 s of refused connections, and then the host ends. Errors that
    the service returns pass through. Raises HostEndsError.
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
    """Return True if the service answered with a status of 500 or more."""
    return (exc.status_code or 0) >= _BUSY


def ends_host(doing: str, exc: HttpResponseError) -> HostEndsError:
    """Return the error for a response that ends the real host."""
    return HostEndsError(f"{doing}: storage answered {exc.status_code}: {_first_line(exc)}")


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
