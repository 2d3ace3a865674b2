"""Lists the names of pipelines and checks that a name exists."""

from azure.storage.blob import BlobPrefix

from imagefeed.azure_errors import azure_errors
from imagefeed.errors import PermanentError
from imagefeed.layout import NAME, pipeline_blob
from imagefeed.stores import Stores, names_in


def known_pipelines(stores: Stores) -> set[str]:
    """Return the names of all pipelines that have run or have results."""
    folder = pipeline_blob("").removesuffix(".json")
    with azure_errors("list the pipelines"):
        folders = [each.name for each in stores.processed.walk_blobs(delimiter="/") if isinstance(each, BlobPrefix)]
    names = {name.rstrip("/") for name in folders}
    return {*names_in(stores.state, folder), *filter(NAME.fullmatch, names)}


def require_pipeline(stores: Stores, name: str) -> None:
    """Raise PermanentError if no pipeline has that name, because a misspelt name would look like missing results."""
    known = known_pipelines(stores)
    if name not in known:
        others = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        raise PermanentError(f"--pipeline {name}: there is no such pipeline; {others}")
