"""Connections to Azure Storage that processes do not share and that check that each answer belongs to its request."""

import os
import re
from typing import Any, Self
from weakref import WeakSet

from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport

_ID = "x-ms-client-request-id"
"""Header with the id of a request, which Azure Storage repeats in the answer."""
_RANGE = re.compile(r"bytes[= ](\d+)-(\d+)")


class Connections(HttpTransport[Any, Any]):
    """A transport for the SDK's clients that is safe to share between threads and to use after a fork.

    If two processes read from one socket, each gets answers to the other's requests. So a forked process opens
    connections of its own, and an answer to another request is an error, after which the SDK tries again.
    """

    def __init__(self, **options: Any) -> None:
        """Build the transport; `options` are those of the SDK's own transport, such as time-outs."""
        self._options = options
        self._transport = RequestsTransport(**options)
        _all.add(self)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the SDK's transport."""
        self._transport.open()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request and return its answer. Raises AzureError, also if the answer belongs to another request."""
        transport = self._transport
        answer = transport.send(request, **options)
        difference = _difference(request, answer)
        if difference:
            # Close all pooled connections, because any may be out of step. Other threads keep those that they use.
            answer.internal_response.close()
            transport.session.close()
            raise ServiceResponseError(f"the answer belongs to another request: {difference}")
        return answer

    def inherit(self) -> None:
        """Replace the connections by this process's own after a fork."""
        # Kept open, because closing takes locks that another thread may have held at the fork.
        _inherited.append(self._transport)
        self._transport = RequestsTransport(**self._options)


def _difference(request: Any, answer: Any) -> str:
    """Return why an answer does not belong to a request; empty if it does."""
    if answer.headers.get(_ID, request.headers.get(_ID)) != request.headers.get(_ID):
        return "its request id differs"
    if request.method != "GET" or not 200 <= answer.status_code < 300:
        return ""
    etag = answer.headers.get("ETag")
    if request.headers.get("If-Match", etag) not in (etag, "*"):
        return "its API version differs"
    asked = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("Range") or "")
    came = _RANGE.match(answer.headers.get("Content-Range", ""))
    if asked and not (came and asked[1] == came[1] and int(came[2]) <= int(asked[2])):
        return f"its bytes are {answer.headers.get('Content-Range')}, not {asked[0]}"
    return ""


_all: WeakSet[Connections] = WeakSet()
_inherited: list[RequestsTransport] = []


def _inherit_all() -> None:
    for connections in list(_all):
        connections.inherit()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_inherit_all)
