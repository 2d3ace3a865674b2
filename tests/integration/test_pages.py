"""Rows equal those of the SDK's own reader, whatever they contain; broken answers are errors."""

from datetime import UTC, datetime
from typing import Any

import pytest
from azure.data.tables import TableEntity, UpdateMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagefeed.entities import Properties, scan, whole
from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from local.azurite import Azurite
from storage.clients import Clients, connected, development_connection
from storage.tables.transactions import upsert_all
from tests.faults.http import Answer, Break, HttpProxy, Request

LAST = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 -- Hypothesis wants it so
values = st.one_of(
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(whole),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=100),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.datetimes(datetime(1601, 1, 1), LAST, timezones=st.just(UTC)),  # noqa: DTZ001
    st.uuids(),
)


def as_the_sdk_reads(clients: Clients, partition: str, **options: Any) -> list[TableEntity]:
    return list(clients.images.query_entities("PartitionKey eq @p", parameters={"p": partition}, **options))


def same(found: object, expected: object) -> bool:
    """The SDK has its own type for times, which is equal nevertheless."""
    return found == expected and (isinstance(expected, datetime) or type(found) is type(expected))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(members=st.dictionaries(st.sampled_from("abcdefgh"), values, min_size=1))
def test_a_row_is_what_the_sdk_would_make_of_it(clients: Clients, source: str, members: Properties) -> None:
    clients.images.upsert_entity({"PartitionKey": source, "RowKey": "r"}, UpdateMode.REPLACE)
    clients.images.upsert_entity({"PartitionKey": source, "RowKey": "r", **members}, UpdateMode.REPLACE)
    for select in (None, ["PartitionKey", "RowKey", "a", "b"], ["PartitionKey", "RowKey", "Timestamp"]):
        [found], [expected] = (
            scan(clients.images, source, select=select),
            as_the_sdk_reads(clients, source, select=select),
        )
        assert found.keys() == expected.keys()
        assert all(same(found[name], expected[name]) for name in expected), (found, expected)
        assert found.metadata == expected.metadata


@pytest.mark.parametrize("page", [None, 1, 3, 7])
def test_pages_follow_one_another_without_a_gap(clients: Clients, source: str, page: int | None) -> None:
    upsert_all(
        clients.images, [{"PartitionKey": source, "RowKey": f"it's {n}", "n": n} for n in range(7)], "write rows"
    )
    assert [row["n"] for row in scan(clients.images, source, page=page)] == [*range(7)]
    assert [row["n"] for row in scan(clients.images, source, page=page, first="it's 2", end="it's 5")] == [2, 3, 4]


def test_nothing_there_is_no_row_and_no_table_an_error(clients: Clients, source: str) -> None:
    assert list(scan(clients.images, source)) == []
    with pytest.raises(
        StoreRefusedError, match=f"read {source} from the table nowhere: .* answered 404: The table .*imagefeed init"
    ):
        list(scan(clients.tables.get_table_client("nowhere"), source))


@pytest.mark.parametrize("broken", [Break.DOWNLOAD, Answer(503, "ServerBusy")])
def test_what_breaks_once_is_asked_for_again(
    azurite: Azurite, clients: Clients, source: str, broken: Break | Answer
) -> None:
    def once(_: Request) -> Break | Answer | None:
        return broken if len(proxy.requests) == 1 else None

    upsert_all(clients.images, [{"PartitionKey": source, "RowKey": "r", "data": bytes(60_000)}], "write rows")
    with HttpProxy(azurite.ports.table, of_tables=True) as proxy:
        proxy.choose = once
        ports = {"Blob": azurite.ports.blob, "Queue": azurite.ports.queue, "Table": proxy.port}
        with connected(development_connection(ports)) as through:
            assert [row["data"] for row in scan(through.images, source)] == [bytes(60_000)]


def test_an_answer_that_always_breaks_off_is_worth_another_try(azurite: Azurite, source: str) -> None:
    with HttpProxy(azurite.ports.table, of_tables=True) as proxy:
        proxy.choose = lambda _: Break.DOWNLOAD
        ports = {"Blob": azurite.ports.blob, "Queue": azurite.ports.queue, "Table": proxy.port}
        with (
            connected(development_connection(ports), retries=1) as through,
            pytest.raises(StoreUnavailableError, match=f"read {source}"),
        ):
            list(scan(through.images, source))
