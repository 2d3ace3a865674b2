"""Values that the status page shows, independent of storage and HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.gaps import Gap
from ops.health.findings import Finding, Severity


class DisplayState(StrEnum):
    """States of an archive on the page, each with its own colour and shape. docs/glossary.md lists them too."""

    PROCESSED = "processed"
    PARTLY = "refused in part"
    RAW = "raw"
    COPYING = "copying"
    SEEN = "seen"
    REFUSED = "refused"
    EMPTY = "empty"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"

    @property
    def meaning(self) -> str:
        """Return a short explanation."""
        return _MEANINGS[self]

    @property
    def here(self) -> bool:
        """True if its images can be read."""
        return self in (DisplayState.PROCESSED, DisplayState.PARTLY)

    @property
    def under_way(self) -> bool:
        """True if the state is expected to change by itself."""
        return self in (DisplayState.RAW, DisplayState.COPYING, DisplayState.SEEN)


_MEANINGS = {
    DisplayState.PROCESSED: "its images can be read",
    DisplayState.PARTLY: "its images can be read, except members that were refused",
    DisplayState.RAW: "copied; its images are being made, or will be",
    DisplayState.COPYING: "being copied from the server",
    DisplayState.SEEN: "listed on the server, and not copied yet",
    DisplayState.REFUSED: "copied, but no image can be made of it; the reason is shown",
    DisplayState.EMPTY: "copied; all of its members were skipped, or it has none; the reason is shown",
    DisplayState.FAILED: "given up after several tries; the reason is shown",
    DisplayState.EXPIRED: "deleted on the server before it was copied",
    DisplayState.SUPERSEDED: "replaced by a newer version: changed before it was copied, or corrected since",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMark:
    """One archive on a timeline."""

    id: str
    """Stamp and version, as in its page's address."""
    stamp: datetime
    state: DisplayState
    path: str
    size: int
    images: int
    refused: int
    """Number of refused members."""
    refused_kinds: Mapping[str, int]
    """Refused members by suffix, or by what their first bytes say."""
    skipped: Mapping[str, int]
    """Skipped members by kind."""
    lag: float | None
    """Seconds from its modified time on the server to its images being readable."""
    late: bool
    """True if it is in progress for longer than allowed."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Percentiles of the seconds that archives took to become readable."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The file that the server deletes next, computed from the source's promised retention."""

    at: datetime
    copied: bool
    near: bool
    """True if it is not copied and half of its time on the server is over."""
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """An image that can be shown."""

    source: str
    archive: str
    """Its archive's id."""
    stamp: datetime
    pipeline: str
    member: int
    frame: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source within its window."""

    name: str
    severity: Severity
    headline: str
    start: datetime
    """Start of the timeline: of the window, or shortly before the first archive if that is later."""
    window: timedelta
    marks: Sequence[ArchiveMark]
    """Oldest first."""
    gaps: Sequence[Gap]
    counts: Mapping[DisplayState, int]
    lag: Lag | None
    next_deletion: Deletion | None
    polled_at: datetime | None
    error: str
    on_server: int
    rows_read: int
    cut: bool
    """True if older archives of the window were not read because there are too many."""
    thumbnails: Sequence[Thumbnail]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Numbers of waiting messages, poison messages and dead letters."""

    batches: int
    polls: int
    poison: int
    dead_letters: int
    dead_letters_more: bool
    """True if there may be more dead letters than were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of all sources and of the app."""

    at: datetime
    severity: Severity
    headline: str
    sources: Sequence[SourceStatus]
    queues: Queues
    reconciled_at: datetime | None
    """When `reconcile` last completed; None before the first time."""
    findings: Sequence[Finding]
    """Problems that a person has to solve or check, worst first."""
