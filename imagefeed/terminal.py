"""Text for people: tables, colours and progress by rich where it is installed, plain text where it is not."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table as RichTable
    from rich.text import Text

    RICH = True
except ModuleNotFoundError:
    RICH = False

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE = 250
"""Columns of what is written into a pipe or a file: nothing cuts its lines."""

Line = Union[str, Sequence[Union[str, tuple[str, str]]]]  # noqa: UP007 -- an alias that is read at run time
"""A text, or its parts; a part with a style is a pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a table shows one column."""

    title: str
    right: bool = False
    least: int | None = None
    """Characters that it has in any case, unwrapped."""
    cut: bool = False
    """What is too long ends in dots instead of going on in the next line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts below titles; each row may have a style."""

    columns: Sequence[Column]
    rows: list[Sequence[Line]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def add(self, *cells: Line, style: str = "") -> None:
        """Add a row."""
        self.rows.append(cells)
        self.styles.append(style)


def clean(text: str) -> str:
    """Make a stranger's text fit to be shown: no control or direction codes, no bytes that are no text."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number of things."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def console(*, stderr: bool = False) -> "Console":
    """Return a console as wide as the terminal; into a pipe, one that nothing cuts."""
    # Names are strangers' texts: they are no markup, nor is `:skull:` in them a picture.
    out = Console(markup=False, emoji=False, highlight=False, stderr=stderr)
    return out if out.is_terminal else Console(markup=False, emoji=False, highlight=False, stderr=stderr, width=_WIDE)


def width() -> int:
    """Return the columns that there are."""
    return console().width if RICH else _WIDE


def write(*parts: "Line | Table") -> None:
    """Write lines and tables to standard output."""
    if not RICH:
        sys.stdout.write("".join(f"{_plain(part)}\n" for part in parts))
        return
    out = console()
    for part in parts:
        out.print(_styled(part), soft_wrap=not isinstance(part, Table))


def watch(draw: Callable[[], Sequence["Line | Table"]], every: float) -> None:
    """Write what `draw` returns again and again, until an interrupt: in place, or each below the last."""
    if not RICH:
        while True:
            write(*draw())
            sys.stdout.flush()
            time.sleep(every)
    with Live(Group(*map(_styled, draw())), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(Group(*map(_styled, draw())), refresh=True)


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on standard error; what is yielded takes how many are done more, and a note."""
    if not RICH:
        yield lambda _done, _note: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as shown:
        task = shown.add_task(doing, total=total)
        yield lambda done, note: shown.update(task, advance=done, description=f"{doing}{note}")


def _styled(part: "Line | Table") -> "RenderableType":
    if not isinstance(part, Table):
        return Text(part) if isinstance(part, str) else Text.assemble(*part)
    table = RichTable(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in part.columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.cut or column.least is not None,
            overflow="ellipsis" if column.cut else "fold",
            min_width=column.least,
        )
    for cells, style in zip(part.rows, part.styles, strict=True):
        table.add_row(*map(_styled, cells), style=style or None)
    return table


def _plain(part: "Line | Table") -> str:
    if not isinstance(part, Table):
        return part if isinstance(part, str) else "".join(each if isinstance(each, str) else each[0] for each in part)
    rows = [[column.title for column in part.columns], *([_plain(cell) for cell in cells] for cells in part.rows)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    aligned = (
        "  ".join(
            cell.rjust(wide) if column.right else cell.ljust(wide)
            for cell, wide, column in zip(cells, widths, part.columns, strict=True)
        ).rstrip()
        for cells in rows
    )
    return "\n".join(aligned)
