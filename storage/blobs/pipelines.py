"""Pipelines that have a name of the user's: the settings first used under it, against which later ones are held."""

from dataclasses import dataclass

from config.errors import PipelineMismatchError
from imagefeed.azure_errors import each
from imagefeed.layout import pipeline_blob
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecord:
    """The settings first used under a pipeline's name."""

    fingerprint: str


def hold_pipeline(clients: Clients, name: str, fingerprint: str) -> None:
    """Make sure that `name` stands for the settings of `fingerprint`: the first to come decides.

    Raises PipelineMismatchError, StoreUnavailableError, StoreRefusedError.
    """
    created = _record(clients, name).create(PipelineRecord(fingerprint=fingerprint))
    if not created and (mismatch := pipeline_mismatch(clients, name, fingerprint)):
        raise PipelineMismatchError(mismatch)


def pipeline_mismatch(clients: Clients, name: str, fingerprint: str) -> str | None:
    """Say that other settings made the results under a name, and the cure: until then nothing is preprocessed.

    None where they are the same, or nothing has run under it. Raises StoreUnavailableError, StoreRefusedError.
    """
    first = known_fingerprint(clients, name)
    if first in (None, fingerprint):
        return None
    return (
        f"pipeline {name}: its results were made with other preprocessing settings or another hook (fingerprint "
        f"{first}, now {fingerprint}); set PIPELINE_NAME to a new name, or set the PREPROCESS_ settings and the hook "
        "back"
    )


def check_pipeline(clients: Clients, name: str, fingerprint: str) -> None:
    """Make sure that the app has run with these settings under `name`: it alone makes results.

    Raises PipelineMismatchError, StoreUnavailableError, StoreRefusedError.
    """
    known = _known(clients)
    if known.get(name) != fingerprint:
        others = f"it knows {', '.join(sorted(known))}" if known else "it has run under none yet"
        raise PipelineMismatchError(
            f"pipeline {name}, which the settings here make: the app has never run with them; {others}; give this "
            "command the app's own PREPROCESS_ and PIPELINE_ settings, or let the app start with these first"
        )


def known_fingerprint(clients: Clients, name: str) -> str | None:
    """Return the fingerprint of the settings first used under a name; None if there were none yet."""
    record = _record(clients, name).read()
    return None if record is None else record.fingerprint


def _known(clients: Clients) -> dict[str, str | None]:
    folder = pipeline_blob("").removesuffix(".json")
    blobs = list(each(clients.state.list_blob_names(name_starts_with=folder), "list the pipelines"))
    names = [blob.removeprefix(folder).removesuffix(".json") for blob in blobs]
    return {name: known_fingerprint(clients, name) for name in names}


def _record(clients: Clients, name: str) -> JsonBlob[PipelineRecord]:
    return JsonBlob(clients.state, pipeline_blob(name), PipelineRecord)
