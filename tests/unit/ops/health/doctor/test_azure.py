"""The doctor's checks by Azure CLI: the event subscription, and the settings of an app in Azure."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.settings import Storage
from imagefeed.errors import PermanentError
from ops.health.doctor.app import check_identity
from ops.health.doctor.azure_cli import App, AzureCli, app_settings, find_app
from ops.health.doctor.events import check_events
from ops.health.doctor.findings import CheckStatus, Finding
from ops.health.doctor.functions import host_in_azure
from tests.fixtures.azure_answers import (
    DATA,
    MAY_NOT_READ,
    event_subscription,
    identity,
    keys,
    listed_site,
    secret,
    settings,
    site,
    topic,
)
from tests.fixtures.fake_tools import Answer, Tools, refused

IN_AZURE = Storage(blob="https://imagesdataabcdefgh.blob.core.windows.net", queue="https://q", table="https://t")
EMULATOR = Storage(connection="AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:1/devstoreaccount1")
TOPICS = "eventgrid system-topic list"
SUBSCRIPTIONS = "eventgrid system-topic event-subscription list"
TOPIC = topic(identity("SystemAssigned", "1111"))


@contextmanager
def az(folder: Path, **answers: Answer) -> Iterator[tuple[AzureCli, Tools]]:
    """Make an az that answers like the real one."""
    given: dict[str, Sequence[Answer]] = {TOPICS: [[TOPIC]], SUBSCRIPTIONS: [[event_subscription()]], **answers}
    tools = Tools(folder / "tools", given)
    with tools.answering():
        yield AzureCli(str(tools.home / "bin" / "az")), tools


def deployed(given: Mapping[str, str], more: str, answer: Answer) -> dict[str, Sequence[Answer]]:
    """Return az's answers for an app with these settings, and to one further command."""
    of_settings = "functionapp config appsettings list"
    return {"functionapp list": [[listed_site()]], of_settings: [settings(dict(given))], more: [answer]}


def events(storage: Storage, cli: AzureCli | None) -> list[Finding]:
    return list(check_events(storage, cli))


def test_whose_rights_were_tried_is_told_where_it_matters() -> None:
    (finding,) = check_identity(IN_AZURE)
    assert (finding.status, "roles of the app's own identity" in finding.message) == (CheckStatus.UNKNOWN, True)
    assert not list(check_identity(EMULATOR)), "a key opens all"
    assert not list(check_identity(replace(IN_AZURE, client_id="its own"))), "asked as the app"


@pytest.mark.parametrize("source", [DATA, DATA.lower(), DATA.replace("/storageAccounts/", "/storageaccounts/")])
def test_a_subscription_that_is_right_is_told(tmp_path: Path, source: str) -> None:
    topics = [
        topic(None, source=source.replace("imagesdata", "others")),
        topic(None, source=source, name="t", where="hub"),
    ]
    with az(tmp_path, **{TOPICS: [topics]}) as (cli, tools):
        (finding,) = events(IN_AZURE, cli)
    assert (finding.status, "raw-archives" in finding.message) == (CheckStatus.OK, True)
    assert "--resource-group hub --system-topic-name t " in tools.calls[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provisioningState": "Failed"}, "its state is Failed"),
        ({"filter": {"includedEventTypes": ["Microsoft.Storage.BlobDeleted"]}}, "filters out Microsoft.Storage.BlobC"),
        ({"filter": {"subjectBeginsWith": "/blobServices/default/containers/other/"}}, "begin with"),
        ({"filter": {"subjectEndsWith": ".json"}}, "end with .json"),
        ({"deadLetterWithResourceIdentity": None}, "has no dead-letter container"),
        ({"destination": {"resourceId": "/sites/a/functions/other"}}, "leads to the function on_raw_archive"),
    ],
)
def test_a_subscription_that_is_wrong_is_told(tmp_path: Path, change: Mapping[str, Any], message: str) -> None:
    with az(tmp_path, **{SUBSCRIPTIONS: [[event_subscription(**change)]]}) as (cli, _):
        (finding,) = events(IN_AZURE, cli)
    assert finding.status is CheckStatus.WRONG
    assert message in finding.message
    assert "infra/deploy.sh" in finding.message


def test_without_a_topic_there_is_no_subscription(tmp_path: Path) -> None:
    with az(tmp_path, **{TOPICS: [[topic(None, source=f"{DATA}2")]]}) as (cli, _):
        (finding,) = events(IN_AZURE, cli)
    assert "has no Event Grid system topic" in finding.message


