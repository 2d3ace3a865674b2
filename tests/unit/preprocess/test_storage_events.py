"""The events of a storage account that start work, in the forms in which Event Grid delivers them."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from azure.functions.eventgrid import EventGridEventInConverter
from azure.functions.meta import Datum

from function_app import announced_archive
from preprocess.event import COMPLETE
from tests.fixtures.storage_events import ENDPOINTS, NAME, Schema, storage_event

SCHEMAS = get_args(Schema.__value__)
INFRA = Path(__file__).parents[3] / "infra"


def translated(event: Any) -> str | None:
    """Pass an event to the function as in Azure, through the worker library."""
    return announced_archive(EventGridEventInConverter.decode(Datum(json.dumps(event), "json"), trigger_metadata={}))


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("api", sorted(COMPLETE))
def test_a_blob_that_is_whole_starts_work(api: str, schema: Schema) -> None:
    assert translated(storage_event(api, schema)) == NAME


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize(
    ("api", "kind"),
    [
        # An empty blob, before anything is written into it.
        ("CreateFile", "BlobCreated"),
        ("SftpCreate", "BlobCreated"),
        ("DeleteBlob", "BlobDeleted"),
        ("DeleteFile", "BlobDeleted"),
        ("SftpRemove", "BlobDeleted"),
        # Renaming into the container announces no name that ours could be; `reconcile` finds the blob.
        ("RenameFile", "BlobRenamed"),
        ("SftpRename", "BlobRenamed"),
        ("CreateDirectory", "DirectoryCreated"),
        ("SetBlobTier", "BlobTierChanged"),
    ],
)
def test_anything_else_is_passed_over(api: str, kind: str, schema: Schema) -> None:
    assert translated(storage_event(api, schema, kind=f"Microsoft.Storage.{kind}")) is None


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize(
    ("container", "name"),
    [("processed", NAME), ("raw-copies", NAME), ("raw", "radar/notes.txt"), ("raw", "a.zip.part")],
)
def test_other_containers_and_names_are_passed_over(container: str, name: str, schema: Schema) -> None:
    assert translated(storage_event("PutBlockList", schema, container=container, name=name)) is None


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_name_that_somebody_else_chose_arrives_as_it_is(schema: Schema) -> None:
    name = "by hand/grüße & 100% #1.ZIP"
    assert translated(storage_event("PutBlob", schema, name=name)) == name


def test_the_subscription_lets_pass_what_starts_work_and_nothing_else() -> None:
    """Each event that is skipped would cost a call."""
    text = (INFRA / "modules" / "event-subscription.bicep").read_text()
    assert {api for api in ENDPOINTS if f"'{api}'" in text} == COMPLETE
    assert "eventDeliverySchema: 'EventGridSchema'" in text
