"""What is the matter with a source by its last listing: no answer, gaps, and settings that do not fit. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from imagefeed.terminal import count
from ingest.gaps import time_of
from ingest.model import Arrival, Outage, PassedOver, Promises, SourceState, TrackedFile
from ingest.timestamps import read_stamp
from ops.health.findings import Finding, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A source that does not answer."""

    since: datetime | None
    """Its last complete listing; None: there never was one."""
    error: str | None
    refused: bool = False
    """The server answers, and refuses us."""


def not_judged(source: str) -> Finding:
    """Say that nobody knows what a source promises."""
    return Finding(source=source, kind=Kind.NOT_JUDGED, name="gaps, silence and deadlines", since=None)


def silence_finding(source: str, silence: Silence) -> Finding:
    """Say that a source does not answer, or refuses us."""
    kind, detail = Kind.NO_ACCESS if silence.refused else Kind.SILENT, silence.error or "it was not polled"
    return Finding(source=source, kind=kind, name="", since=silence.since, detail=detail)


def gap_finding(source: str, start: datetime, end: datetime | None, outage: Outage | None, detail: str = "") -> Finding:
    """Say that archives are missing between two times; `end` None: until now."""
    kind = Kind.UNHEARD if outage and outage.end is None else Kind.GAP
    if outage:
        unheard = f"no answer from {_clock(outage.start)} to {_clock(outage.end) if outage.end else 'now'}"
        detail = "; ".join(filter(None, (detail, unheard)))
    return Finding(source=source, kind=kind, name=f"until {_clock(end) if end else 'now'}", since=start, detail=detail)


class _Gap(Protocol):
    @property
    def open(self) -> bool: ...


def unexplained[G: _Gap](gaps: Iterable[G], findings: Iterable[Finding]) -> Sequence[G]:
    """Leave out the gap that goes on where archives come, and PATTERN leaves them out."""
    found = any(finding.kind is Kind.NOTHING_MATCHES for finding in findings)
    return [gap for gap in gaps if not (found and gap.open)]


def find_passed_over(
    promises: Promises, source_state: SourceState, arrivals: Iterable[Arrival], now: datetime
) -> PassedOver | None:
    """Find files that PATTERN leaves out and that are newer than every archive, while archives are awaited."""
    newest = max(map(time_of, arrivals), default=None)
    passed_over = source_state.passed_over
    if passed_over is None or newest is None:
        return passed_over
    awaited = now - newest > promises.interval * promises.gap
    return passed_over if awaited and passed_over.modified > newest else None


def find_misfits(promises: Promises, source_state: SourceState) -> Sequence[TrackedFile]:
    """Find files on the server whose names hold no time by STAMP, the newest first."""
    if promises.stamp is None:
        return ()
    names = ((file, file.archive.file.path.rpartition("/")[2]) for file in source_state.tracked_files)
    misfits = [file for file, name in names if read_stamp(promises.stamp, name) is None]
    return sorted(misfits, key=lambda file: file.archive.file.modified, reverse=True)


def settings_findings(
    source: str, promises: Promises, source_state: SourceState, arrivals: Iterable[Arrival], now: datetime
) -> Iterator[Finding]:
    """Say which settings do not fit what is on the server (any more)."""
    if passed_over := find_passed_over(promises, source_state, arrivals, now):
        files = count(passed_over.count, "file")
        matched = "some newer than every archive" if source_state.tracked_files else "none matches it"
        detail = f"PATTERN {promises.pattern} leaves out {files}, {matched}; this one is the newest"
        yield Finding(
            source=source,
            kind=Kind.NOTHING_MATCHES,
            name=passed_over.newest,
            since=passed_over.modified,
            detail=detail,
        )
    if misfits := find_misfits(promises, source_state):
        newest = misfits[0].archive
        detail = f"STAMP {promises.stamp} fits {len(misfits)} of {count(len(source_state.tracked_files), 'name')} not"
        yield Finding(
            source=source, kind=Kind.STAMP_MISFIT, name=newest.file.path, since=newest.file.modified, detail=detail
        )


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
