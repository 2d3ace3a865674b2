"""Looks through processed archives a slice at a time, and remembers in storage how far it came."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.layout import check_blob, format_stamp, parse_stamp
from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from ops.health.audit_results import lost_results
from preprocess.model import Loss
from storage.clients import Clients

_AHEAD = timedelta(days=1)
_MOMENT = timedelta(seconds=1)
"""Stamps are whole seconds."""


class SlicedResultAudit:
    """Results, held against the ledger; a ResultAudit.

    A call costs one request each for the cursor and the ledger, one for each day that the slice touches, and one for
    each 1,000 rows of the images and batches tables.
    """

    def __init__(self, clients: Clients, *, most_archives: int = 100, most_images: int = 10_000) -> None:
        """A slice ends with the archive that reaches either; archives of one stamp stay together."""
        self._clients = clients
        self._most = most_archives
        self._most_images = most_images

    def lost(self, source: str, pipeline: str, since: datetime) -> Sequence[Loss]:
        """Look at the next few of a source's processed archives, and name what they lost."""
        before = self._cursor(source, pipeline)
        end = before or datetime.now(UTC) + _AHEAD
        book = self._slice(entries(self._clients, source, pipeline=pipeline, start=since, end=end))
        processed = [entry for entry in book if entry.state is State.PROCESSED and entry.pipeline == pipeline]
        found = list(lost_results(self._clients, source, pipeline, processed)) if processed else []
        # Before anything is repaired: whoever dies over it must not meet the same slice for ever.
        self._remember(source, pipeline, before, book[-1].archive.stamp if self._is_full(book) else None)
        return [
            Loss(archive=entry.archive, missing=[f"{one.kind}: {one.name} {one.detail}".rstrip() for one in findings])
            for entry, findings in found
            if self._stood(entry)
        ]

    def _slice(self, book: Iterable[Entry]) -> list[Entry]:
        taken: list[Entry] = []
        for entry in book:
            if self._is_full(taken) and entry.archive.stamp != taken[-1].archive.stamp:
                break
            taken.append(entry)
        return taken

    def _is_full(self, taken: Sequence[Entry]) -> bool:
        images = sum(entry.counts.images for entry in taken if entry.counts is not None)
        return len(taken) >= self._most or images >= self._most_images

    def _stood(self, entry: Entry) -> bool:
        """Tell whether an archive was processed all the while: else somebody does it again, and it only seemed to lack.

        What does it again takes away the time at which it was processed, and its end sets another.
        """
        archive, stamp = entry.archive, entry.archive.stamp
        again = entries(self._clients, archive.source, pipeline=entry.pipeline, start=stamp, end=stamp + _MOMENT)
        return any(now.archive.version == archive.version and now.times == entry.times for now in again)

    def _cursor(self, source: str, pipeline: str) -> datetime | None:
        """Where to go on; None: at the newest."""
        name = check_blob(source)
        with azure_errors(f"read {name} from the state container"):
            try:
                content = self._clients.state.download_blob(name).readall()
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                return None
        told = json.loads(content)
        return parse_stamp(told["before"]) if told["before"] and told["pipeline"] == pipeline else None

    def _remember(self, source: str, pipeline: str, before: datetime | None, after: datetime | None) -> None:
        if before == after:
            return
        name = check_blob(source)
        told = {"pipeline": pipeline, "before": format_stamp(after) if after else None}
        with azure_errors(f"write {name} to the state container"):
            self._clients.state.upload_blob(name, json.dumps(told).encode(), overwrite=True)
