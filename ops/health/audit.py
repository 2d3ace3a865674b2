"""Compares the last listing, the raw container, the ledger and the results of one source. Read-only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imagefeed.entities import scan
from imagefeed.layout import SMOKE
from imagefeed.ledger import Entry, entries, known_sources
from imagefeed.model import Origin, RawArchive, State
from ingest.model import SourceState, TrackedFile
from ops.health.archive_checks import COPIED, UNCOPIED, check_archives, late_after, of_archive
from ops.health.audit_results import audit_results
from ops.health.findings import ANSWERS, Finding, Slug
from ops.health.promises import Held
from ops.health.result_checks import check_results
from ops.health.source_checks import check_source
from storage.blobs.raw import MANUAL, RawBlobs, StampOf, list_folders
from storage.blobs.raw_upload import stat_blob
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.arrivals import TableArrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOutcome:
    """Data that an audit of a source read, and its findings."""

    source: str
    known: bool
    """The source was polled before or has archives."""
    entries: Sequence[Entry]
    raw: Mapping[str, RawArchive]
    """Blobs in the raw container, by name."""
    findings: Sequence[Finding]

    @property
    def bytes(self) -> int:
        """Return the total size of the raw blobs in bytes."""
        return sum(archive.size for archive in self.raw.values())

    @property
    def images(self) -> int:
        """Return the number of images in the ledger."""
        return sum(entry.counts.images for entry in self.entries if entry.counts is not None)


def all_sources(clients: Clients, stamp_of: StampOf) -> set[str]:
    """Return the names of sources that were polled or have archives in the ledger or the raw container."""
    manual = {MANUAL} if any(True for _ in RawBlobs(clients, stamp_of).outside_layout(MANUAL)) else set[str]()
    return {*known_sources(clients), *list_folders(clients.raw), *manual} - {SMOKE}


def audit(
    clients: Clients,
    source: str,
    *,
    since: datetime,
    now: datetime,
    held: Held,
    stamp_of: StampOf,
    until: datetime | None = None,
    pipeline: str | None = None,
) -> AuditOutcome:
    """Compare listing, raw blobs, ledger and results of a source's archives with a stamp in [since, until).

    The cost is bounded by the number of these archives.

    Each ledger entry is compared with the results of `pipeline`; None: of the last pipeline that processed it.
    """
    blobs = RawBlobs(clients, stamp_of)
    # Read the raw container before the ledger, which must then contain every blob that was listed.
    outside = (archive for archive in blobs.outside_layout(source) if archive.stamp >= since)
    lying = (*blobs.recent(source, since), *outside)
    raw = {archive.blob: archive for archive in lying if until is None or archive.stamp < until}
    ledger = list(entries(clients, source, pipeline=pipeline, start=since, end=until))
    listed = BlobSourceStates(clients).look(source)
    state, limit = listed or SourceState(source=source), late_after(held.promises.get(source))
    arrivals = [*TableArrivals(clients).since(source, since), *state.arrivals]
    of_source = check_source(source, held, state, arrivals, now, since)
    if until:
        early = (file for file in state.tracked_files if file.archive.stamp < until)
        state = replace(state, tracked_files=tuple(early))
    findings = [
        *(one for one in of_source if one.slug in ANSWERS or until is None or one.since is None or one.since < until),
        *check_archives(source, ledger, state, now, limit, raw),
        *_Comparison(clients, source, since, now - limit, state, ledger, raw).run(),
        *(check_results(source, ledger, now) if until is None or until > now else ()),
        *audit_results(clients, source, since, until, now, pipeline, ledger),
    ]
    return AuditOutcome(source=source, known=bool(listed or ledger or raw), entries=ledger, raw=raw, findings=findings)


class _Comparison:
    """Comparison of the listing, the raw container and the ledger."""

    def __init__(
        self,
        clients: Clients,
        source: str,
        since: datetime,
        before: datetime,
        source_state: SourceState,
        ledger: Sequence[Entry],
        raw: Mapping[str, RawArchive],
    ) -> None:
        """Ignore blobs newer than `before`: the ledger may not contain them yet."""
        self._clients = clients
        self._source = source
        self._since = since
        self._before = before
        self._source_state = source_state
        self._ledger = {entry.archive.blob: entry for entry in ledger}
        self._raw = raw

    def run(self) -> Iterator[Finding]:
        for file in self._source_state.tracked_files:
            yield from self._check_tracked_file(file)
        for entry in self._ledger.values():
            if entry.state in COPIED:
                yield from self._check_copied(entry)
        for archive in self._raw.values():
            yield from self._check_blob(archive)

    def _check_tracked_file(self, file: TrackedFile) -> Iterator[Finding]:
        """Yield a finding if the file is done but has no blob; `_check_blob` covers blobs that exist."""
        key = file.archive.key
        blob = key.raw_blob(file.archive.file.path)
        entry = self._ledger.get(blob)
        accounted_for = file.is_same or (entry is not None and entry.state not in UNCOPIED)
        if file.done and key.stamp >= self._since and not accounted_for and self._is_gone(blob):
            yield of_archive(Slug.RAW_MISSING, key, blob)

    def _check_copied(self, entry: Entry) -> Iterator[Finding]:
        archive, stored = entry.archive, self._raw.get(entry.archive.blob)
        if stored is None and self._is_gone(archive.blob):
            yield of_archive(Slug.RAW_MISSING, archive.key, archive.blob)
        elif stored is not None and _differs(archive, stored):
            detail = f"{stored.size} bytes, SHA-256 {stored.sha256}; the ledger has {archive.size}, {archive.sha256}"
            yield of_archive(Slug.RAW_DAMAGED, archive.key, archive.blob, detail)
        if State.RAW not in entry.times:
            yield of_archive(Slug.LEDGER_MISSING, archive.key, archive.blob, "it does not record the copy")

    def _check_blob(self, archive: RawArchive) -> Iterator[Finding]:
        if archive.raw_at is not None and archive.raw_at > self._before:
            return
        entry = self._ledger.get(archive.blob)
        if entry is not None and entry.state in UNCOPIED:
            yield of_archive(Slug.LEDGER_MISSING, archive.key, archive.blob, f"it records the state {entry.state}")
        elif entry is None and (archive.origin is not Origin.MANUAL or not self._is_known(archive.blob)):
            yield of_archive(Slug.LEDGER_MISSING, archive.key, archive.blob)

    def _is_gone(self, blob: str) -> bool:
        """Return whether the blob is missing; stat it again because the listing is older than the ledger entries."""
        return blob not in self._raw and stat_blob(self._clients.raw, blob) is None

    def _is_known(self, blob: str) -> bool:
        """Return whether any ledger row has the blob: a manual upload may have got its stamp under other settings."""
        rows = scan(self._clients.archives, self._source, select=["blob"])
        return any(row.get("blob") == blob for row in rows)


def _differs(recorded: RawArchive, stored: RawArchive) -> bool:
    known = recorded.sha256 is not None and stored.sha256 is not None
    return recorded.size != stored.size or (known and recorded.sha256 != stored.sha256)
