"""The commands `audit` and `rebuild-ledger`: is anything missing, and what if the ledger itself is."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from config.settings import read_specs
from config.types import format_duration
from imagefeed.errors import PermanentError
from imagefeed.layout import NAME
from imagefeed.ledger import require_source
from ingest.model import SourceSpec
from ingest.timestamps import read_stamp
from ops.cli.images import console
from ops.health.audit import AuditOutcome, all_sources, audit
from ops.health.audit_deep import read_everything
from ops.health.findings import Finding, Kind
from ops.health.watch import WatchOutcome, watch_source
from ops.text import clean, count
from storage.blobs.raw import MANUAL, StampOf
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, prepare
from storage.rebuild import RebuildOutcome, rebuild
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


def audit_sources(clients: Clients, chosen: argparse.Namespace) -> int:
    """Print what is missing; the exit status: 1 if anything is."""
    now, specs = datetime.now(UTC), read_specs()
    stamp_of = _stamp_of(specs)
    known = all_sources(clients, stamp_of) | set(specs)
    names = sorted(known) if chosen.source is None else [chosen.source]
    if not known.intersection(names):
        raise PermanentError(f"audit {chosen.source or 'all sources'}: nothing is known of any such source")
    reports = [_report(clients, name, chosen, now, specs.get(name), stamp_of) for name in names]
    if chosen.json:
        sys.stdout.write(json.dumps(_as_json(reports, now, chosen)) + "\n")
    else:
        _print(reports, chosen)
    return 1 if any(report.missing for report in reports) else 0


def rebuild_ledger(clients: Clients, source: str | None) -> int:
    """Make the ledger again, and say what came of it."""
    if source is not None and not NAME.fullmatch(source):
        raise PermanentError(f"rebuild the ledger of {source!r}: no source has such a name")
    prepare(clients)
    specs = read_specs()
    rebuilt = rebuild(clients, source, _stamp_of(specs) if specs else None)
    if source is not None and source not in (MANUAL, *specs) and not rebuilt.archives:
        require_source(clients, source, "rebuild the ledger of source")
    _tell(rebuilt)
    return 0


def _report(
    clients: Clients,
    source: str,
    chosen: argparse.Namespace,
    now: datetime,
    spec: SourceSpec | None,
    stamp_of: StampOf,
) -> _Report:
    since = now - chosen.since
    audited = audit(clients, source, since=since, now=now, stamp_of=stamp_of, pipeline=chosen.pipeline)
    findings = list(audited.findings)
    if chosen.deep:
        findings += read_everything(clients, audited)
    if spec is not None:
        findings += _seen(watch_source(spec, BlobSourceStates(clients), TableArrivals(clients), now, since))
    return _Report(audited=audited, findings=findings, watched=spec is not None)


def _seen(watched: WatchOutcome) -> Iterator[Finding]:
    """Tell what watching tells; of what was put there by hand the audit has told already."""
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


def _print(reports: Sequence[_Report], chosen: argparse.Namespace) -> None:
    out = console()
    findings = [finding for report in reports for finding in report.findings]
    if findings:
        table = Table("source", "what", "which", "since", "detail", "what to do", box=None, header_style="bold")
        for column in table.columns:
            column.overflow = "fold"
        for one in findings:
            since = f"{one.since:%Y-%m-%d %H:%M:%S}" if one.since else "ever"
            cells = (one.source, one.kind, clean(one.name), since, clean(one.detail), clean(one.advice))
            table.add_row(*cells, style="red" if one.missing else "yellow")
        out.print(table)
        out.print()
    for report in reports:
        out.print(_summary(report, chosen))


def _summary(report: _Report, chosen: argparse.Namespace) -> str:
    audited = report.audited
    told = [
        f"{audited.source}: {count(len(audited.entries), 'archive')}, {count(audited.images, 'image')}, "
        f"{audited.bytes / 1e6:.1f} MB raw "
        f"in {format_duration(chosen.since)}{', every byte read' if chosen.deep else ''}"
    ]
    told.append(f"{report.missing} missing" if report.missing else "nothing is missing")
    if not report.watched and audited.source != MANUAL:
        name = audited.source.upper().replace("-", "_")
        told.append(f"gaps and deadlines not looked for, as SOURCES__{name}__… are not set here")
    return "; ".join(told)


def _as_json(reports: Sequence[_Report], now: datetime, chosen: argparse.Namespace) -> Mapping[str, Any]:
    return {
        "at": now.isoformat(),
        "since": (now - chosen.since).isoformat(),
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


def _tell(done: RebuildOutcome) -> None:
    out = console()
    out.print(
        f"{count(done.archives, 'archive')} in the raw container: of {done.restored} the ledger had lost something, "
        f"of {done.results} what became of their batches"
    )
    if done.unprocessed:
        out.print(
            f"{count(done.unprocessed, 'archive')} not processed, or not provably so; the oldest is of "
            f"{done.oldest:%Y-%m-%d %H:%M}. reconcile drives those within PIPELINE_WINDOW, replay older ones"
        )
    if done.unread:
        out.print(
            f"{count(done.unread, 'blob')} put there by hand, and left out: set the app's SOURCES__… settings here, "
            "which tell how their stamps are read"
        )


def _stamp_of(specs: Mapping[str, SourceSpec]) -> StampOf:
    def stamp_of(source: str, path: str) -> datetime | None:
        pattern = specs[source].stamp if source in specs else None
        return read_stamp(pattern, path) if pattern else None

    return stamp_of
