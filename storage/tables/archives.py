"""The ledger of archives: the time of each step of each archive. States are derived from the times that are set."""

from datetime import datetime

from azure.data.tables import TableEntity

from config import telemetry
from imagefeed.entities import Properties, text, whole
from imagefeed.layout import encode_path
from imagefeed.ledger import time_of
from imagefeed.model import Origin, RawArchive
from ingest.model import Archive, CopyMetadata, Step
from storage.clients import Clients
from storage.tables.entities import change, set_once
from storage.tables.open_archives import OpenArchives

_ENDS = (Step.SAME, Step.SUPERSEDED, Step.EXPIRED)
"""Steps that end the copying of a file without a new raw archive."""


class TableCopyLedger:
    """The copying side of the archives table; a CopyLedger."""

    def __init__(self, clients: Clients, pipeline: str | None = None) -> None:
        """`pipeline` is the one for which copied archives are listed as open; None lists them for no pipeline."""
        self._archives = clients.archives
        self._open = OpenArchives(clients)
        self._pipeline = pipeline

    def record(self, archive: Archive, step: Step, at: datetime, metadata: CopyMetadata | None = None) -> None:
        """Record the time of a step, and with `RAW` the metadata of the copy."""
        known = {} if metadata is None else {"sha256": metadata.sha256, "complete": metadata.complete}
        row = archive.key.ledger_row()
        if step is Step.RAW and self._pipeline is not None:
            # The event may be late: until then the open row shows that the archive awaits preprocessing. It is written
            # first, because a step that is already recorded is not recorded again.
            self._open.open(archive.key, self._pipeline, _copied(archive), at)
        is_new = set_once(self._archives, archive.source, row, {**_copied(archive), **known, time_of(step): at})
        if is_new and step in _ENDS:
            telemetry.terminal(archive.source, step)

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Record why this attempt to copy failed."""
        failure = {"error": text(error), "error_at": at}

        def note(row: TableEntity | None) -> Properties:
            return failure if row is not None else {**_copied(archive), **failure}

        change(self._archives, archive.source, archive.key.ledger_row(), note)


def _copied(archive: Archive) -> Properties:
    return {
        "stamp": archive.stamp,
        "stamp_replaced": archive.stamp_replaced,
        "version": archive.version,
        "path": encode_path(archive.file.path),
        "size": whole(archive.file.size),
        "modified": archive.file.modified,
        "replaces": archive.replaces,
        "origin": str(Origin.COPIED),
        "blob": archive.key.raw_blob(archive.file.path),
    }


def raw_properties(archive: RawArchive) -> Properties:
    """Return the ledger properties of a raw archive, without those that are unknown."""
    known = {
        "stamp": archive.stamp,
        "version": archive.version,
        "path": encode_path(archive.path),
        "size": whole(archive.size),
        "modified": archive.modified,
        "replaces": archive.replaces,
        "origin": str(archive.origin),
        "blob": archive.blob,
        # `complete` is not known before the hashes are.
        "complete": None if archive.sha256 is None else archive.complete,
        "sha256": archive.sha256,
        "etag": archive.etag or None,
    }
    return {name: value for name, value in known.items() if value is not None}
