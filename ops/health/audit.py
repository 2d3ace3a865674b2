"""Compares, for one source, the last listing, the raw container, the ledger and the results. It changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagefeed.entities import scan
from imagefeed.layout import SMOKE
from imagefeed.ledger import TERMINAL, Entry, entries, known_sources
from imagefeed.model import Origin, RawArchive, State
from ingest.model import SourceState, TrackedFile
from ops.health.audit_results import audit_results
from ops.health.findings import Finding, Kind
from storage.blobs.raw import MANUAL, RawBlobs, StampOf, list_folders
from storage.blobs.raw_upload import stat_blob
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients

LATE = timedelta(minutes=30)
"""What is under way is no finding before that."""

_ENDS = {
    State.EXPIRED: Kind.EXPIRED,
    State.SUPERSEDED: Kind.SUPERSEDED,
    State.FAILED: Kind.FAILED,
    State.REFUSED: Kind.REFUSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOutcome:
    """What an audit of a source looked at, and what it found."""

    source: str
    known: bool
    """The source was ever polled, or has archives."""
    entries: Sequence[Entry]
    raw: Mapping[str, RawArchive]
    """What lies in the raw container, by name."""
    findings: Sequence[Finding]

    @property
    def bytes(self) -> int:
        """Size of its raw blobs."""
        return sum(archive.size for archive in self.raw.values())

    @property
    def images(self) -> int:
        """Images that the ledger knows."""
        return sum(entry.counts.images for entry in self.entries if entry.counts is not None)


def all_sources(clients: Clients, stamp_of: StampOf) -> set[str]:
    """Name every source that was polled, or has archives in the ledger or in the raw container."""
    manual = {MANUAL} if any(True for _ in RawBlobs(clients, stamp_of).outside_layout(MANUAL)) else set[str]()
    return {*known_sources(clients), *list_folders(clients.raw), *manual} - {SMOKE}


def audit(
    clients: Clients,
    source: str,
    *,
    since: datetime,
    now: datetime,
    stamp_of: StampOf,
    until: datetime | None = None,
    pipeline: str | None = None,
) -> AuditOutcome:
    """Compare all that there is of a source's archives with a stamp from `since` on and before `until`.

    Bounded by their number.

    What became of each is held against the results of `pipeline`; with None, of the one that came last to it.
    """
    blobs = RawBlobs(clients, stamp_of)
    # The raw container first: what it has, the ledger must know a moment later.
    outside = (archive for archive in blobs.outside_layout(source) if archive.stamp >= since)
    lying = (*blobs.recent(source, since), *outside)
    raw = {archive.blob: archive for archive in lying if until is None or archive.stamp < until}
    ledger = list(entries(clients, source, pipeline=pipeline, start=since, end=until))
    listed = BlobSourceStates(clients).look(source)
    if listed and until:
        early = (tracked for tracked in listed.tracked_files if tracked.archive.stamp < until)
        listed = replace(listed, tracked_files=tuple(early))
    comparison = _Comparison(clients, source, since, now, listed or SourceState(source=source), ledger, raw)
    findings = [*comparison.run(), *audit_results(clients, source, since, until, now, pipeline, ledger)]
    return AuditOutcome(source=source, known=bool(listed or ledger or raw), entries=ledger, raw=raw, findings=findings)


class _Comparison:
    """The listing, the raw container and the ledger, held against each other."""

    def __init__(
        self,
        clients: Clients,
        source: str,
        since: datetime,
        now: datetime,
        source_state: SourceState,
        ledger: Sequence[Entry],
        raw: Mapping[str, RawArchive],
    ) -> None:
        self._clients = clients
        self._source = source
        self._since = since
        self._now = now
        self._source_state = source_state
        self._ledger = {entry.archive.blob: entry for entry in ledger}
        self._raw = raw

    def run(self) -> Iterator[Finding]:
        for tracked_file in self._source_state.tracked_files:
            yield from self._check_tracked_file(tracked_file)
        for entry in self._ledger.values():
            yield from self._check_entry(entry)
        for archive in self._raw.values():
            yield from self._check_blob(archive)

    def _check_tracked_file(self, tracked_file: TrackedFile) -> Iterator[Finding]:
        path, blob = tracked_file.archive.file.path, _blob(tracked_file)
        if not tracked_file.done:
            if blob not in self._raw and self._is_late(tracked_file.first_seen):
                yield self._finding(Kind.NOT_COPIED, path, tracked_file.first_seen, self._reason(tracked_file))
        elif (
            tracked_file.archive.stamp >= self._since
            and not self._is_accounted_for(tracked_file)
            and self._is_gone(blob)
        ):
            yield self._finding(Kind.RAW, blob, tracked_file.archive.stamp, "", blob)

    def _reason(self, tracked_file: TrackedFile) -> str:
        """Tell why a file is not copied, as far as the last listing and the ledger know."""
        entry = self._ledger.get(_blob(tracked_file))
        reasons = (
            [f"{tracked_file.failures} {'try' if tracked_file.failures == 1 else 'tries'} failed"]
            if tracked_file.failures
            else []
        )
        reasons += [entry.reason] if entry is not None and entry.reason else []
        return ": ".join(reasons) or "it was not tried yet"

    def _is_accounted_for(self, tracked_file: TrackedFile) -> bool:
        """Tell whether the ledger says what became of a file that polling is done with; a row without an end is lost.

        If its blob is there all the same, that is found from the blob.
        """
        entry = self._ledger.get(_blob(tracked_file))
        return tracked_file.is_same or (entry is not None and entry.state not in (State.SEEN, State.COPYING))

    def _check_entry(self, entry: Entry) -> Iterator[Finding]:
        archive = entry.archive
        kind = _ENDS.get(entry.state)
        if kind is not None:
            yield self._finding(kind, archive.path, archive.stamp, entry.reason or "", archive.blob)
        if archive.origin is Origin.MANUAL:
            yield self._finding(Kind.MANUAL_UPLOAD, archive.blob, archive.stamp, "", archive.blob)
        if entry.state in (State.SEEN, State.COPYING):
            yield from self._check_uncopied(entry)
        elif entry.state in (State.RAW, State.PROCESSING, *TERMINAL):
            yield from self._check_copied(entry)

    def _check_uncopied(self, entry: Entry) -> Iterator[Finding]:
        archive, seen = entry.archive, max(entry.times.values(), default=entry.archive.stamp)
        listed = {tracked_file.archive.version for tracked_file in self._source_state.tracked_files}
        if archive.blob not in self._raw and archive.version not in listed and self._is_late(seen):
            yield self._finding(Kind.FORGOTTEN, archive.path, archive.stamp, "neither listed any more nor copied")

    def _check_copied(self, entry: Entry) -> Iterator[Finding]:
        archive, stored = entry.archive, self._raw.get(entry.archive.blob)
        if stored is None and self._is_gone(archive.blob):
            yield self._finding(Kind.RAW, archive.blob, archive.stamp, "", archive.blob)
        elif stored is not None and _differs(archive, stored):
            detail = f"{stored.size} bytes, SHA-256 {stored.sha256}; the ledger has {archive.size}, {archive.sha256}"
            yield self._finding(Kind.RAW_DAMAGED, archive.blob, archive.stamp, detail, archive.blob)
        if State.RAW not in entry.times:
            yield self._finding(Kind.LEDGER, archive.blob, archive.stamp, "its copy is not in it", archive.blob)
        if entry.state in (State.RAW, State.PROCESSING) and self._is_late(max(entry.times.values())):
            yield self._finding(Kind.UNPROCESSED, archive.blob, archive.stamp, f"it is {entry.state}", archive.blob)

    def _check_blob(self, archive: RawArchive) -> Iterator[Finding]:
        if archive.raw_at is not None and not self._is_late(archive.raw_at):
            return
        entry = self._ledger.get(archive.blob)
        if entry is not None:
            if entry.state in (State.SEEN, State.COPYING):
                yield self._finding(
                    Kind.LEDGER, archive.blob, archive.stamp, f"it is {entry.state} there", archive.blob
                )
        elif archive.origin is not Origin.MANUAL or not self._is_known(archive.blob):
            yield self._finding(Kind.LEDGER, archive.blob, archive.stamp, "", archive.blob)

    def _is_late(self, since: datetime) -> bool:
        return since + LATE <= self._now

    def _is_gone(self, blob: str) -> bool:
        """Look once more: what was listed may be older than what the ledger told since."""
        return blob not in self._raw and stat_blob(self._clients.raw, blob) is None

    def _is_known(self, blob: str) -> bool:
        """Look everywhere: the stamp of what was put there by hand may have been told by other settings."""
        rows = scan(self._clients.archives, self._source, select=["blob"])
        return any(row.get("blob") == blob for row in rows)

    def _finding(self, kind: Kind, name: str, since: datetime | None, detail: str = "", blob: str = "") -> Finding:
        return Finding(source=self._source, kind=kind, name=name, since=since, detail=detail, blob=blob)


def _blob(tracked_file: TrackedFile) -> str:
    archive = tracked_file.archive
    return archive.key.raw_blob(archive.file.path)


def _differs(recorded: RawArchive, stored: RawArchive) -> bool:
    known = recorded.sha256 is not None and stored.sha256 is not None
    return recorded.size != stored.size or (known and recorded.sha256 != stored.sha256)
