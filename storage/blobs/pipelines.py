"""Pipelines that have a name of the user's: the settings first used under it, against which later ones are held."""

import json
from collections.abc import Iterator, Mapping

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobClient, ContentSettings

from config.errors import PipelineMismatchError
from imagefeed.azure_errors import azure_errors
from imagefeed.layout import pipeline_blob
from storage.clients import Clients


def hold_pipeline(clients: Clients, name: str, fingerprint: str, about: Mapping[str, str] | None = None) -> None:
    """Make sure that `name` stands for the settings of `fingerprint`: the first to come decides.

    `about` describes the settings for people who look. Raises PipelineMismatchError, StoreUnavailableError,
    StoreRefusedError.
    """
    blob = clients.state.get_blob_client(pipeline_blob(name))
    first = _first_fingerprint(blob, {"fingerprint": fingerprint, "about": dict(about or {})})
    if first != fingerprint:
        raise PipelineMismatchError(
            f"pipeline {name}: its results were made with other preprocessing settings (fingerprint {first}, "
            f"now {fingerprint}); set PIPELINE_NAME to a new name, or set the PREPROCESS_ settings back"
        )


def check_pipeline(clients: Clients, name: str, fingerprint: str) -> None:
    """Make sure that the app has run with these settings under `name`: it alone makes results.

    Raises PipelineMismatchError, StoreUnavailableError, StoreRefusedError.
    """
    known = dict(_known(clients))
    if known.get(name) != fingerprint:
        others = f"it knows {', '.join(sorted(known))}" if known else "it has run under none yet"
        raise PipelineMismatchError(
            f"pipeline {name}, which the settings here make: the app has never run with them; {others}; give this "
            "command the app's own PREPROCESS_ and PIPELINE_ settings, or let the app start with these first"
        )


def _known(clients: Clients) -> Iterator[tuple[str, str]]:
    with azure_errors("list the pipelines"):
        for name in list(clients.state.list_blob_names(name_starts_with=pipeline_blob("").removesuffix(".json"))):
            told = json.loads(clients.state.download_blob(name).readall())
            yield name.rpartition("/")[2].removesuffix(".json"), str(told["fingerprint"])


def _first_fingerprint(blob: BlobClient, told: Mapping[str, object]) -> str:
    with azure_errors(f"hold the settings against {blob.blob_name}"):
        try:
            content = ContentSettings(content_type="application/json")
            blob.upload_blob(json.dumps(told, indent=1).encode(), overwrite=False, content_settings=content)
        except ResourceExistsError:
            told = json.loads(blob.download_blob().readall())
    return str(told["fingerprint"])
