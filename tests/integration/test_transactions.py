"""Rows of one transaction are written together, and a refused row is an error, whichever row it is."""

import pytest

from imagefeed.entities import Properties, scan
from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from local.azurite import Azurite
from storage.clients import Clients, connected, development_connection
from storage.tables.transactions import upsert_all
from tests.faults.http import Break, HttpProxy, Request


def rows(partition: str, number: int) -> list[Properties]:
    return [{"PartitionKey": partition, "RowKey": f"{n}'s ü", "n": n, "data": bytes([n])} for n in range(number)]


def test_every_row_is_there_with_its_own_values(clients: Clients, source: str) -> None:
    expected = rows(source, 101)
    assert upsert_all(clients.images, expected, "write rows") == {row["RowKey"] for row in expected}
    entities = sorted(scan(clients.images, source), key=lambda row: int(row["n"]))
    assert [dict(row) for row in entities] == expected


def test_rows_of_several_partitions_are_written_each_in_their_own(clients: Clients, source: str) -> None:
    mixed = [row for pair in zip(rows(source, 3), rows(f"{source}-2", 3), strict=True) for row in pair]
    upsert_all(clients.images, mixed, "write rows")
    for partition in (source, f"{source}-2"):
        assert [dict(row) for row in scan(clients.images, partition)] == rows(partition, 3)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_one_row_that_storage_refuses_is_an_error_and_none_is_there(clients: Clients, source: str, broken: int) -> None:
    refused = rows(source, 3)
    refused[broken]["data"] = bytes(65_537)
    with pytest.raises(StoreRefusedError, match="write rows"):
        upsert_all(clients.images, refused, "write rows")
    assert list(scan(clients.images, source)) == []


def test_a_connection_that_breaks_is_no_error_since_rows_may_be_written_twice(
    azurite: Azurite, clients: Clients, source: str
) -> None:
    def once(_: Request) -> Break | None:
        return Break.UPLOAD if len(proxy.requests) == 1 else None

    large = [{**row, "data": bytes(60_000)} for row in rows(source, 20)]
    with HttpProxy(azurite.ports.table, of_tables=True) as proxy:
        proxy.choose = once
        ports = {"Blob": azurite.ports.blob, "Queue": azurite.ports.queue, "Table": proxy.port}
        with connected(development_connection(ports)) as through:
            upsert_all(through.images, large, "write rows")
    assert len(proxy.requests) == 2
    assert len(list(scan(clients.images, source))) == 20


def test_an_answer_that_breaks_off_is_worth_another_try(azurite: Azurite, source: str) -> None:
    with HttpProxy(azurite.ports.table, of_tables=True) as proxy:
        proxy.choose = lambda _: Break.DOWNLOAD
        ports = {"Blob": azurite.ports.blob, "Queue": azurite.ports.queue, "Table": proxy.port}
        with (
            connected(development_connection(ports)) as through,
            pytest.raises(StoreUnavailableError, match="write rows"),
        ):
            upsert_all(through.images, rows(source, 3), "write rows")
