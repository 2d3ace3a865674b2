"""Pipelines that the user named: the settings first used under a name, and checks of later settings against them."""

from dataclasses import dataclass

from config.errors import PipelineMismatchError
from imagefeed.azure_errors import each
from imagefeed.layout import pipeline_blob
from storage.blobs.json_blob import JsonBlob
from storage.blobs.runs import last_run
from storage.clients import Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecord:
    """The settings first used under a pipeline's name."""

    fingerprint: str


def hold_pipeline(clients: Clients, name: str, fingerprint: str) -> None:
    """Check that `name` stands for the settings of `fingerprint`, and record them if the name is new.

    Raises PipelineMismatchError, StoreUnavailableError, StoreRefusedError.
    """
    created = _record(clients, name).create(PipelineRecord(fingerprint=fingerprint))
    if not created and (mismatch := pipeline_mismatch(clients, name, fingerprint)):
        raise PipelineMismatchError(mismatch)


def pipeline_mismatch(clients: Clients, name: str, fingerprint: str) -> str | None:
    """Return an error text if other settings made the results under a name: nothing is preprocessed until it is fixed.

    None if the settings match or the name is unused. Raises StoreUnavailableError, StoreRefusedError.
    """
    first = known_fingerprint(clients, name)
    if first in (None, fingerprint):
        return None
    return (
        f"pipeline {name}: its results were made with other preprocessing settings or another hook (fingerprint "
        f"{first}, now {fingerprint}); set PIPELINE_NAME to a new name, or set the PREPROCESS_ settings and the hook "
        "back"
    )


def require_running(clients: Clients, name: str, fingerprint: str) -> None:
    """Check that the app runs under `name` with these settings now: it drops requests for another pipeline.

    Raises PipelineMismatchError, StoreUnavailableError, StoreRefusedError.
    """
    run = last_run(clients, "poll_sources")
    if run is not None and run.stopped is not None:
        raise PipelineMismatchError(f"the app preprocesses nothing until this is fixed: {run.stopped}")
    if run is not None and run.pipeline is not None and run.fingerprint is not None:
        if (run.pipeline, run.fingerprint) == (name, fingerprint):
            return
        runs = f"the app runs under {_named(run.pipeline, run.fingerprint)}"
    else:
        # No run of the app has ended yet.
        known = _known(clients)
        if known.get(name) == fingerprint:
            return
        others = f"; recorded pipelines: {', '.join(sorted(known))}" if known else ""
        runs = f"the app has never run with them{others}"
    raise PipelineMismatchError(
        f"the settings and the hook here make the pipeline {_named(name, fingerprint)}, and {runs}; give this command "
        "the app's own PREPROCESS_ and PIPELINE_ settings and its hook, or let the app start with these first"
    )


def _named(name: str, fingerprint: str) -> str:
    return f"{name} (fingerprint {fingerprint[:8]})"


def known_fingerprint(clients: Clients, name: str) -> str | None:
    """Return the fingerprint of the settings first used under a name; None if the name was never used."""
    record = _record(clients, name).read()
    return None if record is None else record.fingerprint


def _known(clients: Clients) -> dict[str, str | None]:
    folder = pipeline_blob("").removesuffix(".json")
    blobs = list(each(clients.state.list_blob_names(name_starts_with=folder), "list the pipelines"))
    names = [blob.removeprefix(folder).removesuffix(".json") for blob in blobs]
    return {name: known_fingerprint(clients, name) for name in names}


def _record(clients: Clients, name: str) -> JsonBlob[PipelineRecord]:
    return JsonBlob(clients.state, pipeline_blob(name), PipelineRecord)
