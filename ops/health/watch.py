"""Logs what is missing or will be soon for each source, from the last listing and the ledger; contacts no server."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from config import telemetry
from imagefeed.errors import TransientError
from ingest.gauges import figures
from ingest.model import SourceSpec, SourceState
from ingest.ports import Arrivals, SourceStateView
from ops.health.findings import Finding, Severity, Slug, few
from ops.health.promises import Held
from ops.health.source_checks import check_source

log = logging.getLogger(f"ingestion.{__name__}")

type Results = Callable[[str, datetime, datetime], Iterable[Finding]]
"""Yields findings about a source's results: (source, since, now)."""


def _no_findings(_source: str, _since: datetime, _now: datetime) -> Iterable[Finding]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOutcome:
    """Findings and gauges of a source."""

    source: str
    findings: Sequence[Finding]
    figures: Mapping[str, float] = field(default_factory=dict)
    """Values of the gauges, by name without the prefix `source.`."""


def watch(
    specs: Iterable[SourceSpec],
    source_states: SourceStateView,
    ledger: Arrivals,
    now: datetime,
    window: timedelta,
    results: Results = _no_findings,
) -> Sequence[WatchOutcome]:
    """Check the last `window` of each source and log findings. Skip a source on TransientError until the next call."""
    outcomes = []
    for spec in specs:
        try:
            found = results(spec.name, now - window, now)
            outcomes.append(_watch_source(spec, source_states, ledger, now, now - window, found))
        except TransientError as exc:
            log.warning("watch.deferred source=%s error=%s", spec.name, exc)
        else:
            log_findings(outcomes[-1].findings)
            telemetry.source(spec.name, outcomes[-1].figures)
    return outcomes


def log_findings(findings: Iterable[Finding]) -> None:
    """Log one line for each finding, of each slug the newest or most urgent few."""
    for finding in few(findings):
        since, until = (time.isoformat() if time else "-" for time in (finding.since, finding.until))
        log.log(
            logging.ERROR if finding.severity is Severity.MISSING else logging.WARNING,
            "finding.%s source=%s since=%s until=%s name=%r detail=%r",
            finding.slug,
            finding.source,
            since,
            until,
            finding.name,
            finding.detail,
            extra={"source": finding.source},
        )


def _watch_source(
    spec: SourceSpec,
    source_states: SourceStateView,
    ledger: Arrivals,
    now: datetime,
    since: datetime,
    of_results: Iterable[Finding],
) -> WatchOutcome:
    state = source_states.look(spec.name) or SourceState(source=spec.name)
    arrivals = [*ledger.since(spec.name, since), *state.arrivals]
    findings = list(check_source(spec.name, Held(promises={spec.name: spec}), state, arrivals, now, since))
    findings += of_results
    slugs = Counter(finding.slug for finding in findings)
    gaps = slugs[Slug.GAP] + slugs[Slug.GAP_UNHEARD] + slugs[Slug.GAP_CLOSED]
    counts = {"gaps": gaps, "near_deletion": slugs[Slug.NEAR_DELETION]}
    return WatchOutcome(source=spec.name, findings=findings, figures={**figures(spec, state, arrivals, now), **counts})
