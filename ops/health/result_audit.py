"""Audits the results of processed archives slice by slice; a cursor in storage keeps the position."""

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
"""Resolution of stamps: whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    pipeline: str
    before: datetime | None
    """The next slice begins with archives older than this; None: with the newest."""


class SlicedResultAudit:
    """Comparison of results with the ledger; implements ResultAudit.

    A call costs one request each for the cursor and the ledger, one for each day that the slice touches, and one for
    each 1,000 rows of the images and batches tables.
    """

    def __init__(self, clients: Clients, *, max_archives: int = 100, max_images: int = 10_000) -> None:
        """End a slice at the archive that reaches either limit; archives of one stamp stay together."""
        self._clients = clients
        self._max_archives = max_archives
        self._max_images = max_images

    def lost(self, source: str, pipeline: str, since: datetime) -> Sequence[Loss]:
        """Return what is missing of the next slice of a source's processed archives, and move the cursor."""
        before = self._cursor(source, pipeline)
        end = before or datetime.now(UTC) + _AHEAD
        ledger = self._slice(entries(self._clients, source, pipeline=pipeline, start=since, end=end))
        processed = [entry for entry in ledger if entry.state is State.PROCESSED and entry.pipeline == pipeline]
        found = list(lost_results(self._clients, source, pipeline, processed)) if processed else []
        # Move the cursor before any repair: a crash during a repair must not repeat the same slice forever.
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
        """Return whether the archive's entry is still the same; else it is being processed again and lost nothing.

        Processing again removes the time of State.PROCESSED and sets a new one at its end.
        """
        archive, stamp = entry.archive, entry.archive.stamp
        again = entries(self._clients, archive.source, pipeline=entry.pipeline, start=stamp, end=stamp + _MOMENT)
        return any(now.archive.version == archive.version and now.times == entry.times for now in again)

    def _cursor(self, source: str, pipeline: str) -> datetime | None:
        """Return where the next slice begins; None: at the newest archive."""
        check = self._check(source).read()
        return check.before if check is not None and check.pipeline == pipeline else None

    def _remember(self, source: str, pipeline: str, before: datetime | None, after: datetime | None) -> None:
        if before != after:
            self._check(source).write(_Check(pipeline=pipeline, before=after))

    def _check(self, source: str) -> JsonBlob[_Check]:
        return JsonBlob(self._clients.state, check_blob(source), _Check)
