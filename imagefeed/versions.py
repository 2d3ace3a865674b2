"""Selects the versions of files that readers take: of versions that replace one another, the newest processed one."""

from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Literal

from imagefeed.ledger import Entry, entries
from imagefeed.model import State, replaces
from imagefeed.stores import Stores

Versions = Literal["newest", "all"]


def list_versions(
    stores: Stores,
    source: str,
    *,
    pipeline: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    page: int | None = None,
) -> Iterator[tuple[Entry, Entry | None]]:
    """Yield the entries of `ledger.entries`, each with the processed entry that replaces it, or None.

    This takes no further request, except for archives that were copied under `REPLACES=path`: a later version may have
    a stamp after the range. For these the ledger is read once from its newest archive down to `end`, 1,000 rows in a
    request (an archive has two, and one more for each further pipeline), only until each path's first later version.
    """
    listed = entries(stores, source, pipeline=pipeline, start=start, end=end, page=page)
    behind = () if end is None else entries(stores, source, pipeline=pipeline, start=end)
    return with_newer(listed, behind)


def with_newer(listed: Iterable[Entry], behind: Iterable[Entry] = ()) -> Iterator[tuple[Entry, Entry | None]]:
    """Yield a source's entries, newest stamps first, each with the processed entry that replaces it, or None.

    All entries are of one pipeline. `behind` are those with later stamps than the first of `listed`; only as many are
    read as are needed.
    """
    newest: dict[Hashable, Entry] = {}
    later = iter(behind)
    for _, group in groupby(listed, key=lambda entry: entry.archive.stamp):
        of_one_stamp = list(group)
        for entry in of_one_stamp:
            _note(newest, entry)
        for entry in of_one_stamp:
            newer = _newer(newest, entry)
            while newer is None and entry.archive.replaces == "path" and (candidate := next(later, None)) is not None:
                _note(newest, candidate)
                newer = _newer(newest, entry)
            yield entry, newer


def is_readable(entry: Entry, newer: Entry | None, versions: Versions = "newest") -> bool:
    """Return whether readers take an entry, given the entry `newer` that replaces it."""
    return entry.state is State.PROCESSED and (newer is None or versions == "all")


def why_left_out(entry: Entry, newer: Entry | None) -> str:
    """Return why an archive is not read: its reason for a refusal or failure, or the version that replaces it."""
    replaced = f"version {newer.archive.version} replaces it" if newer else ""
    return "; ".join(filter(None, (entry.reason, replaced)))


def _note(newest: dict[Hashable, Entry], entry: Entry) -> None:
    key = entry.pipeline, entry.archive.series
    if entry.state is State.PROCESSED and entry.archive.series is not None:
        known = newest.get(key)
        if known is None or entry.archive.rank > known.archive.rank:
            newest[key] = entry


def _newer(newest: dict[Hashable, Entry], entry: Entry) -> Entry | None:
    candidate = newest.get((entry.pipeline, entry.archive.series))
    return candidate if candidate is not None and replaces(candidate.archive, entry.archive) else None
