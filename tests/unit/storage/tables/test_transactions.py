"""Our bodies of transactions mean the same to the service as the SDK's own, part by part."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from imagefeed.entities import Properties, whole
from storage.clients import development_connection
from storage.tables.transactions import upsert_all

KEY = "p'~%41 \N{LATIN SMALL LETTER E WITH ACUTE}\N{GRINNING FACE}"
ENTITIES: list[Properties] = [
    {
        "PartitionKey": KEY,
        "RowKey": "000001~0000~00",
        "number": -5,
        "large": whole(2**40),
        "payload": b"\0\xff\r\n--changeset",
        "name": 'a"b\\ \N{LATIN SMALL LETTER E WITH ACUTE}\N{GRINNING FACE}\r\n--changeset\u2028\0\udc80',
        "complete": True,
        "empty": "",
        "nothing": b"",
    },
    {"PartitionKey": KEY, "RowKey": "r+&=;,()$:@!* '' ~-._", "number": 2**31 - 1},
]
ALWAYS = {"Content-Type", "Accept", "DataServiceVersion"}
"""Headers of each operation; the SDK's further ones repeat the request's."""


class _Sent(Exception):  # noqa: N818 -- no error
    """A request has reached the network."""


class Wire(RequestsTransport):  # type: ignore[misc] # has no types
    """Keeps the requests instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: dict[str, str] = {}
        self.body = b""

    def send(self, request: Any, **_: Any) -> Any:
        self.headers, self.body = dict(request.headers), request.data
        raise _Sent


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the service reads it."""

    about: str
    request: str
    headers: dict[str, str]
    properties: dict[str, Any]


def read(wire: Wire) -> list[Operation]:
    """Read a body as strictly as RFC 2046 allows."""
    assert wire.headers["Content-Length"] == str(len(wire.body))
    boundary = wire.headers["Content-Type"].removeprefix("multipart/mixed; boundary=").encode()
    outer = re.fullmatch(rb"--%s\r\n(.+?)\r\n\r\n(.+)\r\n--%s--\r\n" % (boundary, boundary), wire.body, re.DOTALL)
    assert outer is not None
    changes = outer[1].removeprefix(b"Content-Type: multipart/mixed; boundary=")
    assert re.fullmatch(rb"changeset_[0-9a-f-]{36}", changes)
    first, *parts, last = (b"\r\n" + outer[2]).split(b"\r\n--" + changes)
    assert (first, last) == (b"", b"--\r\n")
    return [operation(part) for part in parts]


def operation(part: bytes) -> Operation:
    about, head, content = part.removeprefix(b"\r\n").split(b"\r\n\r\n", 2)
    request, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Length"] == str(len(content))
    sent = json.loads(content).items()
    # Texts need no type, but the SDK sends it too.
    properties = {name: value for name, value in sent if value != "Edm.String"}
    return Operation(
        about=about.decode("ascii"),
        request=request,
        headers={name: headers[name] for name in ALWAYS},
        properties=properties,
    )


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def table(wire: Wire) -> TableClient:
    connection = development_connection({"Blob": 1, "Queue": 2, "Table": 3})
    return TableServiceClient.from_connection_string(connection, transport=wire, retry_total=0).get_table_client("t")


def test_a_transaction_says_what_the_sdk_would_say(wire: Wire, table: TableClient) -> None:
    with pytest.raises(_Sent):
        table.submit_transaction([("upsert", entity, {"mode": UpdateMode.REPLACE}) for entity in ENTITIES])
    theirs = read(wire)
    with pytest.raises(_Sent):
        upsert_all(table, ENTITIES, "write rows")
    assert read(wire) == theirs
    assert len(theirs) == len(ENTITIES)


def test_a_type_that_no_row_has_is_not_guessed(table: TableClient) -> None:
    with pytest.raises(TypeError, match="no float"):
        upsert_all(table, [{"PartitionKey": "p", "RowKey": "r", "share": 0.5}], "write rows")
