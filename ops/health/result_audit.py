"""Looks through processed archives a slice at a time, and remembers in storage how far it came."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagefeed.layout import check_blob
from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from ops.health.audit_results import lost_results
from preprocess.model import Loss
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients

_AHEAD = timedelta(days=1)
_MOMENT = timedelta(seconds=1)
"""Stamps are whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    pipeline: str
    before: datetime | None
    """Archives older than this are looked at next; None: begin with the newest."""


class SlicedResultAudit:
    """Results, held against the ledger; a ResultAudit.

    A call costs one request each for the cursor and the ledger, one for each day that the slice touches, and one for
    each 1,000 rows of the images and batches tables.
    """

    def __init__(self, clients: Clients, *, max_archives: int = 100, max_images: int = 10_000) -> None:
        """A slice ends with the archive that reaches either; archives of one stamp stay together."""
        self._clients = clients
        self._max_archives = max_archives
        self._max_images = max_images

    def lost(self, source: str, pipeline: str, since: datetime) -> Sequence[Loss]:
        """Look at the next few of a source's processed archives, and name what they lost."""
        before = self._cursor(source, pipeline)
        end = before or datetime.now(UTC) + _AHEAD
        ledger = self._slice(entries(self._clients, source, pipeline=pipeline, start=since, end=end))
        processed = [entry for entry in ledger if entry.state is State.PROCESSED and entry.pipeline == pipeline]
        found = list(lost_results(self._clients, source, pipeline, processed)) if processed else []
        # Before anything is repaired: whoever dies over it must not meet the same slice for ever.
        self._remember(source, pipeline, before, ledger[-1].archive.stamp if self._is_full(ledger) else None)
        return [
            Loss(
                archive=entry.archive,
                missing=[f"{one.slug.words}: {one.name} {one.detail}".rstrip() for one in findings],
            )
            for entry, findings in found
            if self._is_unchanged(entry)
        ]

    def _slice(self, ledger: Iterable[Entry]) -> list[Entry]:
        selected: list[Entry] = []
        for entry in ledger:
            if self._is_full(selected) and entry.archive.stamp != selected[-1].archive.stamp:
                break
            selected.append(entry)
        return selected

    def _is_full(self, selected: Sequence[Entry]) -> bool:
        images = sum(entry.counts.images for entry in selected if entry.counts is not None)
        return len(selected) >= self._max_archives or images >= self._max_images

    def _is_unchanged(self, entry: Entry) -> bool:
        """Tell whether an archive was processed all the while: else somebody does it again, and it only seemed to lack.

        What does it again takes away the time at which it was processed, and its end sets another.
        """
        archive, stamp = entry.archive, entry.archive.stamp
        again = entries(self._clients, archive.source, pipeline=entry.pipeline, start=stamp, end=stamp + _MOMENT)
        return any(now.archive.version == archive.version and now.times == entry.times for now in again)

    def _cursor(self, source: str, pipeline: str) -> datetime | None:
        """Where to go on; None: at the newest."""
        check = self._check(source).read()
        return check.before if check is not None and check.pipeline == pipeline else None

    def _remember(self, source: str, pipeline: str, before: datetime | None, after: datetime | None) -> None:
        if before != after:
            self._check(source).write(_Check(pipeline=pipeline, before=after))

    def _check(self, source: str) -> JsonBlob[_Check]:
        return JsonBlob(self._clients.state, check_blob(source), _Check)
