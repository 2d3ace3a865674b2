"""The verb `audit`: what is missing, and how to recover it."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from config.settings import read_specs
from config.types import format_duration
from imagefeed.cli import write_json
from imagefeed.errors import PermanentError
from imagefeed.pipelines import require_pipeline
from imagefeed.terminal import Column, Table, clean, count, write
from ingest.model import SourceSpec
from ingest.timestamps import stamps_by
from ops.health.audit import AuditOutcome, all_sources, audit
from ops.health.audit_deep import read_everything
from ops.health.findings import Finding, Kind
from ops.health.watch import WatchOutcome, watch_source
from storage.blobs.raw import MANUAL, StampOf
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.arrivals import TableArrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What is said of a source."""

    audited: AuditOutcome
    findings: Sequence[Finding]
    watched: bool
    """The source's settings are at hand, so that gaps and deadlines could be looked for."""

    @property
    def missing(self) -> int:
        return sum(finding.missing for finding in self.findings)


def audit_sources(clients: Clients, options: argparse.Namespace) -> int:
    """Print what is missing; the exit status: 1 if anything is."""
    if options.pipeline is not None:
        require_pipeline(clients, options.pipeline)
    now, specs = datetime.now(UTC), read_specs()
    stamp_of = stamps_by({name: spec.stamp for name, spec in specs.items()})
    known = all_sources(clients, stamp_of) | set(specs)
    names = sorted(known) if options.source is None else [options.source]
    if not known.intersection(names):
        raise PermanentError(f"audit {options.source or 'all sources'}: nothing is known of any such source")
    reports = [_report(clients, name, options, now, specs.get(name), stamp_of) for name in names]
    if options.json:
        write_json(_as_json(reports, now, options))
    else:
        _print(reports, options)
    return 1 if any(report.missing for report in reports) else 0


def _report(
    clients: Clients,
    source: str,
    options: argparse.Namespace,
    now: datetime,
    spec: SourceSpec | None,
    stamp_of: StampOf,
) -> _Report:
    since = now - options.since
    audited = audit(clients, source, since=since, now=now, stamp_of=stamp_of, pipeline=options.pipeline)
    findings = list(audited.findings)
    if options.deep:
        findings += read_everything(clients, audited)
    if spec is not None:
        findings += _seen(watch_source(spec, BlobSourceStates(clients), TableArrivals(clients), now, since))
    return _Report(audited=audited, findings=findings, watched=spec is not None)


def _seen(watched: WatchOutcome) -> Iterator[Finding]:
    """Yield what watching finds, manual uploads aside: the audit has reported them already."""
    source, silence = watched.source, watched.silence
    if silence is not None:
        detail = silence.error or "it was not polled"
        yield Finding(source=source, kind=Kind.SILENT, name="the last listing", since=silence.since, detail=detail)
    for gap in watched.gaps:
        until = "now" if gap.open else f"{gap.end:%Y-%m-%d %H:%M:%S}"
        yield Finding(source=source, kind=Kind.GAP, name=f"until {until}", since=gap.start)
    for deadline in watched.deadlines:
        tracked_file = deadline.tracked_file
        detail = f"deleted at about {deadline.at:%Y-%m-%d %H:%M}"
        path = tracked_file.archive.file.path
        yield Finding(source=source, kind=Kind.NEAR_DELETION, name=path, since=tracked_file.first_seen, detail=detail)


def _print(reports: Sequence[_Report], options: argparse.Namespace) -> None:
    findings = [finding for report in reports for finding in report.findings]
    if findings:
        titles = ("source", "what", "which", "since", "detail", "what to do")
        table = Table(columns=[Column(title=title) for title in titles])
        for finding in findings:
            since = f"{finding.since:%Y-%m-%d %H:%M:%S}" if finding.since else "ever"
            texts = (clean(finding.name), since, clean(finding.detail), clean(finding.advice))
            table.add(finding.source, finding.kind, *texts, style="red" if finding.missing else "yellow")
        write(table, "")
    write(*(_summary(report, options) for report in reports))


def _summary(report: _Report, options: argparse.Namespace) -> str:
    audited = report.audited
    said = [
        f"{audited.source}: {count(len(audited.entries), 'archive')}, {count(audited.images, 'image')}, "
        f"{audited.bytes / 1e6:.1f} MB raw "
        f"in {format_duration(options.since)}{', every byte read' if options.deep else ''}"
    ]
    said.append(f"{report.missing} missing" if report.missing else "nothing is missing")
    if not report.watched and audited.source != MANUAL:
        name = audited.source.upper().replace("-", "_")
        said.append(f"gaps and deadlines not looked for, as SOURCES__{name}__… are not set here")
    return "; ".join(said)


def _as_json(reports: Sequence[_Report], now: datetime, options: argparse.Namespace) -> Mapping[str, Any]:
    return {
        "at": now.isoformat(),
        "since": (now - options.since).isoformat(),
        "missing": sum(report.missing for report in reports),
        "sources": [
            {
                "source": report.audited.source,
                "archives": len(report.audited.entries),
                "images": report.audited.images,
                "raw_bytes": report.audited.bytes,
                "gaps_looked_for": report.watched,
                "findings": [_finding_as_json(finding) for finding in report.findings],
            }
            for report in reports
        ],
    }


def _finding_as_json(finding: Finding) -> Mapping[str, Any]:
    return {
        "kind": finding.kind,
        "missing": finding.missing,
        "name": finding.name,
        "since": finding.since.isoformat() if finding.since else None,
        "detail": finding.detail,
        "blob": finding.blob,
        "advice": finding.advice,
    }
