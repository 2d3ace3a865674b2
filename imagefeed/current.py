"""Which pipeline's results readers take by default, by a record in the processed container."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.errors import ImageDamagedError
from imagefeed.layout import current_blob
from imagefeed.ledger import newest_pipeline
from imagefeed.stores import Stores


class OlderResultsWarning(UserWarning):
    """A range has archives that only an earlier pipeline than the one read has processed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A time for which a pipeline was the current one."""

    pipeline: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentPipeline:
    """The pipeline whose results are read where none is named."""

    pipeline: str
    since: datetime
    pinned: bool = False
    """True after `imagefeed pipeline use NAME`: nobody switches it but people."""
    earlier: Sequence[Period] = ()
    """Those before it, the last one first."""
    etag: str | None = field(default=None, compare=False)
    """Of the record; None where it is not stored."""


def current_pipeline(stores: Stores, source: str) -> CurrentPipeline | None:
    """Read the record of a source; None if there is none yet. Raises ImageDamagedError for one that is no record."""
    name = current_blob(source)
    with azure_errors(f"read {name} in the processed container"):
        try:
            stream = stores.processed.get_blob_client(name).download_blob()
            content = stream.readall()
        except ResourceNotFoundError as exc:
            if error_code(exc) == "ContainerNotFound":
                raise
            return None
    try:
        return _decode(content, stream.properties.etag)
    except (ValueError, KeyError, TypeError) as exc:
        raise ImageDamagedError(
            f"read {name} in the processed container: it does not say which pipeline is current: {exc}; "
            "delete it: the app writes it anew"
        ) from exc


def pipeline_of_ranges(stores: Stores, source: str) -> str | None:
    """Name the pipeline that is read by default: the current one, or the newest before there is a record."""
    current = current_pipeline(stores, source)
    return newest_pipeline(stores, source) if current is None else current.pipeline


def encode(current: CurrentPipeline) -> bytes:
    """Write a record as JSON."""
    members = {name: value for name, value in asdict(current).items() if name != "etag"}
    return json.dumps(members, default=datetime.isoformat).encode("ascii")


def _decode(content: bytes, etag: str) -> CurrentPipeline:
    members = json.loads(content)
    return CurrentPipeline(
        pipeline=members["pipeline"],
        since=datetime.fromisoformat(members["since"]),
        pinned=members["pinned"],
        earlier=tuple(
            Period(
                pipeline=period["pipeline"],
                since=datetime.fromisoformat(period["since"]),
                until=datetime.fromisoformat(period["until"]),
            )
            for period in members["earlier"]
        ),
        etag=etag,
    )
