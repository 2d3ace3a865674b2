"""Which archives are meant when somebody asks for them to be done again."""

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
    """A source's archives in a time range, as a pipeline left them."""

    due: Sequence[RawArchive]
    """Those that it has not ended, newest first."""
    skipped: dict[State, int]
    """How many of the others there are, by their end."""


def find_archive(clients: Clients, handle: str, pipeline: str) -> RawArchive:
    """Find an archive by `<source>/<version>`, `<source>/<stamp>.<version>` or its raw blob's name.

    Raises PermanentError if there is none, or it was never copied.
    """
    name = handle.removeprefix(f"{RAW_CONTAINER}/")
    entry = next(_named(clients, name, pipeline), None)
    if entry is None:
        # Nobody but its event may have told of it, and that was lost.
        raw = RawBlobs(clients, lambda _source, _name: None).find(name) if name.lower().endswith(".zip") else None
        if raw is None:
            raise PermanentError(
                f"replay {handle}: there is no such archive; name it <source>/<version>, both as "
                "`imagefeed ls` shows them, or give the name of its blob in the raw container"
            )
        return raw
    if State.RAW not in entry.times:
        raise PermanentError(f"replay {handle}: it is {entry.state}, and has no raw blob that could be preprocessed")
    return entry.archive


def _named(clients: Clients, name: str, pipeline: str) -> Iterator[Entry]:
    match = _HANDLE.fullmatch(name)
    if match is None:
        # What was put there by hand in no source's folder has a source of its own.
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
    """Give the archives that a pipeline ended in one of `states`, newest first; of all sources where none is named."""
    return [
        entry.archive
        for name in ([source] if source else list(sources(clients)))
        for entry in entries(clients, name, pipeline=pipeline, start=since, end=until)
        if entry.state in states
    ]


def history(clients: Clients, source: str, pipeline: str, since: datetime, until: datetime) -> History:
    """Look at all of a source's archives in the raw container, and at what the pipeline made of them."""
    due: list[RawArchive] = []
    skipped = dict.fromkeys(TERMINAL, 0)
    known: set[str] = set()
    for entry in entries(clients, source, pipeline=pipeline, start=since, end=until):
        known.add(entry.archive.blob)
        if entry.state in TERMINAL:
            skipped[entry.state] += 1
        elif State.RAW in entry.times:
            due.append(entry.archive)
    # What lies there without a row: its event was lost, or the ledger.
    lying = RawBlobs(clients, lambda _source, _name: None).recent(source, since)
    due += [archive for archive in lying if archive.blob not in known and archive.stamp < until]
    due.sort(key=lambda archive: archive.stamp, reverse=True)
    return History(due=due, skipped=skipped)
