"""Reads the record, in the processed container, of the pipeline whose results readers take by default."""

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
    """Warning that a range has archives that the pipeline read has not processed, but an earlier one has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A period in which a pipeline was the current one."""

    pipeline: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentPipeline:
    """The pipeline whose results are read if the caller names none."""

    pipeline: str
    since: datetime
    pinned: bool = False
    """True after `imagefeed pipeline use NAME`: the app does not switch to another pipeline by itself."""
    earlier: Sequence[Period] = ()
    """The periods of earlier current pipelines, latest first."""
    etag: str | None = field(default=None, compare=False)
    """The record's ETag; None if the record is not stored yet."""


def current_pipeline(stores: Stores, source: str) -> CurrentPipeline | None:
    """Return the record of a source; None if there is none yet. Raises ImageDamagedError if it is invalid."""
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
            f"read {name} in the processed container: not a valid pipeline record ({exc}); "
            "delete it, and the app writes it again"
        ) from exc


def pipeline_of_ranges(stores: Stores, source: str) -> str | None:
    """Return the pipeline that is read by default: the current one, or without a record the newest; None if neither."""
    current = current_pipeline(stores, source)
    return newest_pipeline(stores, source) if current is None else current.pipeline


def encode(current: CurrentPipeline) -> bytes:
    """Return a record as JSON."""
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
