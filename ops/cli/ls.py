"""What `python -m ops.cli ls` and `refused` show: sources, archives, and the members that could not be read."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from rich.table import Table

from imagefeed.errors import PermanentError
from imagefeed.layout import format_stamp
from imagefeed.ledger import Entry, entries, known_sources, refusals, require_source
from imagefeed.model import State
from ops.cli.images import console
from ops.text import clean, last_error
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients

_STYLES = {State.PROCESSED: "green", State.REFUSED: "yellow", State.FAILED: "red", State.EXPIRED: "red"}
_WIDE = 140
"""Columns from which there is room for what matters least."""


def list_archives(clients: Clients, source: str | None, pipeline: str | None, limit: int) -> None:
    """Show how each source is, then its archives' states, times and counts, the newest first, then the reasons."""
    source_states = BlobSourceStates(clients)
    names = [source] if source else sorted(known_sources(clients))
    out = console()
    for name in names:
        for line in _health(source_states, name, datetime.now(UTC)):
            out.print(line, style="red" if "error:" in line else "dim", soft_wrap=True)
    found = [entry for name in names for entry in islice(entries(clients, name, pipeline=pipeline), limit)]
    if not found:
        raise PermanentError(f"list archives: the ledger knows none{f' of source {source}' if source else ''} yet")
    out.print(_table(found, wide=out.width >= _WIDE))
    for entry in found:
        if entry.reason:
            out.print(f"{entry.archive.version} {entry.state}: {clean(entry.reason)}", soft_wrap=True)


def list_refused(clients: Clients, source: str, pipeline: str | None, since: datetime) -> None:
    """Show the members that were refused since a time, with the reasons."""
    table = Table("stamp (UTC)", "version", "member", "name", "error", "reason", box=None, header_style="bold")
    for entry in entries(clients, source, pipeline=pipeline, start=since):
        for refusal in refusals(clients, entry):
            table.add_row(
                format_stamp(entry.archive.stamp),
                entry.archive.version,
                str(refusal.member),
                clean(refusal.name),
                clean(refusal.error),
                clean(refusal.reason),
            )
    if not table.row_count:
        require_source(clients, source, "show refused members of source")
    console().print(table if table.row_count else f"no member of source {source} was refused in that time")


def _health(source_states: BlobSourceStates, source: str, now: datetime) -> Iterator[str]:
    """Tell when a source was listed last, and what is wrong with it."""
    source_state = source_states.look(source)
    if source_state is None:
        return
    listed = "never listed yet"
    if source_state.listed_at is not None:
        listed = f"listed {(now - source_state.listed_at).total_seconds():.0f} s ago"
    waiting = sum(not tracked_file.done for tracked_file in source_state.tracked_files)
    yield f"{source}: {listed}, files there: {len(source_state.tracked_files)}, not copied yet: {waiting}"
    if source_state.error:
        yield f"{source}: error: {last_error(source_state.error, source_state.not_before, now)}"


def _table(found: Sequence[Entry], *, wide: bool) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    # Without these a single long path would take the room of all others.
    longest = max(len(entry.archive.source) for entry in found)
    for title, width in (("source", max(6, longest)), ("stamp (UTC)", 19), ("version", 8), ("state", 10)):
        table.add_column(title, no_wrap=True, min_width=width)
    table.add_column("path", no_wrap=True, overflow="ellipsis", min_width=8)
    for title in ("MB", "images", "refused", "raw in", "read in"):
        table.add_column(title, justify="right", no_wrap=True, min_width=len(title))
    if wide:
        table.add_column("pipeline", no_wrap=True)
    for entry in found:
        cells = [*_cells(entry), entry.pipeline or ""]
        table.add_row(*cells[: len(table.columns)], style=_STYLES.get(entry.state))
    return table


def _cells(entry: Entry) -> Iterator[str]:
    archive, counts = entry.archive, entry.counts
    yield from (archive.source, f"{archive.stamp:%Y-%m-%d %H:%M:%S}", archive.version, entry.state)
    yield clean(archive.path)
    yield f"{archive.size / 1e6:.1f}"
    yield str(counts.images) if counts else ""
    yield str(counts.refused) if counts else ""
    # From when it was found settled on the server to the raw blob, and from there to readable images.
    yield _after(entry, State.RAW, State.SEEN)
    yield _after(entry, State.PROCESSED, State.RAW)


def _after(entry: Entry, later: State, earlier: State) -> str:
    if later not in entry.times or earlier not in entry.times:
        return ""
    return f"{(entry.times[later] - entry.times[earlier]).total_seconds():.1f} s"
