"""Writes many entities of one partition in concurrent transactions.

The SDK builds the body of each transaction three times as an e-mail message, which takes ten times as long as
everything else that is done for a row. Therefore the SDK gets only the first row's keys and does authentication,
retries and errors; the body, which is plain text, is built here and set in the SDK's request hook.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
from urllib.parse import quote

from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.data.tables import EntityProperty, TableClient, UpdateMode
from pybase64 import b64encode

from imagefeed.azure_errors import azure_errors
from imagefeed.entities import Properties
from imagefeed.rows import in_transactions

_AT_ONCE = 4
"""Concurrent transactions. Each is up to 4 MiB, held in memory twice: as entities and as the request body."""
_TWICE = frozenset({"POST"})
"""Methods to send again without an answer. The SDK would not, but replacing whole rows is safe to repeat."""
_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
_PART = (
    "--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {number}\r\n\r\n"
    "PUT {url} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    "DataServiceVersion: 3.0\r\nContent-Length: {length}\r\n\r\n"
)


def upsert_all(table: TableClient, entities: Iterable[Properties], doing: str) -> set[str]:
    """Insert or replace entities; return their RowKeys. After an error or a kill, some may be written."""
    written: set[str] = set()
    with ThreadPoolExecutor(_AT_ONCE, "rows") as threads:
        under_way: deque[Future[None]] = deque()
        for group in in_transactions(entities):
            if len(under_way) == _AT_ONCE:
                under_way.popleft().result()
            # The context is copied so that requests are traced as part of this call.
            under_way.append(threads.submit(copy_context().run, _upsert, table, group, doing))
            written.update(entity["RowKey"] for entity in group)
        for future in under_way:
            future.result()
    return written


def _upsert(table: TableClient, group: list[Properties], doing: str) -> None:
    def with_body(request: PipelineRequest[Any]) -> None:
        # Keep the SDK's boundary: it is in a header that is already signed.
        boundary = request.http_request.headers["Content-Type"].partition("boundary=")[2]
        request.http_request.set_bytes_body(_body(f"{table.url}/{table.table_name}", group, boundary))

    def accepted(response: PipelineResponse[Any, Any]) -> None:
        answer = response.http_response
        # The SDK parses each part as an e-mail in its own thread; that is only needed if a part reports an error.
        if answer.status_code == 202 and _STATUS.findall(answer.read()) == [b"204"] * len(group):
            answer.parts = list

    first = {name: group[0][name] for name in ("PartitionKey", "RowKey")}
    hooks = {"raw_request_hook": with_body, "raw_response_hook": accepted}
    with azure_errors(doing):
        replace = ("upsert", first, {"mode": UpdateMode.REPLACE})
        try:
            table.submit_transaction([replace], retry_on_methods=_TWICE, **hooks)
        except OSError as exc:
            # The SDK does not translate the error of a response that was cut off.
            raise ServiceResponseError(str(exc)) from exc


def _body(table: str, group: list[Properties], boundary: str) -> bytes:
    """Return the body of an entity group transaction.

    https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
    """
    # The same names as in the SDK and the service's documentation: batch_… and changeset_…
    changes = boundary.replace("batch", "changeset", 1)
    pieces = [f"--{boundary}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n".encode()]
    for number, entity in enumerate(group):
        content = _json(entity)
        keys = ",".join(f"{name}='{_quoted(entity[name])}'" for name in ("PartitionKey", "RowKey"))
        part = _PART.format(changes=changes, number=number, url=f"{table}({keys})", length=len(content))
        pieces += [part.encode("ascii"), content, b"\r\n"]
    return b"".join([*pieces, f"--{changes}--\r\n\r\n--{boundary}--\r\n".encode()])


def _json(entity: Mapping[str, Any]) -> bytes:
    """Return an entity as JSON; types that JSON lacks are sent with their OData type. Raises TypeError for others."""
    plain: dict[str, object] = {}
    binary: list[bytes] = []
    for name, value in entity.items():
        match value:
            case bytes():
                # Base64 is not passed through json.dumps: searching it for characters to escape takes longest.
                kind = b',"%b@odata.type":"Edm.Binary","%b":"' % (name.encode(), name.encode())
                binary += [kind, b64encode(value), b'"']
            case EntityProperty():
                plain[f"{name}@odata.type"] = getattr(value.edm_type, "value", value.edm_type)
                plain[name] = str(value.value)
            case str() | int():
                plain[name] = value
            case _:
                raise TypeError(f"write the property {name}: rows of images hold no {type(value).__name__}")
    return b"".join([json.dumps(plain).encode("ascii")[:-1], *binary, b"}"])


def _quoted(key: str) -> str:
    return quote(key.replace("'", "''"), safe="~")
