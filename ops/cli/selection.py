"""Selection of the archives that `replay` has preprocessed again."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagefeed.errors import PermanentError
from imagefeed.layout import RAW_CONTAINER, parse_stamp
from imagefeed.ledger import TERMINAL, Entry, entries, sources
from imagefeed.model import RawArchive, State
from storage.blobs.raw import MANUAL, RawBlobs
from storage.clients import Clients

_HANDLE = re.compile(r"(?P<source>[a-z0-9-]{1,32})/(?:(?P<stamp>\d{8}T\d{6}Z)\.)?(?P<version>[0-9a-f]{8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A source's archives in a time range, by their state under one pipeline."""

    due: Sequence[RawArchive]
    """Archives without a terminal state, newest first."""
    skipped: dict[State, int]
    """Number of the other archives by terminal state."""


def find_archive(clients: Clients, handle: str, pipeline: str) -> RawArchive:
    """Return the archive named `<source>/<version>`, `<source>/<stamp>.<version>` or by its raw blob's name.

    Raises PermanentError if there is none, or if it was never copied.
    """
    name = handle.removeprefix(f"{RAW_CONTAINER}/")
    entry = next(_named(clients, name, pipeline), None)
    if entry is None:
        # An uploaded blob has no ledger row if its event was lost.
        raw = RawBlobs(clients, lambda _source, _name: None).find(name) if name.lower().endswith(".zip") else None
        if raw is None:
            raise PermanentError(
                f"replay {handle}: there is no such archive; name it <source>/<version>, both as "
                "`imagefeed ls` shows them, or give the name of its blob in the raw container"
            )
        return raw
    if State.RAW not in entry.times:
        raise PermanentError(f"replay {handle}: its state is {entry.state}, so it has no raw blob to preprocess")
    return entry.archive


def _named(clients: Clients, name: str, pipeline: str) -> Iterator[Entry]:
    match = _HANDLE.fullmatch(name)
    if match is None:
        # Blobs that were uploaded by hand outside every source's folder belong to the source MANUAL.
        for source in {name.partition("/")[0], MANUAL}:
            listed = entries(clients, source, pipeline=pipeline)
            yield from (entry for entry in listed if entry.archive.blob == name)
        return
    start = parse_stamp(match["stamp"]) if match["stamp"] else None
    end = start + timedelta(seconds=1) if start else None
    for entry in entries(clients, match["source"], pipeline=pipeline, start=start, end=end):
        if entry.archive.version == match["version"]:
            yield entry


def ended(
    clients: Clients, source: str | None, pipeline: str, states: Sequence[State], since: datetime, until: datetime
) -> list[RawArchive]:
    """Return the archives in one of `states` under a pipeline, newest first; of all sources if `source` is None."""
    return [
        entry.archive
        for name in ([source] if source else list(sources(clients)))
        for entry in entries(clients, name, pipeline=pipeline, start=since, end=until)
        if entry.state in states
    ]


def history(clients: Clients, source: str, pipeline: str, since: datetime, until: datetime) -> History:
    """Return a source's archives in the raw container, divided by their state under the pipeline."""
    due: list[RawArchive] = []
    skipped = dict.fromkeys(TERMINAL, 0)
    known: set[str] = set()
    for entry in entries(clients, source, pipeline=pipeline, start=since, end=until):
        known.add(entry.archive.blob)
        if entry.state in TERMINAL:
            skipped[entry.state] += 1
        elif State.RAW in entry.times:
            due.append(entry.archive)
    # Blobs without a ledger row: their event was lost, or the ledger was.
    lying = RawBlobs(clients, lambda _source, _name: None).recent(source, since)
    due += [archive for archive in lying if archive.blob not in known and archive.stamp < until]
    due.sort(key=lambda archive: archive.stamp, reverse=True)
    return History(due=due, skipped=skipped)
