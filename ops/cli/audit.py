"""The verb `audit`: what is missing, and how to recover it."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from config.settings import read_specs
from imagefeed.errors import PermanentError
from imagefeed.ledger import known_sources, require_source
from imagefeed.pipelines import require_pipeline
from imagefeed.terminal import Column, Table, clean, count, write, write_json
from ingest.model import Promises, SourceState
from ingest.timestamps import stamps_by
from ops.health.audit import AuditOutcome, all_sources, audit
from ops.health.audit_deep import read_everything
from ops.health.findings import Finding, Kind
from ops.health.promises import Held, held_to
from ops.health.source_findings import gap_finding, not_judged, silence_finding, unexplained
from ops.health.watch import WatchOutcome, find_silence, watch_source
from storage.blobs.raw import StampOf
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.arrivals import TableArrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What is said of a source."""

    audited: AuditOutcome
    findings: Sequence[Finding]

    @property
    def missing(self) -> int:
        return sum(finding.missing for finding in self.findings)

    @property
    def judged(self) -> bool:
        """It is known what the source promises, so gaps and deadlines were looked for."""
        return all(finding.kind is not Kind.NOT_JUDGED for finding in self.findings)


def audit_sources(clients: Clients, options: argparse.Namespace, texts: Mapping[str, str]) -> int:
    """Print what is missing; return the exit status: 1 if anything is, 3 if a source could not be judged."""
    if options.pipeline is not None:
        require_pipeline(clients, options.pipeline)
    now, specs = datetime.now(UTC), read_specs(texts)
    held = held_to(clients, {*known_sources(clients), *specs}, specs)
    stamp_of = stamps_by({name: promises.stamp for name, promises in held.promises.items()})
    known = all_sources(clients, stamp_of) | set(specs)
    names = sorted(known) if options.source is None else [options.source]
    if not known.intersection(names):
        if options.source is not None:
            require_source(clients, options.source, "audit source")
        raise PermanentError("audit all sources: there is none yet")
    reports = [_report(clients, name, options, now, held, stamp_of) for name in names]
    if options.json:
        write_json(_as_json(reports, now, options))
    else:
        _print(reports, options)
    if any(report.missing for report in reports):
        return 1
    return 0 if all(report.judged for report in reports) else 3


def _report(
    clients: Clients,
    source: str,
    options: argparse.Namespace,
    now: datetime,
    held: Held,
    stamp_of: StampOf,
) -> _Report:
    since, until = options.since, options.until
    audited = audit(clients, source, since=since, until=until, now=now, stamp_of=stamp_of, pipeline=options.pipeline)
    findings = list(audited.findings)
    if options.deep:
        findings += read_everything(clients, audited)
    if promises := held.promises.get(source):
        states, ledger = BlobSourceStates(clients), TableArrivals(clients)
        watched = watch_source(source, promises, states, ledger, now, since)
        findings += _seen(watched, until or now)
    elif source in held.unknown:
        findings.append(not_judged(source))
        states = BlobSourceStates(clients)
        silence = find_silence(Promises(), states.look(source) or SourceState(source=source), now)
        if silence and (silence.since or silence.error):
            findings.append(silence_finding(source, silence))
    return _Report(audited=audited, findings=findings)


def _seen(watched: WatchOutcome, until: datetime) -> Iterator[Finding]:
    """Yield what watching finds, manual uploads aside: the audit has reported them already."""
    source, silence = watched.source, watched.silence
    if silence is not None:
        yield silence_finding(source, silence)
    yield from watched.settings
    for gap in unexplained([gap for gap in watched.gaps if gap.start < until], watched.settings):
        yield gap_finding(source, gap.start, None if gap.open else gap.end, gap.outage)
    for deadline in watched.deadlines:
        tracked_file = deadline.tracked_file
        detail = f"deleted at about {deadline.at:%Y-%m-%d %H:%M}"
        path = tracked_file.archive.file.path
        yield Finding(source=source, kind=Kind.NEAR_DELETION, name=path, since=tracked_file.first_seen, detail=detail)


def _print(reports: Sequence[_Report], options: argparse.Namespace) -> None:
    findings = [finding for report in reports for finding in report.findings]
    if findings:
        columns = [Column(title=title) for title in ("source", "what", "since (UTC)", "which", "detail")]
        table = Table(columns=[*columns, Column(title="what to do", own=True)])
        for finding in findings:
            since = f"{finding.since:%Y-%m-%d %H:%M:%S}" if finding.since else "ever"
            texts = (since, clean(finding.name), clean(finding.detail), clean(finding.advice))
            table.add(finding.source, finding.kind, *texts, style="red" if finding.missing else "yellow")
        write(table, "")
    write(*(_summary(report, options) for report in reports))


def _summary(report: _Report, options: argparse.Namespace) -> str:
    audited = report.audited
    until = f" and before {options.until:%Y-%m-%d %H:%M}" if options.until else ""
    said = [
        f"{audited.source}: {count(len(audited.entries), 'archive')}, {count(audited.images, 'image')}, "
        f"{audited.bytes / 1e6:.1f} MB raw "
        f"since {options.since:%Y-%m-%d %H:%M} UTC{until}{', every byte read' if options.deep else ''}"
    ]
    said.append(f"{report.missing} missing" if report.missing else "nothing is missing")
    if not report.judged:
        said.append("not judged: gaps, silence and deadlines")
    return "; ".join(said)


def _as_json(reports: Sequence[_Report], now: datetime, options: argparse.Namespace) -> Mapping[str, Any]:
    return {
        "at": now.isoformat(),
        "since": options.since.isoformat(),
        "until": options.until and options.until.isoformat(),
        "missing": sum(report.missing for report in reports),
        "sources": [
            {
                "source": report.audited.source,
                "archives": len(report.audited.entries),
                "images": report.audited.images,
                "raw_bytes": report.audited.bytes,
                "judged": report.judged,
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
