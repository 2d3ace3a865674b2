"""What the doctor learns through Azure CLI: the event subscription, and the settings of an app in Azure."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doctor.app import whose_rights
from doctor.azure_cli import AzureCli, app_settings
from doctor.events import look_at_events
from doctor.findings import Finding, Sign
from errors import PermanentError
from settings import Storage

IN_AZURE = Storage(blob="https://imagesabc.blob.core.windows.net", queue="https://q", table="https://t")
EMULATOR = Storage(connection="AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:1/devstoreaccount1")
TOPICS = [{"name": "topic", "group": "images"}]
GOOD: Mapping[str, Any] = {
    "name": "new-archives",
    "provisioningState": "Succeeded",
    "destination": {"endpointType": "AzureFunction", "resourceId": "/subscriptions/s/sites/a/functions/on_raw_archive"},
    "filter": {
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
        "subjectBeginsWith": "/blobServices/default/containers/raw/blobs/",
        "subjectEndsWith": ".zip",
    },
    "deadLetterWithResourceIdentity": {"deadLetterDestination": {}},
}

FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$0.calls"
case "$*" in
"account show"*) echo '{{}}' ;;
"functionapp list"*) echo '["images"]' ;;
"functionapp config appsettings list"*) cat "$0.settings" ;;
"keyvault secret show --id https://v.vault.azure.net/secrets/radar "*) echo '"s3cret-of-the-vault"' ;;
"keyvault secret show --vault-name v --name south "*) echo '"s3cret-of-the-south"' ;;
"eventgrid system-topic list"*) echo '{topics}' ;;
"eventgrid system-topic event-subscription list"*) echo '{subscriptions}' ;;
*) echo "ERROR: (Forbidden) not for you" >&2; exit 3 ;;
esac
"""


def az(folder: Path, topics: object = TOPICS, subscriptions: object = (GOOD,)) -> AzureCli:
    """Make an `az` that answers from a script and notes what it was asked."""
    program = folder / "az"
    program.write_text(FAKE.format(topics=json.dumps(topics), subscriptions=json.dumps(subscriptions)))
    program.chmod(0o700)
    return AzureCli(str(program))


def events(storage: Storage, cli: AzureCli | None) -> list[Finding]:
    return list(look_at_events(storage, cli))


def test_whose_rights_were_tried_is_told_where_it_matters() -> None:
    (finding,) = whose_rights(IN_AZURE)
    assert (finding.sign, "rights of the app's own identity" in finding.told) == (Sign.UNKNOWN, True)
    assert not list(whose_rights(EMULATOR)), "a key opens all"
    assert not list(whose_rights(replace(IN_AZURE, client_id="its own"))), "asked as the app"


def test_a_subscription_that_is_right_is_told(tmp_path: Path) -> None:
    (finding,) = events(IN_AZURE, az(tmp_path))
    assert (finding.sign, "new-archives" in finding.told) == (Sign.OK, True)
    assert "/storageAccounts/imagesabc'" in (tmp_path / "az.calls").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"provisioningState": "Failed"}, "its state is Failed"),
        ({"filter": {"includedEventTypes": ["Microsoft.Storage.BlobDeleted"]}}, "passes no Microsoft.Storage.BlobCre"),
        ({"filter": {"subjectBeginsWith": "/blobServices/default/containers/other/"}}, "begin with"),
        ({"filter": {"subjectEndsWith": ".json"}}, "end with .json"),
        ({"deadLetterWithResourceIdentity": None}, "has no dead-letter container"),
        ({"destination": {"resourceId": "/sites/a/functions/other"}}, "leads to the function on_raw_archive"),
    ],
)
def test_a_subscription_that_is_wrong_is_told(tmp_path: Path, change: Mapping[str, Any], told: str) -> None:
    (finding,) = events(IN_AZURE, az(tmp_path, subscriptions=[{**GOOD, **change}]))
    assert finding.sign is Sign.WRONG
    assert told in finding.told
    assert "infra/deploy.sh" in finding.told


def test_without_a_topic_there_is_no_subscription(tmp_path: Path) -> None:
    (finding,) = events(IN_AZURE, az(tmp_path, topics=[]))
    assert "has no Event Grid system topic" in finding.told


@pytest.mark.parametrize(("storage", "told"), [(EMULATOR, "an emulator has no"), (IN_AZURE, "az) is not on PATH")])
def test_what_cannot_be_looked_at_is_said(storage: Storage, told: str) -> None:
    (finding,) = events(storage, None)
    assert finding.sign is Sign.UNKNOWN
    assert told in finding.told


def test_who_is_not_logged_in_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "az"
    program.write_text("#!/bin/sh\necho \"ERROR: Please run 'az login' to setup account.\" >&2\nexit 1\n")
    program.chmod(0o700)
    (finding,) = events(IN_AZURE, AzureCli(str(program)))
    assert finding.sign is Sign.UNKNOWN
    assert "Please run 'az login'" in finding.told


def test_settings_of_an_app_have_their_secrets_and_not_its_identity(tmp_path: Path) -> None:
    cli = az(tmp_path)
    given = {
        "SOURCES__A__PASSWORD": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/radar/)",
        "SOURCES__B__PASSWORD": "@Microsoft.KeyVault(VaultName=v;SecretName=south)",
        "SOURCES__C__PASSWORD": "@Microsoft.KeyVault(VaultName=v;SecretName=missing)",
        "DATA_STORAGE__clientId": "0",
        "POLL_SCHEDULE": None,
    }
    told = [{"name": name, "value": value} for name, value in given.items()]
    (tmp_path / "az.settings").write_text(json.dumps(told))
    settings, (problem,) = app_settings(cli, "images")
    assert settings["SOURCES__A__PASSWORD"] == "s3cret-of-the-vault"
    assert settings["SOURCES__B__PASSWORD"] == "s3cret-of-the-south"
    assert not {"DATA_STORAGE__clientId"} & settings.keys()
    assert problem.told.startswith("SOURCES__C__PASSWORD: its secret could not be read: az keyvault secret show: (Forb")


@pytest.mark.parametrize("name", ["", "a'||'", "x" * 61, "a b"])
def test_a_name_that_no_app_can_have_is_not_asked_for(name: str) -> None:
    with pytest.raises(PermanentError, match="no name of a function app"):
        app_settings(AzureCli(os.devnull), name)


def test_an_az_that_cannot_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="it did not answer"):
        AzureCli(str(tmp_path / "none")).ask("account", "show")
