"""Rows of archives that are begun and not ended: one partition of the batches table per source and pipeline.

Reading one partition takes one request, whatever the ledger's size.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableEntity, UpdateMode

from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.entities import Properties, moment, scan
from imagefeed.layout import open_partition
from imagefeed.ledger import raw_archive
from imagefeed.model import ArchiveKey
from preprocess.model import OpenArchive
from storage.clients import Clients

log = logging.getLogger(f"ingestion.{__name__}")

_LOST_RACE = {404, 412}
_UNCHANGED = MatchConditions.IfNotModified


class OpenArchives:
    """The rows of open archives."""

    def __init__(self, clients: Clients) -> None:
        self._table = clients.batches

    def open(
        self, key: ArchiveKey, pipeline: str, facts: Properties, at: datetime, put_at: datetime | None = None
    ) -> None:
        """Record an archive as open, with the properties of its ledger row."""
        known = {name: value for name, value in {**facts, "put_at": put_at}.items() if value is not None}
        with azure_errors(f"open {key.source}/{key.version} under {pipeline}"):
            self._table.upsert_entity({**known, **_key(key, pipeline), "opened_at": at}, UpdateMode.MERGE)

    def close(self, key: ArchiveKey, pipeline: str, etag: str | None = None) -> None:
        """Remove an archive. Does nothing if it is not listed or, with an ETag, if its row has changed."""
        row = _key(key, pipeline)
        unchanged: dict[str, Any] = {} if etag is None else {"etag": etag, "match_condition": _UNCHANGED}
        with azure_errors(f"close {key.source}/{key.version} under {pipeline}"):
            try:
                self._table.delete_entity(row["PartitionKey"], row["RowKey"], **unchanged)
            except HttpResponseError as exc:
                if exc.status_code not in _LOST_RACE or error_code(exc) == "TableNotFound":
                    raise

    def list(self, source: str, pipeline: str) -> Sequence[OpenArchive]:
        """Return the archives of a source, those with the newest stamps first."""
        opened = []
        for row in scan(self._table, open_partition(pipeline, source)):
            try:
                opened.append(_read(source, row))
            except (ValueError, LookupError, TypeError):
                # Keep the other rows; `reconcile` finds this archive by its row in the ledger.
                log.exception("open.unread row=%s/%s", row["PartitionKey"], row["RowKey"])
        return opened

    def ask_plan(self, opened: OpenArchive, pipeline: str, at: datetime) -> bool:
        """Count a new request for an archive's plan; return False if its row has changed since it was read."""
        entity = {**_key(opened.archive.key, pipeline), "put_at": at, "asked": opened.asked + 1}
        with azure_errors(f"ask for the plan of {opened.archive.blob}"):
            try:
                self._table.update_entity(entity, UpdateMode.MERGE, etag=opened.etag, match_condition=_UNCHANGED)
            except HttpResponseError as exc:
                if exc.status_code not in _LOST_RACE or error_code(exc) == "TableNotFound":
                    raise
                return False
        return True


def _read(source: str, row: TableEntity) -> OpenArchive:
    opened_at = moment(row["opened_at"])
    if opened_at is None:
        raise ValueError(f"the row of the open archive {row['RowKey']} has no opened_at")
    return OpenArchive(
        archive=raw_archive(source, row),
        opened_at=opened_at,
        put_at=moment(row.get("put_at")),
        asked=int(row.get("asked", 0)),
        etag=str(row.metadata["etag"]),
    )


def _key(key: ArchiveKey, pipeline: str) -> dict[str, str]:
    return {"PartitionKey": open_partition(pipeline, key.source), "RowKey": key.ledger_row()}
