"""Show the demo's progress: a live table in a terminal, else a line per step of each archive."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.demo.progress import Line

_WAITING = "·"


class View(Protocol):
    """Display of the demo's progress."""

    def show(self, lines: Sequence[Line]) -> None:
        """Show the current progress of all archives."""

    def say(self, text: str) -> None:
        """Show a message."""


@contextmanager
def view(console: Console, clock: Callable[[], float]) -> Iterator[View]:
    """Yield a live table if `console` is a terminal, else plain lines; `clock` returns the seconds so far."""
    if not console.is_terminal:
        yield PlainView(console, clock)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveView(live, clock)


class LiveView:
    """A table that is redrawn in place."""

    def __init__(self, live: Live, clock: Callable[[], float]) -> None:
        self._live = live
        self._clock = clock
        self._said = ""

    def show(self, lines: Sequence[Line]) -> None:
        """Redraw the table."""
        ready = sum(line.progress.settled for line in lines)
        head = Text(f" {self._clock():5.1f} s   {len(lines)} archives arrived, {ready} readable   ", "bold")
        self._live.update(Group(head.append(self._said, "yellow"), table(lines)))

    def say(self, text: str) -> None:
        """Show a message beside the clock."""
        self._said = text


class PlainView:
    """One line of text for each step of each archive."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._printed: set[tuple[str, str, int]] = set()

    def show(self, lines: Sequence[Line]) -> None:
        """Print new steps."""
        for line in lines:
            drop = line.arrival.drop
            for step, text in enumerate(_steps(line)):
                if text and (drop.source, line.arrival.version, step) not in self._printed:
                    self._printed.add((drop.source, line.arrival.version, step))
                    self.say(f"{drop.source:<6} {drop.name:<32} {text}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(f"{self._clock():6.1f} s  {text}", highlight=False, soft_wrap=True, markup=False)


def table(lines: Sequence[Line]) -> Table:
    """Return a table with one line per archive."""
    grid = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("source", "archive"):
        grid.add_column(title, no_wrap=True)
    for title in ("size", "found", "copied", "preprocessed", "readable after"):
        grid.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        drop = line.arrival.drop
        cells = (_found(line), _copied(line), _preprocessed(line), _readable(line))
        style = "red" if line.progress.ended else "" if line.progress.settled else "bold"
        name = Text(drop.name, style, overflow="ellipsis")
        grid.add_row(drop.source, name, megabytes(drop.sample.size), *(cell or _WAITING for cell in cells))
    return grid


def megabytes(size: float) -> str:
    """Return a size in bytes as text in MB."""
    return f"{size / 1e6:.1f} MB"


def _steps(line: Line) -> tuple[str, ...]:
    size = megabytes(line.arrival.drop.sample.size)
    labelled = (
        ("found", _found(line)),
        ("copied", _copied(line)),
        ("preprocessed", _preprocessed(line)),
        ("readable", _readable(line)),
    )
    steps = [f"{label:<13} {text}" if text else "" for label, text in labelled]
    return (f"{'arrived':<13} {size}", *steps)


def _found(line: Line) -> str:
    return _after(line.since_arrival(line.progress.seen))


def _copied(line: Line) -> str:
    rate = f" {line.copy_rate / 1e6:.0f} MB/s" if line.copy_rate else ""
    after = _after(line.since_arrival(line.progress.raw))
    return f"{after}{rate}" if after else ""


def _preprocessed(line: Line) -> str:
    progress = line.progress
    if progress.ended is not None or progress.processed is None:
        return progress.ended or ""
    rate = f" {line.image_rate:.1f}/s" if line.image_rate else ""
    refused = f" ({progress.refused} refused)" if progress.refused else ""
    return f"{progress.images} images{refused}{rate}"


def _readable(line: Line) -> str:
    return "" if line.lag is None else f"{line.lag:.1f} s"


def _after(seconds: float | None) -> str:
    # The found time is the start of the listing, which may be shortly before the last byte arrived.
    return "" if seconds is None else f"+{max(seconds, 0.0):.1f} s"
