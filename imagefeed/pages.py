"""Rows as the service sends them, read without the detour that the SDK takes.

The SDK reads each answer into models of its own and those into entities, which takes ten times as long as reading the
JSON. So it asks for the pages, for what it does well (identity, retries, errors, going on where a page ended), and the
answers are taken out by its hook for responses, and read here.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import ContentDecodePolicy
from azure.data.tables import EdmType, EntityProperty, TableClient, TableEntity
from pybase64 import b64decode

from imagefeed.errors import StoreUnavailableError

_TYPE = "@odata.type"
_INT64 = EdmType.INT64
_READ: Mapping[str, Callable[[Any], object]] = {
    "Edm.Binary": partial(b64decode, validate=True),
    "Edm.DateTime": datetime.fromisoformat,
    "Edm.Double": float,
    "Edm.Guid": UUID,
    "Edm.Int64": lambda value: EntityProperty(int(value), _INT64),
}
"""What goes as a text and with the name of its type; the others are what JSON makes of them."""


class _Row(TableEntity):
    """A row with its etag, as the SDK would give it."""

    def __init__(self, members: dict[str, Any]) -> None:
        """Take over the members of a row in an answer, which is changed."""
        etag, changed = members.pop("odata.etag", None), members.pop("Timestamp", None)
        members.pop(f"Timestamp{_TYPE}", None)
        for name in [name for name in members if name.endswith(_TYPE)]:
            of = name.removesuffix(_TYPE)
            members[of] = _READ.get(members.pop(name), _as_is)(members[of])
        super().__init__(members)
        self._metadata = {
            "etag": etag or (changed and f"W/\"datetime'{quote(changed)}'\""),
            "timestamp": changed and datetime.fromisoformat(changed),
        }


def read_answers(table: TableClient, query: str, parameters: Mapping[str, str], **options: Any) -> Iterator[bytes]:
    """Give the service's answers to a query, a page of rows each; `options` are those of `query_entities`.

    Raises AzureError.
    """
    bodies: list[bytes] = []

    def ask(request: PipelineRequest[Any]) -> None:
        # Else it would be read in pieces of 10 KiB, and JSON made of it.
        request.context.options["stream"] = True

    def take(response: PipelineResponse[Any, Any]) -> None:
        body = response.http_response.read()
        if response.http_response.status_code == 200:
            bodies.append(body)
            # What the SDK finds: an answer without rows.
            response.context[ContentDecodePolicy.CONTEXT_NAME] = {"value": []}

    options |= {"raw_request_hook": ask, "raw_response_hook": take}
    for _ in table.query_entities(query, parameters=dict(parameters), **options).by_page():
        yield bodies.pop()


def rows_in(answer: bytes) -> Iterator[TableEntity]:
    """Read the rows of an answer, each as it is asked for. Raises StoreUnavailableError."""
    try:
        for members in json.loads(answer)["value"]:
            yield _Row(members)
    except (KeyError, TypeError, ValueError) as exc:
        raise StoreUnavailableError(f"read an answer of Azure Storage: it holds no rows: {exc}") from exc


def _as_is(value: object) -> object:
    return value
