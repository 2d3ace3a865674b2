"""The verb `audit`: reports what is missing and how to recover it."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from config.settings import read_specs
from imagefeed.errors import PermanentError
from imagefeed.ledger import known_sources, require_source
from imagefeed.pipelines import require_pipeline
from imagefeed.terminal import count, write, write_json
from ingest.timestamps import stamps_by
from ops.cli.status import findings_table
from ops.health.app_checks import check_preprocessing
from ops.health.audit import AuditOutcome, all_sources, audit
from ops.health.audit_deep import read_everything
from ops.health.findings import Finding, Severity, Slug
from ops.health.promises import Held, held_to
from ops.web.to_json import plain
from storage.blobs.raw import StampOf
from storage.blobs.runs import last_runs
from storage.clients import Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """The audit of one source, with its findings."""

    audited: AuditOutcome
    findings: Sequence[Finding]

    @property
    def missing(self) -> int:
        return sum(finding.severity is Severity.MISSING for finding in self.findings)

    @property
    def judged(self) -> bool:
        """True if the source was polled and its promises are known, so that gaps and deadlines could be checked."""
        return not any(finding.slug in (Slug.NOT_JUDGED, Slug.NOT_POLLED) for finding in self.findings)


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
        raise PermanentError("audit all sources: there are no sources yet")
    reports = [_report(clients, name, options, now, held, stamp_of) for name in names]
    of_app = list(check_preprocessing(last_runs(clients)))
    if options.json:
        write_json(_as_json(of_app, reports, now, options))
    else:
        _print(of_app, reports, options)
    if of_app or any(report.missing for report in reports):
        return 1
    return 0 if all(report.judged for report in reports) else 3


def _report(
    clients: Clients, source: str, options: argparse.Namespace, now: datetime, held: Held, stamp_of: StampOf
) -> _Report:
    audited = audit(
        clients,
        source,
        since=options.since,
        until=options.until,
        now=now,
        held=held,
        stamp_of=stamp_of,
        pipeline=options.pipeline,
    )
    deep = read_everything(clients, audited) if options.deep else ()
    return _Report(audited=audited, findings=[*audited.findings, *deep])


def _print(of_app: Sequence[Finding], reports: Sequence[_Report], options: argparse.Namespace) -> None:
    findings = [*of_app, *(finding for report in reports for finding in report.findings)]
    if findings:
        write(findings_table(findings), "")
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


def _as_json(
    of_app: Sequence[Finding], reports: Sequence[_Report], now: datetime, options: argparse.Namespace
) -> Mapping[str, Any]:
    return {
        "at": now.isoformat(),
        "since": options.since.isoformat(),
        "until": options.until and options.until.isoformat(),
        "missing": sum(report.missing for report in reports),
        "findings": plain(of_app),
        "sources": [
            {
                "source": report.audited.source,
                "archives": len(report.audited.entries),
                "images": report.audited.images,
                "raw_bytes": report.audited.bytes,
                "judged": report.judged,
                "findings": plain(report.findings),
            }
            for report in reports
        ],
    }
