"""Checks of archives, from ledger entries and the last listing. Pure."""

from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

from imagefeed.ledger import TERMINAL, Entry
from imagefeed.model import ArchiveKey, Counts, Origin, RawArchive, State, by_kind, replaces
from imagefeed.terminal import count
from ingest.model import Promises, SourceState, TrackedFile
from ops.health.findings import Finding, Slug

_LATE = timedelta(minutes=30)
_BAD_ENDS = {
    State.EXPIRED: Slug.EXPIRED,
    State.FAILED: Slug.FAILED,
    State.REFUSED: Slug.REFUSED,
    State.EMPTY: Slug.EMPTY,
}
UNCOPIED = (State.SEEN, State.COPYING)
UNFINISHED = (State.RAW, State.PROCESSING)
_CORRECTIONS = {
    **dict.fromkeys((*UNCOPIED, *UNFINISHED), Slug.CORRECTION_PENDING),
    **dict.fromkeys((State.FAILED, State.REFUSED), Slug.CORRECTION_FAILED),
    State.EXPIRED: Slug.EXPIRED,
    State.EMPTY: Slug.EMPTY,
}
"""Finding for an unprocessed version if an older version is processed, by the state of the newer one."""
COPIED = (*UNFINISHED, *TERMINAL)


def late_after(promises: Promises | None) -> timedelta:
    """Return the longest time that an unfinished archive may stay in one state."""
    return min(promises.interval * promises.gap, _LATE) if promises else _LATE


def is_late(entry: Entry, now: datetime, limit: timedelta) -> bool:
    """Return whether an archive is unfinished and its last step was at least `limit` ago."""
    return entry.state in (*UNCOPIED, *UNFINISHED) and last_step(entry) + limit <= now


def check_archives(
    source: str,
    entries: Sequence[Entry],
    state: SourceState,
    now: datetime,
    limit: timedelta,
    raw: Container[str] = frozenset(),
) -> Iterator[Finding]:
    """Yield archives that are late, lost, refused or empty; `raw` are blobs that are known to exist.

    An archive that was replaced by a later version or a manual upload is not reported.
    """
    known = {entry.archive.key: entry for entry in entries}
    for file in state.tracked_files:
        key, path = file.archive.key, file.archive.file.path
        if not file.done and key.raw_blob(path) not in raw and file.first_seen + limit <= now:
            detail = _why_not_copied(file, known.get(key))
            yield Finding(slug=Slug.NOT_COPIED, source=source, name=path, since=file.first_seen, detail=detail)
    listed = {file.archive.key for file in state.tracked_files}
    mended = _processed_last(entries)
    read = _read_versions(entries)
    for entry in entries:
        archive, kept = entry.archive, read.get(entry.archive.series)
        cures = (mended.get((archive.stamp, name)) for name in (archive.path, None))
        stands = all(cure is None or last_step(entry) >= cure for cure in cures)
        if kept and replaces(archive, kept):
            if slug := _CORRECTIONS.get(entry.state):
                detail = f"readers use version {kept.version}; {_how_far(entry)}"
                yield of_archive(slug, archive.key, archive.path, detail)
        elif slug := _BAD_ENDS.get(entry.state):
            outdated = kept is not None and replaces(kept, archive)
            if stands and not outdated:
                yield of_archive(slug, archive.key, archive.path, entry.reason or "")
        if entry.state in UNFINISHED and is_late(entry, now, limit):
            yield of_archive(Slug.NOT_PREPROCESSED, archive.key, archive.blob, _how_far(entry))
        elif stands and archive.key not in listed and archive.blob not in raw and is_late(entry, now, limit):
            yield of_archive(
                Slug.NO_LONGER_LISTED, archive.key, archive.path, entry.reason or "no longer listed and never copied"
            )
    yield from _check_members(entries)


def check_raw(entries: Sequence[Entry], missing: Container[str]) -> Iterator[Finding]:
    """Yield archives that are copied according to the ledger and whose raw blobs are in `missing`."""
    for entry in entries:
        archive = entry.archive
        if entry.state in COPIED and archive.blob in missing:
            yield of_archive(Slug.RAW_MISSING, archive.key, archive.blob)


def of_archive(slug: Slug, key: ArchiveKey, name: str, detail: str = "") -> Finding:
    """Return a finding about an archive or its stored data."""
    return Finding(slug=slug, source=key.source, archive=key.id, name=name, since=key.stamp, detail=detail)


def _processed_last(entries: Sequence[Entry]) -> Mapping[tuple[datetime, str | None], datetime]:
    """Return when the last archive of each (stamp, path) was processed; the path of a manual upload is None.

    The path is in the key because another file may have the same stamp and does not replace this one. A manual upload
    may replace a file of any name.
    """
    processed = sorted((entry for entry in entries if entry.state is State.PROCESSED), key=last_step)
    return {
        (entry.archive.stamp, None if entry.archive.origin is Origin.MANUAL else entry.archive.path): last_step(entry)
        for entry in processed
    }


def _read_versions(entries: Sequence[Entry]) -> Mapping[Hashable, RawArchive]:
    """Return the version of each file that readers use, by the series of the file."""
    processed = (entry.archive for entry in entries if entry.state is State.PROCESSED)
    newest_last = sorted((archive for archive in processed if archive.series is not None), key=attrgetter("rank"))
    return {archive.series: archive for archive in newest_last}


def last_step(entry: Entry) -> datetime:
    """Return the latest time in a ledger entry, or the archive's stamp if it has none."""
    return max(entry.times.values(), default=entry.archive.stamp)


def _how_far(entry: Entry) -> str:
    return ": ".join(filter(None, (f"it is {entry.state}", entry.reason)))


def _why_not_copied(file: TrackedFile, entry: Entry | None) -> str:
    tries = f"{count(file.failures, 'try', 'tries')} failed" if file.failures else ""
    return ": ".join(filter(None, (tries, entry.reason if entry else None))) or "no copy was tried yet"


def _check_members(entries: Sequence[Entry]) -> Iterator[Finding]:
    processed = [entry for entry in entries if entry.state is State.PROCESSED]
    # A file that was sent again has another version; the one processed last counts.
    current = {(entry.archive.path, entry.archive.stamp): entry for entry in sorted(processed, key=last_step)}
    refused = {one.archive.key: one.counts for one in current.values() if one.counts and one.counts.refused}
    if refused:
        newest = max(refused, key=lambda key: key.stamp)
        sums = sum(refused.values(), start=Counts())
        name = f"{count(sums.refused, 'member')} of {count(len(refused), 'archive')}"
        kinds = by_kind(sums.refused_kinds)
        yield of_archive(Slug.MEMBERS_REFUSED, newest, name, f"{kinds}; all others can be read".removeprefix("; "))
