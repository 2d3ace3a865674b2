"""A reader finds both services by one address, and never repeats a key."""

import pytest

from imagefeed import PermanentError
from imagefeed.stores import connect_stores, table_address


@pytest.mark.parametrize(
    ("blob", "table"),
    [
        ("https://a1.blob.core.windows.net", "https://a1.table.core.windows.net"),
        ("https://a1.blob.core.windows.net/", "https://a1.table.core.windows.net"),
        ("HTTPS://A1.Blob.core.windows.net", "https://A1.table.core.windows.net"),
        ("https://a1-secondary.blob.core.windows.net", "https://a1-secondary.table.core.windows.net"),
        ("https://a1.z26.blob.storage.azure.net", "https://a1.z26.table.storage.azure.net"),
        ("https://a1.privatelink.blob.core.windows.net", "https://a1.privatelink.table.core.windows.net"),
        ("https://a1.blob.core.chinacloudapi.cn", "https://a1.table.core.chinacloudapi.cn"),
        ("https://a1.blob.core.usgovcloudapi.net", "https://a1.table.core.usgovcloudapi.net"),
    ],
)
def test_the_tables_address_follows_from_the_blobs(blob: str, table: str) -> None:
    assert table_address(blob) == table


@pytest.mark.parametrize(
    "where",
    [
        "https://images.example.com",
        "http://a1.blob.core.windows.net",
        "https://a1.blob.core.windows.net/processed",
        "https://a1.blob.core.windows.net/?sv=1&sig=s3cret",
        "https://me:s3cret@a1.blob.core.windows.net",
        "AccountName=a1;AccountKey=s3cret;=",
        "a1",
        "",
    ],
)
def test_anything_else_is_refused_without_repeating_a_key(where: str) -> None:
    with pytest.raises(PermanentError, match=r"open a reader.*connection string") as caught:
        connect_stores(where)
    assert "s3cret" not in str(caught.value)


def test_a_connection_string_takes_no_credential() -> None:
    with pytest.raises(PermanentError, match="pass no credential"):
        connect_stores("UseDevelopmentStorage=true", object())  # type: ignore[arg-type]  # never used


def test_the_emulators_short_form_is_understood() -> None:
    stores = connect_stores("UseDevelopmentStorage=true")
    assert stores.images.url == "http://127.0.0.1:10002/devstoreaccount1"
    assert stores.processed.url == "http://127.0.0.1:10000/devstoreaccount1/processed"
    stores.close()
