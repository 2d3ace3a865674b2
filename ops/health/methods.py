"""Search for results of older decoder versions."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from imagefeed.azure_errors import azure_errors
from imagefeed.errors import PermanentError
from imagefeed.ledger import entries
from imagefeed.model import RawArchive, State
from preprocess.image.formats import METHODS
from storage.clients import Clients

_METHOD = re.compile(r"([a-z0-9]+)<([0-9]{1,4})", re.IGNORECASE | re.ASCII)


def read_method(text: str) -> Mapping[str, int]:
    """Parse `tiff<2` (results of TIFF decoder versions below 2) into {"TIFF": 2}.

    The version is capped at this app's own: replaying results of that version would not change them.
    Raises PermanentError if the text has another form or the format is unknown.
    """
    match = _METHOD.fullmatch(text)
    if match is None or match[1].upper() not in METHODS:
        raise PermanentError(f"--method {text}: it must be like 'tiff<2', of one of {', '.join(METHODS).lower()}")
    name = match[1].upper()
    return {name: min(int(match[2]), METHODS[name])}


def outdated(
    clients: Clients, source: str, pipeline: str, start: datetime, end: datetime, versions: Mapping[str, int] = METHODS
) -> Iterator[RawArchive]:
    """Yield processed archives with an image decoded by a version below `versions[format]`, newest first.

    The default is this app's decoder versions. Makes no request if every version is 1.
    """
    newer = {name: version for name, version in versions.items() if version > 1}
    if not newer:
        return
    older = " or ".join(f"(format eq '{name}' and method lt {version})" for name, version in newer.items())
    for entry in entries(clients, source, pipeline=pipeline, start=start, end=end):
        if entry.state is State.PROCESSED:
            partition = entry.archive.key.partition(pipeline)
            with azure_errors(f"look for results of older decoders in {partition}"):
                rows = clients.images.query_entities(
                    f"PartitionKey eq @partition and ({older})",
                    parameters={"partition": partition},
                    results_per_page=1,
                    select=["RowKey"],
                )
                found = next(rows, None)
            if found is not None:
                yield entry.archive
