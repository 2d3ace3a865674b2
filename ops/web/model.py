"""What the status page shows, as values: nothing in here knows storage or HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.gaps import Gap
from ops.health.findings import Finding, Severity


class DisplayState(StrEnum):
    """The states that the page tells apart, each by a colour and a shape of its own. docs/glossary.md has them too."""

    PROCESSED = "processed"
    PARTLY = "refused in part"
    RAW = "raw"
    COPYING = "copying"
    SEEN = "seen"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"

    @property
    def meaning(self) -> str:
        """Explain it in a few words."""
        return _MEANINGS[self]

    @property
    def here(self) -> bool:
        """Its images can be read."""
        return self in (DisplayState.PROCESSED, DisplayState.PARTLY)

    @property
    def under_way(self) -> bool:
        """It will be something else soon."""
        return self in (DisplayState.RAW, DisplayState.COPYING, DisplayState.SEEN)


_MEANINGS = {
    DisplayState.PROCESSED: "its images can be read",
    DisplayState.PARTLY: "its images can be read, except members that were refused",
    DisplayState.RAW: "copied; its images are being made, or will be",
    DisplayState.COPYING: "being copied from the server",
    DisplayState.SEEN: "listed on the server, and not copied yet",
    DisplayState.REFUSED: "copied, but no image can be made of it; it says why",
    DisplayState.FAILED: "given up after several tries; it says why",
    DisplayState.EXPIRED: "deleted on the server before it was copied",
    DisplayState.SUPERSEDED: "a newer version counts: changed before it was copied, or corrected since",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMark:
    """One archive."""

    id: str
    """Stamp and version, as in its page's address."""
    stamp: datetime
    state: DisplayState
    path: str
    size: int
    images: int
    refused: int
    """Members that were refused."""
    lag: float | None
    """Seconds from its modified time on the server to its images being readable."""
    late: bool
    """Under way for longer than it should be."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How long archives took to be readable, in seconds."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What the server deletes next, as far as its owner's promise tells."""

    at: datetime
    copied: bool
    near: bool
    """Not copied, and half of its time on the server is over."""
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
    """Of the window; of the first archive where that is later."""
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
    """Older archives of the window were not read: there are too many."""
    thumbnails: Sequence[Thumbnail]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """What waits, and what was given up."""

    batches: int
    polls: int
    poison: int
    dead_letters: int
    dead_letters_more: bool
    """There may be more of them than were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything at a glance."""

    at: datetime
    severity: Severity
    headline: str
    sources: Sequence[SourceStatus]
    queues: Queues
    reconciled_at: datetime | None
    """When `reconcile` last came to its end; None before the first time."""
    findings: Sequence[Finding]
    """What needs a person, or at least a look: the worst first."""
