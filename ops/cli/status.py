"""What `python -m ops.cli status` shows: what the status page does, in a terminal, once or live."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from config.settings import read_specs
from imagefeed.ledger import known_sources, require_source
from ops import text
from ops.cli.images import console
from ops.web.model import ArchiveMark, DisplayState, Gap, Severity, SourceStatus, Status
from ops.web.views import load_current
from storage.blobs.raw import MANUAL
from storage.clients import Clients

_EVERY = 5.0
_BARS = "▁▂▃▄▅▆▇█"
_HOLE = "░"
# Not by colour alone: what is processed is a bar, and each other state has a letter of its own.
_LETTERS = {
    DisplayState.FAILED: ("F", "bold red"),
    DisplayState.EXPIRED: ("E", "bold red"),
    DisplayState.REFUSED: ("R", "bold magenta"),
    DisplayState.WAITING: ("w", "yellow"),
    DisplayState.COPYING: ("c", "cyan"),
    DisplayState.RAW: ("r", "cyan"),
    DisplayState.PARTLY: ("p", "yellow"),
    DisplayState.REPLACED: ("-", "dim"),
}
"""The worst first: of several archives in one column it is the one that is shown."""
_SEVERITY = {Severity.FINE: ("✓", "green"), Severity.NOTICE: ("◆", "yellow"), Severity.MISSING: ("▲", "bold red")}


def show_status(clients: Clients, source: str | None, *, watch: bool) -> None:
    """Show how everything is; with `watch`, until it is interrupted."""
    out = console()
    if not watch:
        out.print(_drawn(_look(clients, source), out.width), soft_wrap=not out.is_terminal)
        return
    with Live(_drawn(_look(clients, source), out.width), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(_EVERY)
            live.update(_drawn(_look(clients, source), out.width), refresh=True)


def _look(clients: Clients, source: str | None) -> Status:
    specs = read_specs()
    # Without settings there are no promises to hold a source to, but what is there can be shown.
    known = specs or known_sources(clients)
    if source is not None and source not in (*known, MANUAL):
        require_source(clients, source, "show the status of source")
    names = [source] if source else [*sorted(known), MANUAL]
    return load_current(clients, specs, names, datetime.now(UTC))


def _drawn(status: Status, width: int) -> RenderableType:
    queues = status.queues
    counts = f"{queues.batches} in the queue, {queues.poison} poison, {queues.dead_letters} dead letters"
    counts += f", reconciled {text.ago(status.reconciled_at, status.at) if status.reconciled_at else 'never'}"
    legend = "bars: processed, by size; " + ", ".join(f"{letter} {state}" for state, (letter, _) in _LETTERS.items())
    parts: list[RenderableType] = [
        Text.assemble(
            _symbol(status.severity), (status.headline, "bold"), (f"  {counts}  {status.at:%H:%M:%S} UTC", "dim")
        ),
        Text(f"{legend}, {_HOLE} missing", "dim"),
        *(part for source in status.sources for part in _source(source, status.at, width)),
    ]
    return Group(*parts, *_todos(status))


def _source(source: SourceStatus, now: datetime, width: int) -> Iterator[RenderableType]:
    yield Text.assemble("\n", _symbol(source.severity), (source.name, "bold"), f"  {source.headline}")
    if source.marks:
        yield Text.assemble("  ", *columns(source, now, max(width - 4, 20)))
    yield Text(f"  {', '.join(_stored(source, now))}", "dim")
    if source.error:
        yield Text(f"  last error: {source.error}", "red")


def columns(source: SourceStatus, now: datetime, width: int) -> Sequence[tuple[str, str]]:
    """Draw a timeline as letters with styles, the newest at the right."""
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
        yield f"lag {text.span(source.lag.p50)} median, {text.span(source.lag.p95)} for 95 %"
    if source.next_deletion:
        left = (source.next_deletion.at - now).total_seconds()
        copied = "copied" if source.next_deletion.copied else "NOT COPIED"
        yield f"next deletion {'in ' + text.span(left) if left > 0 else 'due'} ({copied})"
    yield f"polled {text.ago(source.polled_at, now) if source.polled_at else 'never'}"


def _todos(status: Status) -> Iterator[RenderableType]:
    if not status.actions:
        return
    yield Text("\nWhat needs a person", "bold")
    table = Table("what", "source", "which", "since (UTC)", "what to do", box=None, header_style="bold")
    for todo in status.actions:
        since = text.moment(todo.since) if todo.since else ""
        which = Text(todo.name).append(f"{': ' if todo.name and todo.detail else ''}{todo.detail}", "dim")
        table.add_row(_symbol(todo.severity).append(todo.kind), todo.source, which, since, todo.advice)
    yield table


def _symbol(severity: Severity) -> Text:
    letter, style = _SEVERITY[severity]
    return Text(f"{letter} ", style)
