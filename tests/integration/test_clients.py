"""Connections: what they accept and create, and how the service's answers become our errors."""

from collections.abc import Callable

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from config.errors import SettingsError
from imagefeed.azure_errors import azure_errors, translated
from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from local.azurite import azurite
from storage.clients import Clients, connect, connected, prepare


def test_preparing_makes_everything_and_may_run_again(clients: Clients) -> None:
    prepare(clients)
    assert {found.name for found in clients.blobs.list_containers()} >= {"raw", "processed", "state", "dead-letter"}
    assert {found.name for found in clients.tables.list_tables()} >= {"archives", "batches", "images"}
    assert {found.name for found in clients.queues.list_queues()} >= {
        "poll",
        "poll-poison",
        "batches",
        "batches-poison",
    }


def test_the_emulators_short_form_is_understood() -> None:
    for text in ("UseDevelopmentStorage=true", " usedevelopmentstorage=TRUE; "):
        clients = connect(text)
        assert clients.raw.url == "http://127.0.0.1:10000/devstoreaccount1/raw"
        assert clients.batch_queue.url == "http://127.0.0.1:10001/devstoreaccount1/batches"
        assert clients.images.url == "http://127.0.0.1:10002/devstoreaccount1"
        clients.close()


@pytest.mark.parametrize("client_id", [None, "00000000-0000-0000-0000-000000000000"])
def test_addresses_and_an_identity_are_understood(client_id: str | None) -> None:
    clients = connect(
        blob="https://a.blob.core.windows.net",
        queue="https://a.queue.core.windows.net",
        table="https://a.table.core.windows.net",
        client_id=client_id,
    )
    assert clients.raw.url == "https://a.blob.core.windows.net/raw"
    clients.close()


@pytest.mark.parametrize("connection", ["nonsense", "AccountKey=c2VjcmV0", "=;=", "", "a=b"])
def test_what_is_no_connection_string_is_a_settings_error_without_the_key(connection: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(connection)
    assert "c2VjcmV0" not in str(caught.value)


def test_half_of_the_addresses_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="all three"):
        connect(blob="https://a.blob.core.windows.net")


def test_a_service_that_is_not_there_is_unavailable_until_it_is_back() -> None:
    with azurite() as server, connected(server.connection, retries=0) as clients:
        prepare(clients)
        server.kill()
        asks: list[Callable[[], object]] = [
            lambda: clients.raw.upload_blob("x", b""),
            lambda: clients.images.upsert_entity({"PartitionKey": "", "RowKey": ""}),
            lambda: clients.batch_queue.send_message("x"),
        ]
        for ask in asks:
            with (
                pytest.raises(StoreUnavailableError, match=r"ask: nothing listens at 127\.0\.0\.1"),
                azure_errors("ask"),
            ):
                ask()
        server.start()
        prepare(clients)
        for ask in asks:
            ask()


@pytest.mark.parametrize("kind", ["container", "table", "queue"])
def test_what_was_never_made_is_refused_with_what_to_do(clients: Clients, kind: str) -> None:
    ask: Callable[[], object] = {
        "container": lambda: clients.blobs.get_blob_client("nothing", "x").upload_blob(b""),
        "table": lambda: clients.tables.get_table_client("nothing").upsert_entity({"PartitionKey": "", "RowKey": ""}),
        "queue": lambda: clients.queues.get_queue_client("nothing").send_message("x"),
    }[kind]
    with pytest.raises(StoreRefusedError, match="imagefeed init"), azure_errors("ask"):
        ask()


def answer(status: int, message: str = "no", code: str = "") -> HttpResponseError:
    error = HttpResponseError(message)
    vars(error).update(status_code=status, error_code=code)
    return error


@pytest.mark.parametrize(
    "error",
    [
        *(answer(status) for status in (408, 409, 412, 429, 500, 502, 503, 504)),
        answer(400, code="Md5Mismatch"),
        ServiceRequestError("no route"),
        ServiceResponseError("broken off"),
        ClientAuthenticationError("the identity endpoint is busy"),
    ],
    ids=repr,
)
def test_what_may_pass_is_worth_another_try(error: AzureError) -> None:
    found = translated(error, "write the ledger")
    assert isinstance(found, StoreUnavailableError)
    assert str(found).startswith("write the ledger: ")


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "defect"), (401, "key"), (403, "Data Contributor"), (404, "init"), (413, "too large")]
)
def test_what_no_retry_cures_says_what_to_do(status: int, advice: str) -> None:
    found = translated(answer(status), "write the ledger")
    assert isinstance(found, StoreRefusedError)
    assert str(status) in str(found)
    assert advice in str(found)


def test_no_signature_gets_into_an_error() -> None:
    found = translated(ServiceRequestError("no route to https://a/raw/x?sv=1&sig=c2VjcmV0"), "read")
    assert "c2VjcmV0" not in str(found)


def test_only_the_sdks_errors_are_translated() -> None:
    with pytest.raises(ZeroDivisionError), azure_errors("divide"):
        raise ZeroDivisionError
    with pytest.raises(StoreRefusedError) as caught, azure_errors("read"):
        raise answer(403)
    assert isinstance(caught.value.__cause__, HttpResponseError)
