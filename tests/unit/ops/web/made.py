"""Stored data of a source, made up for tests."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from imagefeed.codec import Encoding
from imagefeed.ledger import Entry
from imagefeed.model import Counts, RawArchive, State
from imagefeed.rows import ImageRow
from ingest.model import Archive, RemoteFile, SourceSpec, SourceState, TrackedFile
from ops.health.load import ImageEntry, StoredQueues, StoredSource, StoredStatus
from ops.health.promises import Held
from ops.web.assess import assess
from ops.web.model import Status
from storage.blobs.runs import LastRun

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPEC = SourceSpec(name="radar")
HELD = Held(promises={"radar": SPEC})
QUIET = StoredQueues(batches=0, polls=0, poison=0, dead_letters=0)
_TIMES = {
    State.SEEN: (State.SEEN,),
    State.COPYING: (State.SEEN, State.COPYING),
    State.RAW: (State.SEEN, State.COPYING, State.RAW),
    State.PROCESSING: (State.SEEN, State.COPYING, State.RAW, State.PROCESSING),
}


def entry(minutes: float, state: State = State.PROCESSED, **known: Any) -> Entry:
    """Return an archive of this many minutes ago; it was seen a second after its time, and readable five later."""
    stamp = NOW - minutes * MINUTE
    passed = _TIMES.get(state, (State.SEEN, state))
    counts = known.pop("counts", Counts(members=3, images=3)) if state is State.PROCESSED else None
    archive = RawArchive(
        source="radar",
        stamp=stamp,
        version=known.pop("version", f"{int(minutes * 10):08x}"),
        blob="radar/2026/03/01/x.zip",
        size=known.pop("size", 1_000_000),
        path=known.pop("path", "a.zip"),
        etag="",
    )
    times = {step: stamp + timedelta(seconds=1 if step is State.SEEN else 6) for step in passed}
    return Entry(
        archive=archive,
        state=state,
        times=times,
        first_processed=known.pop("first_processed", times.get(State.PROCESSED)),
        pipeline="p-1" if counts else None,
        counts=counts,
        reason=known.pop("reason", None),
        modified=stamp,
        **known,
    )


def regular(count: int = 6, newest: float = 3) -> list[Entry]:
    return [entry(newest + 10 * number) for number in range(count)]


def tracked_file(minutes: float, **known: Any) -> TrackedFile:
    """Return a file of the last listing, of this many minutes ago."""
    at = NOW - minutes * MINUTE
    file = RemoteFile(path=known.pop("path", "a.zip"), size=9, modified=at)
    archive = Archive(source="radar", file=file, version="0" * 8, stamp=at)
    return TrackedFile(listed=file, archive=archive, first_seen=at, **known)


def image_entry(name: str) -> ImageEntry:
    encoding = Encoding(shape=(4, 4, 3), dtype="uint8", codec="npy", checksum="")
    row = ImageRow(
        member=0,
        frame=0,
        name=name,
        format="JPEG",
        captured_at=None,
        encoding=encoding,
        parts=1,
        shard="s",
        offset=0,
        length=9,
    )
    return ImageEntry(archive=entry(3).archive, pipeline="p-1", row=row)


def stored_source(entries: Sequence[Entry], source_state: SourceState | None = None, **known: Any) -> StoredSource:
    polled = SourceState(source="radar", listed_at=NOW - timedelta(seconds=20))
    values: dict[str, Any] = {"before": None, "rows": 2 * len(entries), "cut": False, "images": (), **known}
    return StoredSource(source="radar", source_state=source_state or polled, entries=entries, **values)


def status_of(
    entries: Sequence[Entry],
    source_state: SourceState | None = None,
    queues: StoredQueues = QUIET,
    runs: Mapping[str, LastRun] | None = None,
    held: Held = HELD,
    **known: Any,
) -> Status:
    """Return the assessment of a single source."""
    stored = StoredStatus(sources=[stored_source(entries, source_state, **known)], queues=queues, runs=runs or {})
    return assess(stored, held, NOW)