@pytest.mark.parametrize(("storage", "message"), [(EMULATOR, "an emulator has no"), (IN_AZURE, "az) is not on PATH")])
def test_what_cannot_be_looked_at_is_said(storage: Storage, message: str) -> None:
    (finding,) = events(storage, None)
    assert finding.status is CheckStatus.UNKNOWN
    assert message in finding.message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ERROR: Please run 'az login' to setup account.", "Please run 'az login'"),
        (MAY_NOT_READ, "az eventgrid system-topic list: You do not have the required permissions"),
        ("", "az eventgrid system-topic list: exit status 1"),
    ],
)
def test_what_az_says_is_told(tmp_path: Path, error: str, message: str) -> None:
    with az(tmp_path, **{TOPICS: [refused(1, error)]}) as (cli, _):
        (finding,) = events(IN_AZURE, cli)
    assert finding.status is CheckStatus.UNKNOWN
    assert message in finding.message


def test_the_host_of_an_app_is_asked_with_its_master_key_which_nothing_shows(tmp_path: Path) -> None:
    answers: dict[str, Sequence[Answer]] = {"functionapp list": [[listed_site()]], "functionapp show": [site()]}
    with az(tmp_path, **answers, **{"functionapp keys list": [keys("s3cret-master")]}) as (cli, tools):
        host = host_in_azure(cli, find_app(cli, "images-abc"))
    assert (host.url, host.key) == ("https://images-abc.azurewebsites.net", "s3cret-master")
    assert "s3cret" not in "".join((repr(host), *tools.calls))


def test_settings_of_an_app_have_their_secrets_and_not_its_identity(tmp_path: Path) -> None:
    given = {
        "SOURCES__A__PASSWORD": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/radar/)",
        "SOURCES__B__PASSWORD": "@Microsoft.KeyVault(VaultName=v;SecretName=south)",
        "SOURCES__C__PASSWORD": "@Microsoft.KeyVault(VaultName=v;SecretName=missing)",
        "DATA_STORAGE__clientId": "0",
        "POLL_SCHEDULE": None,
    }
    answers = {
        "functionapp list": [[{**listed_site(), "name": "other", "resourceGroup": "x"}, listed_site()]],
        "functionapp config appsettings list --name images-abc --resource-group g": [settings(given)],
        "keyvault secret show --id https://v.vault.azure.net/secrets/radar": [secret("radar", "s3cret-of-the-vault")],
        "keyvault secret show --vault-name v --name south": [secret("south", "s3cret-of-the-south")],
        "keyvault secret show --vault-name v --name missing": [refused(3, "ERROR: (SecretNotFound) A secret with ...")],
    }
    with az(tmp_path, **answers) as (cli, _):
        values, (problem,) = app_settings(cli, find_app(cli, "images-abc"))
    assert values["SOURCES__A__PASSWORD"] == "s3cret-of-the-vault"
    assert values["SOURCES__B__PASSWORD"] == "s3cret-of-the-south"
    assert values["POLL_SCHEDULE"] == ""
    assert not {"DATA_STORAGE__clientId"} & values.keys()
    assert problem.message.startswith("SOURCES__C__PASSWORD: its secret could not be read: az keyvault secret show: (S")


def test_an_app_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        az(tmp_path, **{"functionapp list": [[listed_site()]]}) as (cli, _),
        pytest.raises(PermanentError, match="no such function app"),
    ):
        find_app(cli, "images-xyz")


def test_the_only_app_of_a_resource_group_needs_no_name(tmp_path: Path) -> None:
    with az(tmp_path, **{"functionapp list --resource-group g": [[listed_site()]]}) as (cli, _):
        assert find_app(cli, None, "g") == App(name="images-abc", group="g")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([listed_site(), {**listed_site(), "name": "other"}], "several .*: name one with --app: images-abc, other"),
        ([], "no such function app in this resource group g"),
    ],
)
def test_a_resource_group_that_names_no_single_app_is_told(tmp_path: Path, listed: list[Any], message: str) -> None:
    with (
        az(tmp_path, **{"functionapp list --resource-group g": [listed]}) as (cli, _),
        pytest.raises(PermanentError, match=message),
    ):
        find_app(cli, None, "g")


@pytest.mark.parametrize("name", ["", "a'||'", "x" * 61, "a b"])
def test_a_name_that_no_app_can_have_is_not_asked_for(name: str) -> None:
    with pytest.raises(PermanentError, match="not a valid name of a function app"):
        find_app(AzureCli(os.devnull), name)


def test_an_az_that_cannot_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="az did not answer"):
        AzureCli(str(tmp_path / "none")).ask("account", "show")
