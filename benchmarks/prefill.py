"""Fill storage for benchmarks: one archive written by the app's code, and copies of its rows at other stamps."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import batched
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import AccountSasPermissions, ResourceTypes, generate_account_sas

from benchmarks.model import BenchmarkError
from imagefeed.entities import moment, scan
from imagefeed.layout import image_row
from imagefeed.model import ArchiveKey
from imagefeed.rows import TRANSACTION_ROWS
from ingest.model import SourceState
from storage.clients import DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, Clients
from tests.fixtures.history import PIPELINE, Past, write

_THREADS = 4
_PARTITION, _NUMBER = b"*partition*", b"*number*"
_HEADERS = {
    "Content-Type": "multipart/mixed; boundary=batch_1",
    "x-ms-version": "2019-02-02",
    "DataServiceVersion": "3.0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One archive and its rows in the ledger."""

    source: str
    stamp: datetime
    version: str
    ledger: Sequence[Mapping[str, Any]]


def lay_pattern(clients: Clients, source: str, stamp: datetime, images: int) -> Pattern:
    """Write one processed archive of tiny images through the real ledgers. Return it with its rows."""
    pixels = [np.full((2, 2, 3), number, np.uint8) for number in range(images)]
    past = Past(stamp=stamp.replace(microsecond=0), images=images, pixels=pixels)
    write(clients, source, [past], SourceState(source=source, listed_at=stamp))
    ledger = list(scan(clients.archives, source))
    return Pattern(source=source, stamp=past.stamp, version=past.archive(source).version, ledger=ledger)


def before(pattern: Pattern, archives: int, interval: timedelta = timedelta(minutes=10)) -> Iterator[datetime]:
    """Yield the stamps of `archives` archives before the pattern's, newest first."""
    return (pattern.stamp - interval * number for number in range(1, archives + 1))


def copy_ledger(clients: Clients, pattern: Pattern, source: str, stamps: Iterable[datetime]) -> None:
    """Write copies of the pattern into a source's ledger, one at each stamp."""
    rows = (("upsert", _moved(row, pattern, source, stamp)) for stamp in stamps for row in pattern.ledger)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(clients.archives.submit_transaction, batched(rows, TRANSACTION_ROWS, strict=False)))


def add_rows(clients: Clients, pattern: Pattern, stamps: Iterable[datetime]) -> None:
    """Write empty rows for 100 images of each archive, which reads have to skip.

    Rows are in key order with unique keys, because the emulator takes ten times as long otherwise.
    """
    address = urlsplit(clients.images.url)
    target = f"{address.path}/$batch?{_signature()}"
    body = _transaction(f"{clients.images.url}/{clients.images.table_name}")

    def fill(some: Sequence[tuple[int, datetime]]) -> None:
        with closing(HTTPConnection(address.netloc)) as connection:
            for number, stamp in some:
                partition = ArchiveKey(pattern.source, stamp, pattern.version).partition(PIPELINE)
                payload = body.replace(_PARTITION, partition.encode()).replace(_NUMBER, f"{number:06}".encode())
                connection.request("POST", target, payload, _HEADERS)
                response = connection.getresponse()
                content = response.read()
                if content.count(b"HTTP/1.1 204") != TRANSACTION_ROWS:
                    raise BenchmarkError(f"fill the images table: {response.status} {content[:500]!r}")

    every = list(enumerate(sorted(stamps)))
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(fill, every[number::_THREADS]) for number in range(_THREADS)]:
            done.result()


def _transaction(table: str) -> bytes:
    """Return a request template; with the SDK, which builds each request anew, 300,000 rows take several minutes."""
    lines = ["--batch_1", "Content-Type: multipart/mixed; boundary=changes", ""]
    for member in range(TRANSACTION_ROWS):
        entity = {"PartitionKey": _PARTITION.decode(), "RowKey": f"{_NUMBER.decode()}{image_row(member, 0, 0)}"}
        lines += ["--changes", "Content-Type: application/http", "Content-Transfer-Encoding: binary", ""]
        lines += [f"POST {table} HTTP/1.1", "Content-Type: application/json", "Prefer: return-no-content"]
        lines += ["Accept: application/json;odata=minimalmetadata", "DataServiceVersion: 3.0", "", json.dumps(entity)]
    return "\r\n".join([*lines, "--changes--", "", "--batch_1--", ""]).encode()


def _signature() -> str:
    return generate_account_sas(
        AzureNamedKeyCredential(DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY),
        ResourceTypes(object=True),
        AccountSasPermissions(write=True, add=True, update=True),
        datetime.now(UTC) + timedelta(hours=2),
    )


def _moved(row: Mapping[str, Any], pattern: Pattern, source: str, stamp: datetime) -> dict[str, Any]:
    by = stamp - pattern.stamp
    later = {name: _later(value, by) for name, value in row.items()}
    return later | {
        "PartitionKey": source,
        "RowKey": ArchiveKey(source, stamp, pattern.version).ledger_row(row.get("pipeline")),
    }


def _later(value: object, by: timedelta) -> object:
    at = moment(value) if isinstance(value, datetime) else None
    return value if at is None else at + by
