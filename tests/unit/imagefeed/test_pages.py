"""Answers that Azure may give and the emulator does not: finer times, missing columns, no etag, no rows at all."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from azure.data.tables import TableClient, TableServiceClient

from imagefeed.entities import scan
from imagefeed.errors import StoreUnavailableError
from storage.clients import development_connection


@contextmanager
def answering(body: bytes) -> Iterator[TableClient]:
    """A table whose service always gives the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json;odata=minimalmetadata")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Do nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            connection = development_connection({"Blob": 1, "Queue": 2, "Table": server.server_port})
            with TableServiceClient.from_connection_string(connection, retry_total=0) as service:
                yield service.get_table_client("t")
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "members",
    [
        {"Timestamp": "2026-03-01T10:20:30.1234567Z", "odata.etag": "W/\"datetime'2026'\""},
        {"Timestamp": "2026-03-01T10:20:30.1234567Z"},
        {"at@odata.type": "Edm.DateTime", "at": "2026-03-01T10:20:30.1234567Z"},
        {"at@odata.type": "Edm.DateTime", "at": "2026-03-01T10:20:30Z"},
        {"part": None, "name": "\N{GRINNING FACE} \u2028", "complete": False, "number": 2**31 - 1},
        {"share@odata.type": "Edm.Double", "share": "Infinity"},
        {"share@odata.type": "Edm.Double", "share": 5.0},
        {},
    ],
)
def test_a_row_is_what_the_sdk_would_make_of_it(members: dict[str, Any]) -> None:
    row = {"PartitionKey": "p", "RowKey": "r", **members}
    with answering(json.dumps({"odata.metadata": "m", "value": [row]}).encode()) as table:
        [expected], [row_read] = table.query_entities(""), scan(table, "p")
    assert dict(row_read) == dict(expected)
    assert row_read.metadata == expected.metadata


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b'{"value": [{',
        b'{"value": [{"a@odata.type": "Edm.Int64"}]}',
        b'{"value": 1}',
        b'{"value": [{"a@odata.type": "Edm.Binary", "a": "AA!A"}]}',
    ],
)
def test_an_answer_without_rows_is_worth_another_try(answer: bytes) -> None:
    with answering(answer) as table, pytest.raises(StoreUnavailableError, match="holds no rows"):
        list(scan(table, "p"))
