"""No repr and no error shows a secret; functions that answer HTTP require a key."""

import traceback

import azure.functions as func
import pytest

from config.errors import SettingsError
from config.settings import Storage, read_settings
from imagefeed.azure_errors import azure_errors
from imagefeed.errors import PipelineError
from ingest.model import Endpoint
from local.servers.certificate import make_certificate, make_ssh_key
from local.servers.parasftp import ParasftpConfig
from local.servers.pyftpd import PyftpdConfig
from storage.clients import DEVELOPMENT_KEY, connect, connected, development_connection
from tests.fixtures.functions import functions
from tests.fixtures.secrecy import secrets_in

PASSWORD = "s3cret-in-settings"
KEY = make_ssh_key()
CONNECTION = development_connection({"Blob": 1, "Queue": 1, "Table": 1})
SAS = "https://127.0.0.1:1/a?sv=2026-01-01&sig=s3cret"
ENVIRONMENT = {
    "DATA_STORAGE": CONNECTION,
    "SOURCES__RADAR__URL": "sftp://user@host/folder",
    "SOURCES__RADAR__HOST_KEY": KEY.public,
    "SOURCES__RADAR__PASSWORD": PASSWORD,
    "SOURCES__RADAR__PRIVATE_KEY": KEY.private,
    "SOURCES__RADAR__PASSPHRASE": PASSWORD,
}


def test_the_search_would_find_them() -> None:
    assert len(secrets_in(str(ENVIRONMENT))) == 4


@pytest.mark.parametrize(
    "shown",
    [
        read_settings(ENVIRONMENT),
        Storage(connection=CONNECTION),
        Endpoint(scheme="ftps", host="h", port=1, password=PASSWORD, private_key=KEY.private, passphrase=PASSWORD),
        connect(CONNECTION),
        KEY,
        make_certificate(),
        PyftpdConfig(port=1, root="/", user="u", password=PASSWORD),
        ParasftpConfig(port=1, root="/", user="u", password=PASSWORD, host_key=KEY.private, client_key=KEY.public),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_a_repr_keeps_its_secrets(shown: object) -> None:
    assert not secrets_in(repr(shown) + str(shown) + f"{shown}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"SOURCES__RADAR__URL": f"sftp://user:{PASSWORD}@host/"},
        {"SOURCES__RADAR__TIMEOUT": PASSWORD},
        {"SOURCES__RADAR__PORT": PASSWORD},
        {"SOURCES__RADAR__URL": f"nonsense {PASSWORD}"},
        {"PREPROCESS_MEAN": PASSWORD},
        {"PREPROCESS_FIT": CONNECTION},
        {"DATA_STORAGE__KEY": CONNECTION},
    ],
)
def test_wrong_settings_are_named_without_their_values(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(ENVIRONMENT | wrong)
    assert not secrets_in("".join(traceback.format_exception(caught.value)))


def list_archives(connection: str) -> None:
    with connected(connection, retries=0) as clients, azure_errors("list the archives"):
        list(clients.archives.list_entities())


@pytest.mark.parametrize(
    "text",
    [
        PASSWORD,
        CONNECTION.replace("AccountKey=", "AccountKey"),
        CONNECTION.replace("AccountName=", "Name="),
        f"{CONNECTION};AccountKey={DEVELOPMENT_KEY}",
        CONNECTION.replace(DEVELOPMENT_KEY, DEVELOPMENT_KEY[:-3] + "!!"),
        CONNECTION.replace(DEVELOPMENT_KEY, DEVELOPMENT_KEY[:43]),
        CONNECTION,
        f"BlobEndpoint={SAS};QueueEndpoint={SAS};TableEndpoint={SAS}",
        "BlobEndpoint=http://127.0.0.1:1/;QueueEndpoint=http://127.0.0.1:1/;TableEndpoint=http://127.0.0.1:1/;"
        "SharedAccessSignature=sv=2026-01-01&sig=s3cret",
    ],
)
def test_a_connection_string_that_does_not_work_is_not_repeated(text: str) -> None:
    with pytest.raises(PipelineError) as caught:
        list_archives(text)
    assert not secrets_in("".join(traceback.format_exception(caught.value)))


def test_no_function_answers_strangers() -> None:
    triggers = [function.get_trigger() for function in functions()]
    assert len(triggers) >= 5
    open_to_all = [each for each in triggers if getattr(each, "auth_level", None) is func.AuthLevel.ANONYMOUS]
    assert not open_to_all
