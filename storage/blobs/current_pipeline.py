"""The record of the pipeline that readers of a source use by default; `reconcile` and commands write it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from imagefeed.azure_errors import azure_errors
from imagefeed.current import CurrentPipeline, Period, current_pipeline, encode
from imagefeed.entities import scan
from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import behind_stamp, current_blob
from imagefeed.ledger import ARCHIVE_COLUMNS, TERMINAL, entry_of, group_by_archive, newest_pipeline
from imagefeed.model import State
from preprocess.recovery.current import Progress
from storage.blobs.json_blob import JSON
from storage.clients import Clients

_TRIES = 5


class BlobCurrentPipelines:
    """Blobs of the processed container, one per source; a CurrentPipelines."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._read: dict[str, CurrentPipeline | None] = {}

    def read(self, source: str) -> tuple[str, bool] | None:
        """Return the current pipeline's name and whether it is pinned; None if there is no record yet."""
        record = self._read[source] = current_pipeline(self._clients, source)
        return None if record is None else (record.pipeline, record.pinned)

    def first(self, source: str) -> str | None:
        """Return the pipeline with the newest results."""
        return newest_pipeline(self._clients, source)

    def progress(self, source: str, pipeline: str, since: datetime) -> Iterator[Progress]:
        """Yield the progress, by the ledger, of each archive with a stamp from `since` on."""
        rows = scan(self._clients.archives, source, end=behind_stamp(since), select=ARCHIVE_COLUMNS)
        for group in group_by_archive(rows):
            own = entry_of(source, group, pipeline)
            raw_at = own.times.get(State.RAW) or own.archive.raw_at
            names = {row["pipeline"] for row in group if row.get("pipeline") is not None}
            others = [entry_of(source, group, name).times for name in names - {pipeline}]
            ends = [times[state] for times in others for state in TERMINAL if state in times]
            if raw_at is not None:
                yield Progress(
                    raw_at=raw_at,
                    ended=own.state in TERMINAL,
                    processed=own.state is State.PROCESSED,
                    other_ended_at=max(ends, default=None),
                )

    def switch(self, source: str, before: str | None, pipeline: str, now: datetime) -> bool:
        """Record another pipeline if the record is still as `read` returned it; return False if it changed."""
        record = self._read.get(source)
        if (None if record is None else record.pipeline) != before:
            return False
        return _write(self._clients, source, record, _changed(record, pipeline, now, pinned=False))


def pin(clients: Clients, source: str, pipeline: str, now: datetime) -> None:
    """Record a pipeline as the current one, even if the app runs under another; `reconcile` then keeps it."""
    _update(clients, source, lambda record: _changed(record, pipeline, now, pinned=True))


def unpin(clients: Clients, source: str) -> None:
    """Allow `reconcile` to switch the current pipeline again. Does nothing if there is no record."""
    _update(clients, source, lambda record: None if record is None else replace(record, pinned=False))


def _changed(record: CurrentPipeline | None, pipeline: str, now: datetime, *, pinned: bool) -> CurrentPipeline:
    if record is None:
        return CurrentPipeline(pipeline=pipeline, since=now, pinned=pinned)
    if record.pipeline == pipeline:
        return replace(record, pinned=pinned)
    period = Period(pipeline=record.pipeline, since=record.since, until=now)
    return CurrentPipeline(pipeline=pipeline, since=now, pinned=pinned, earlier=(period, *record.earlier))


def _update(clients: Clients, source: str, change: Callable[[CurrentPipeline | None], CurrentPipeline | None]) -> None:
    for _ in range(_TRIES):
        record = current_pipeline(clients, source)
        changed = change(record)
        if changed is None or _write(clients, source, record, changed):
            return
    raise StoreUnavailableError(
        f"write the current pipeline of {source}: other writers changed it during each of {_TRIES} tries; try again"
    )


def _write(clients: Clients, source: str, before: CurrentPipeline | None, record: CurrentPipeline) -> bool:
    name = current_blob(source)
    blob = clients.processed.get_blob_client(name)
    with azure_errors(f"write {name} in the processed container"):
        try:
            if before is None:
                blob.upload_blob(encode(record), overwrite=False, content_settings=JSON)
            else:
                blob.upload_blob(
                    encode(record),
                    overwrite=True,
                    etag=before.etag,
                    match_condition=MatchConditions.IfNotModified,
                    content_settings=JSON,
                )
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            return False
    return True
