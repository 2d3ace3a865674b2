"""Checks the event subscription; without it, new archives wait for `reconcile`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from config.settings import Storage
from imagefeed.errors import PermanentError
from ops.health.doctor.azure_cli import AzureCli
from ops.health.doctor.findings import Finding, ok, unknown, wrong

_ABOUT = "events"
_FUNCTION = "on_raw_archive"
_CREATED = "Microsoft.Storage.BlobCreated"
_ACCOUNT = re.compile(r"(?:https://|AccountName=)(?P<name>[a-z0-9]{3,24})(?:\.blob\.|\.privatelink\.|;|$)")
_EMULATOR = "devstoreaccount1"
_AGAIN = "run infra/deploy.sh again"


def check_events(storage: Storage, cli: AzureCli | None) -> Iterator[Finding]:
    """Yield problems of the storage account's event subscription for on_raw_archive."""
    account = _account(storage)
    if account is None:
        yield unknown(_ABOUT, "the storage settings do not contain the account's name")
    elif account == _EMULATOR:
        yield unknown(_ABOUT, "an emulator has no Event Grid; locally the relay of `make run` replaces it")
    elif cli is None:
        yield unknown(_ABOUT, "Azure CLI (az) is not on PATH, so the event subscription was not checked")
    else:
        try:
            yield from _check_account(account, cli)
        except PermanentError as exc:
            yield unknown(_ABOUT, f"{exc}; if the login has expired: az login")


def _account(storage: Storage) -> str | None:
    match = _ACCOUNT.search(storage.blob or storage.connection or "")
    return match["name"] if match else None


def _check_account(account: str, cli: AzureCli) -> Iterator[Finding]:
    listed = cli.ask(
        "eventgrid", "system-topic", "list", "--query", "[].{name: name, group: resourceGroup, source: source}"
    )
    # Azure returns the id of a topic's source in lower case or as written.
    topics = [topic for topic in listed if str(topic["source"]).lower().endswith(f"/storageaccounts/{account}")]
    subscriptions = [item for topic in topics for item in _subscriptions(topic, cli) if _function(item) == _FUNCTION]
    if not topics:
        yield wrong(_ABOUT, f"the storage account {account} has no Event Grid system topic: {_AGAIN}")
    elif not subscriptions:
        yield wrong(_ABOUT, f"no event subscription leads to the function {_FUNCTION}: {_AGAIN}")
    for subscription in subscriptions:
        problems = list(_problems(subscription))
        name = f"event subscription {subscription.get('name')}"
        yield from (wrong(_ABOUT, f"{name}: {problem}: {_AGAIN}") for problem in problems)
        if not problems:
            yield ok(_ABOUT, f"{name} leads new archives to {_FUNCTION}, and dead letters to a container")


def _subscriptions(topic: Mapping[str, str], cli: AzureCli) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = cli.ask(
        "eventgrid", "system-topic", "event-subscription", "list",
        "--resource-group", topic["group"], "--system-topic-name", topic["name"],
    )  # fmt: skip
    return listed


def _function(subscription: Mapping[str, Any]) -> str:
    destination = subscription.get("destination") or {}
    return str(destination.get("resourceId", "")).rpartition("/functions/")[2]


def _problems(subscription: Mapping[str, Any]) -> Iterator[str]:
    state = subscription.get("provisioningState")
    if state != "Succeeded":
        yield f"its state is {state}"
    event_filter = subscription.get("filter") or {}
    if _CREATED not in (event_filter.get("includedEventTypes") or [_CREATED]):
        yield f"it filters out {_CREATED}"
    begins, ends = str(event_filter.get("subjectBeginsWith") or ""), str(event_filter.get("subjectEndsWith") or "")
    if not "/blobServices/default/containers/raw/blobs/".startswith(begins):
        yield f"it passes only subjects that begin with {begins}"
    if not ".zip".endswith(ends):
        yield f"it passes only subjects that end with {ends}"
    if not subscription.get("deadLetterDestination") and not subscription.get("deadLetterWithResourceIdentity"):
        yield "it has no dead-letter container, so undeliverable events are lost"
