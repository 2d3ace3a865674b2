"""The ledger of archives: what happened to each, and when. States are derived from the times that are set."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from azure.data.tables import TableEntity

import telemetry
from ingest.model import Archive, CopyFacts, Step
from preprocess.model import Origin, RawArchive
from storage.clients import Clients
from storage.entities import Properties, change, moment, number, set_once, text, whole
from storage.keys import archive_row, decode_path, encode_path, raw_blob


class State(StrEnum):
    """How far an archive has come."""

    SEEN = "seen"
    COPYING = "copying"
    RAW = "raw"
    PROCESSING = "processing"
    PROCESSED = "processed"
    REFUSED = "refused"
    FAILED = "failed"
    SAME = "same"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


SETTLED = (State.PROCESSED, State.REFUSED, State.FAILED)
"""Ends of preprocessing. A batch that finishes after all turns a failed archive into a processed one."""

_ENDS = (Step.SAME, Step.SUPERSEDED, Step.EXPIRED)
"""Ends of copying."""

ARCHIVE_COLUMNS = [
    "RowKey",
    "pipeline",
    "stamp",
    "stamp_replaced",
    "version",
    "path",
    "size",
    "modified",
    "origin",
    "blob",
    "sound",
    "sha256",
    "etag",
    "error",
    "error_at",
    *(f"{state}_at" for state in State),
    "reason",
    "batches",
    "members",
    "images",
    "refused",
    "skipped",
    "bytes_in",
    "bytes_out",
]
"""All but the plans, which may be large."""

_BY_FINALITY = (
    *SETTLED,
    State.PROCESSING,
    # That the blob exists outweighs whatever polling concluded meanwhile.
    State.RAW,
    State.SAME,
    State.SUPERSEDED,
    State.EXPIRED,
    State.COPYING,
)


def state_of(row: Mapping[str, Any]) -> State:
    """Derive the state from the times that a row has, so that a writer who is late cannot turn it back."""
    return next((state for state in _BY_FINALITY if row.get(time_of(state)) is not None), State.SEEN)


def time_of(step: State | Step) -> str:
    """Name the property that holds the time of a step."""
    return f"{step}_at"


class TableCopyLedger:
    """The copying side of the archives table; a CopyLedger."""

    def __init__(self, clients: Clients) -> None:
        self._archives = clients.archives

    def record(self, archive: Archive, step: Step, at: datetime, facts: CopyFacts | None = None) -> None:
        """Set the time of a step, and with `RAW` the facts."""
        known = {} if facts is None else {"sha256": facts.sha256, "sound": facts.sound}
        row = archive_row(archive.stamp, archive.version)
        is_new = set_once(self._archives, archive.source, row, {**_copied(archive), **known, time_of(step): at})
        if is_new and step in _ENDS:
            telemetry.settled(archive.source, step)

    def trouble(self, archive: Archive, error: str, at: datetime) -> None:
        """Note why copying failed this time."""
        told = {"error": text(error), "error_at": at}

        def note(there: TableEntity | None) -> Properties:
            return told if there is not None else {**_copied(archive), **told}

        change(self._archives, archive.source, archive_row(archive.stamp, archive.version), note)


def _copied(archive: Archive) -> Properties:
    return {
        "stamp": archive.stamp,
        "stamp_replaced": archive.stamp_replaced,
        "version": archive.version,
        "path": encode_path(archive.file.path),
        "size": whole(archive.file.size),
        "modified": archive.file.modified,
        "origin": str(Origin.COPIED),
        "blob": raw_blob(archive.source, archive.stamp, archive.version, archive.file.path),
    }


def raw_properties(archive: RawArchive) -> Properties:
    """Write what is known of a raw archive."""
    known = {
        "stamp": archive.stamp,
        "version": archive.version,
        "path": encode_path(archive.path),
        "size": whole(archive.size),
        "origin": str(archive.origin),
        "blob": archive.blob,
        # Before the hashes are known, so is not whether it is sound.
        "sound": None if archive.sha256 is None else archive.sound,
        "sha256": archive.sha256,
        "etag": archive.etag or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def raw_archive(source: str, row: Mapping[str, Any]) -> RawArchive:
    """Read a raw archive from its row; its ETag is empty where only copying has written so far."""
    return RawArchive(
        source=source,
        stamp=_stamp(row),
        version=row["version"],
        blob=row["blob"],
        size=number(row["size"]),
        path=decode_path(row["path"]),
        origin=Origin(row.get("origin", Origin.COPIED)),
        sound=row.get("sound") is not False,
        sha256=row.get("sha256"),
        etag=row.get("etag") or "",
        modified=moment(row.get("modified")),
        raw_at=moment(row.get(time_of(State.RAW))),
    )


def _stamp(row: Mapping[str, Any]) -> datetime:
    stamp = moment(row["stamp"])
    if stamp is None:
        raise ValueError(f"the ledger's row {row.get('RowKey')} has no stamp")
    return stamp
