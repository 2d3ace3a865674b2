"""Many entities of one partition, written in transactions that are under way side by side.

The SDK's own writer of transactions makes each request three times over as an e-mail, which takes ten times as long as
all else that is done for a row. So it is given the first row's keys alone, for what it does well (identity, retries,
errors), and the body, which is plain text, is put together here and handed over by its hook for requests.
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
"""Transactions of up to 4 MiB each, which is what each holds in memory twice: as entities, and as it is sent."""
_TWICE = frozenset({"POST"})
"""Sent again when no answer came. The SDK does not do so by itself; but what replaces whole rows may be repeated."""
_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
_PART = (
    "--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {number}\r\n\r\n"
    "PUT {url} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    "DataServiceVersion: 3.0\r\nContent-Length: {length}\r\n\r\n"
)


def upsert_all(table: TableClient, entities: Iterable[Properties], doing: str) -> set[str]:
    """Insert or replace entities; gives their RowKeys. After an error some may be written, as after a kill."""
    written: set[str] = set()
    with ThreadPoolExecutor(_AT_ONCE, "rows") as threads:
        under_way: deque[Future[None]] = deque()
        for group in in_transactions(entities):
            if len(under_way) == _AT_ONCE:
                under_way.popleft().result()
            # The context goes along, so that requests are traced as part of this call.
            under_way.append(threads.submit(copy_context().run, _upsert, table, group, doing))
            written.update(entity["RowKey"] for entity in group)
        for future in under_way:
            future.result()
    return written


def _upsert(table: TableClient, group: list[Properties], doing: str) -> None:
    def with_body(request: PipelineRequest[Any]) -> None:
        # The boundary stays the SDK's: it is in a header that is signed already.
        boundary = request.http_request.headers["Content-Type"].partition("boundary=")[2]
        request.http_request.set_bytes_body(_body(f"{table.url}/{table.table_name}", group, boundary))

    def accepted(response: PipelineResponse[Any, Any]) -> None:
        answer = response.http_response
        # The SDK reads each part as an e-mail in a thread of its own. It does so where one tells of an error.
        if answer.status_code == 202 and _STATUS.findall(answer.read()) == [b"204"] * len(group):
            answer.parts = list

    first = {name: group[0][name] for name in ("PartitionKey", "RowKey")}
    hooks = {"raw_request_hook": with_body, "raw_response_hook": accepted}
    with azure_errors(doing):
        replace = ("upsert", first, {"mode": UpdateMode.REPLACE})
        try:
            table.submit_transaction([replace], retry_on_methods=_TWICE, **hooks)
        except OSError as exc:
            # Of an answer that broke off the SDK makes no error of its own.
            raise ServiceResponseError(str(exc)) from exc


def _body(table: str, group: list[Properties], boundary: str) -> bytes:
    """Write an entity group transaction.

    https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
    """
    # As the SDK names them, in the service's own words: batch_… and changeset_…
    changes = boundary.replace("batch", "changeset", 1)
    pieces = [f"--{boundary}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n".encode()]
    for number, entity in enumerate(group):
        content = _json(entity)
        keys = ",".join(f"{name}='{_quoted(entity[name])}'" for name in ("PartitionKey", "RowKey"))
        part = _PART.format(changes=changes, number=number, url=f"{table}({keys})", length=len(content))
        pieces += [part.encode("ascii"), content, b"\r\n"]
    return b"".join([*pieces, f"--{changes}--\r\n\r\n--{boundary}--\r\n".encode()])


def _json(entity: Mapping[str, Any]) -> bytes:
    """Write an entity as JSON; what JSON does not know goes with the name of its type."""
    plain: dict[str, object] = {}
    binary: list[bytes] = []
    for name, value in entity.items():
        match value:
            case bytes():
                # As it is: to look base64 through for what JSON would escape takes longer than all else.
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
