"""Translates the Azure SDKs' errors into our own; no other module does."""

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from imagefeed.errors import NotListeningError, PipelineError, StoreRefusedError, StoreUnavailableError

_ADVICE = {
    400: "this is a defect of the request, not of the service",
    401: "check the account key, or that the identity belongs to this account's tenant",
    403: "give the identity the roles Storage Blob, Queue and Table Data Contributor (to read alone, Storage Blob and "
    "Table Data Reader), and check the account's firewall",
    404: "check the account's name and the pipeline's; its operator creates missing containers, tables and queues "
    "that are missing with `imagefeed init`",
    413: "the request is too large",
}
_PASSING = (408, 409, 412, 429)
"""Time-outs, throttling, and conflicts with another writer that was faster."""
DAMAGED = ("Md5Mismatch", "Crc64Mismatch")
"""Error codes for a request body that was damaged on the way. A retry sends it again."""
_REFUSED = re.compile(r"Connection\(host='(127\..+?|localhost|::1)', port=(\d+)\):.*Connection refused")
_QUERY = re.compile(r"\?\S+")
_Item = TypeVar("_Item")


@contextmanager
def azure_errors(doing: str) -> Iterator[None]:
    """Re-raise the SDK's errors as StoreUnavailableError or StoreRefusedError; anything else passes through."""
    try:
        yield
    except AzureError as exc:
        raise translated(exc, doing) from exc


def each(items: Iterable[_Item], doing: str) -> Generator[_Item, None, None]:
    """Yield each of `items`, which requests pages or chunks as it goes, and translate errors as `azure_errors` does.

    Errors of the caller's loop stay as they are. Closing this closes `items` if it is a generator.
    """
    with azure_errors(doing):
        yield from items


def translated(exc: AzureError, doing: str) -> PipelineError:
    """Return our error for one of the SDK: transient for time-outs, throttling, 5xx, lost connections and races."""
    status = exc.status_code if isinstance(exc, HttpResponseError) else None
    # The first line is the message; the rest repeats it as XML. URL queries are removed: they may hold a signature.
    said = _QUERY.sub("", next(iter(exc.message.splitlines()), type(exc).__name__))
    if status is None:
        if isinstance(exc, ClientAuthenticationError):
            return StoreUnavailableError(f"{doing}: no token: {said}; log in, or check DATA_STORAGE__clientId")
        if refused := _REFUSED.search(said):
            return NotListeningError(f"{doing}: nothing listens at {refused[1]}, port {refused[2]}")
        return StoreUnavailableError(f"{doing}: no answer from Azure Storage: {said}")
    if status in _PASSING or status >= 500 or error_code(exc) in DAMAGED:
        return StoreUnavailableError(f"{doing}: Azure Storage answered {status}: {said}")
    advice = _ADVICE.get(status, "no retry can cure this")
    return StoreRefusedError(f"{doing}: Azure Storage answered {status}: {said}; {advice}")


def error_code(exc: AzureError) -> str:
    """Return the service's error code; empty if there is none."""
    code = getattr(exc, "error_code", None) or ""
    return str(getattr(code, "value", code))
