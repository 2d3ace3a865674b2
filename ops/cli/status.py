"""The verb `status`: prints the contents of the status page in a terminal, once or repeatedly, or as JSON."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from config.settings import read_specs
from imagefeed.ledger import known_sources, require_source
from imagefeed.terminal import Column, Line, Table, clean, count, watch, width, write
from ingest.gaps import Gap
from ingest.model import SourceSpec
from ops import text
from ops.health.findings import Finding, Severity
from ops.health.promises import held_to
from ops.web.model import ArchiveMark, DisplayState, SourceStatus, Status
from ops.web.to_json import to_json
from ops.web.views import load_current
from storage.blobs.raw import MANUAL
from storage.clients import Clients

_EVERY = 5.0
_BARS = "▁▂▃▄▅▆▇█"
_HOLE = "░"
# States must be distinct without colour: processed archives are bars, and each other state has its own letter.
_LETTERS = {
    DisplayState.FAILED: ("F", "bold red"),
    DisplayState.EXPIRED: ("E", "bold red"),
    DisplayState.REFUSED: ("R", "bold magenta"),
    DisplayState.SEEN: ("s", "yellow"),
    DisplayState.COPYING: ("c", "cyan"),
    DisplayState.RAW: ("r", "cyan"),
    DisplayState.EMPTY: ("0", "yellow"),
    DisplayState.PARTLY: ("p", "yellow"),
    DisplayState.SUPERSEDED: ("-", "dim"),
}
"""Worst first: a column with several archives shows the first of their states in this order."""
_SEVERITY = {Severity.FINE: ("✓", "green"), Severity.NOTICE: ("◆", "yellow"), Severity.MISSING: ("▲", "bold red")}


def show_status(options: argparse.Namespace, clients: Clients, texts: Mapping[str, str]) -> None:
    """Print the status; with `watch`, refresh it until interrupted. Raises PermanentError if the source is unknown."""
    specs = read_specs(texts)
    if options.watch:
        watch(lambda: _drawn(_look(clients, options.source, specs)), _EVERY)
    status = _look(clients, options.source, specs)
    if options.json:
        sys.stdout.write(to_json(status).decode())
    else:
        write(*_drawn(status))


def _look(clients: Clients, source: str | None, specs: Mapping[str, SourceSpec]) -> Status:
    known = {*specs, *known_sources(clients)}
    if source is not None and source not in (*known, MANUAL):
        require_source(clients, source, "show the status of source")
    names = [source] if source else [*sorted(known), MANUAL]
    return load_current(clients, held_to(clients, names, specs), names, datetime.now(UTC))


def _drawn(status: Status) -> Sequence[Line | Table]:
    queues = status.queues
    counts = f"{queues.batches} in the queue, {count(queues.poison, 'poison message')}, "
    counts += f"{count(queues.dead_letters, 'dead letter')}"
    counts += f", last reconcile {text.ago(status.reconciled_at, status.at) if status.reconciled_at else 'never'}"
    legend = "bars: processed, by size; " + ", ".join(f"{letter} {state}" for state, (letter, _) in _LETTERS.items())
    headline: Line = (
        _symbol(status.severity), (status.headline, "bold"), (f"  {counts}  {status.at:%H:%M:%S} UTC", "dim")
    )  # fmt: skip
    sources = [line for source in status.sources for line in _source(source, status.at, width())]
    return [headline, [(f"{legend}, {_HOLE} missing", "dim")], *sources, *_findings(status)]


def _source(source: SourceStatus, now: datetime, width: int) -> Iterator[Line]:
    yield ("\n", _symbol(source.severity), (source.name, "bold"), f"  {source.headline}")
    if source.marks:
        yield ("  ", *columns(source, now, max(width - 4, 20)))
    yield [(f"  {', '.join(_stored(source, now))}", "dim")]
    if source.error:
        yield [(f"  last error: {source.error}", "red")]


def columns(source: SourceStatus, now: datetime, width: int) -> Sequence[tuple[str, str]]:
    """Return a timeline as (character, style) pairs, one for each column, the newest at the right."""
    length = (now - source.start) / width
    largest = max((mark.size for mark in source.marks), default=0) or 1
    cells: list[list[ArchiveMark]] = [[] for _ in range(width)]
    for mark in source.marks:
        cells[min(max(int((mark.stamp - source.start) / length), 0), width - 1)].append(mark)
    return [
        _cell(marks, largest, _hole_at(source.gaps, source.start + length * number, length))
        for number, marks in enumerate(cells)
    ]


def _cell(marks: Sequence[ArchiveMark], largest: int, hole: bool) -> tuple[str, str]:
    if not marks:
        return (_HOLE, "red") if hole else (" ", "")
    states = {mark.state for mark in marks}
    for state, drawn in _LETTERS.items():
        if state in states:
            return drawn
    share = (max(mark.size for mark in marks) / largest) ** 0.5
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)], "blue"


def _hole_at(gaps: Sequence[Gap], start: datetime, length: timedelta) -> bool:
    return any(gap.start < start + length and gap.end > start for gap in gaps)


def _stored(source: SourceStatus, now: datetime) -> Iterator[str]:
    if source.lag:
        yield f"lag: half within {text.span(source.lag.p50)}, 95 % within {text.span(source.lag.p95)}"
    if source.next_deletion:
        left = (source.next_deletion.at - now).total_seconds()
        copied = "copied" if source.next_deletion.copied else "NOT COPIED"
        yield f"next deletion {'in ' + text.span(left) if left > 0 else 'due'} ({copied})"
    yield f"polled {text.ago(source.polled_at, now) if source.polled_at else 'never'}"


def _findings(status: Status) -> Iterator[Line | Table]:
    if status.findings:
        yield [("\nActions needed", "bold")]
        yield findings_table(status.findings)


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return a table with one row for each finding."""
    columns = [Column(title=title) for title in ("what", "source", "since (UTC)", "which")]
    table = Table(columns=[*columns, Column(title="what to do", own=True)])
    for finding in findings:
        name, details = clean(finding.name), clean(finding.details)
        which: Line = (name, (f"{': ' if name and details else ''}{details}", "dim"))
        since = f"{finding.since:%Y-%m-%d %H:%M:%S}" if finding.since else ""
        what = (_symbol(finding.severity), finding.slug.words)
        table.add(what, finding.source, since, which, clean(finding.advice))
    return table


def _symbol(severity: Severity) -> tuple[str, str]:
    letter, style = _SEVERITY[severity]
    return f"{letter} ", style
