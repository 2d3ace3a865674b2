"""Rows that are written together are there together, and a row that storage refuses is an error, whichever it is."""

import pytest

from errors import StoreRefusedError
from storage.clients import Clients
from storage.entities import Properties, scan
from storage.transactions import upsert_all


def rows(partition: str, number: int) -> list[Properties]:
    return [{"PartitionKey": partition, "RowKey": f"{n}'s ü", "n": n, "data": bytes([n])} for n in range(number)]


def test_every_row_is_there_with_its_own_values(clients: Clients, source: str) -> None:
    expected = rows(source, 101)
    assert upsert_all(clients.images, expected, "write rows") == {row["RowKey"] for row in expected}
    found = sorted(scan(clients.images, source), key=lambda row: int(row["n"]))
    assert [dict(row) for row in found] == expected


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_one_row_that_storage_refuses_is_an_error_and_none_is_there(clients: Clients, source: str, broken: int) -> None:
    refused = rows(source, 3)
    refused[broken]["data"] = bytes(65_537)
    with pytest.raises(StoreRefusedError, match="write rows"):
        upsert_all(clients.images, refused, "write rows")
    assert list(scan(clients.images, source)) == []
