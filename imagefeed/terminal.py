"""Terminal output: tables, colours and progress with rich if it is installed, else plain text."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any, Union
from unicodedata import combining, east_asian_width

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    RICH = True
except ModuleNotFoundError:
    RICH = False

_WIDE = 250
"""Width in columns of output to a pipe or a file."""
_GAP = "  "

Line = Union[str, Sequence[Union[str, tuple[str, str]]]]  # noqa: UP007 -- an alias that is read at run time
"""A text, or its parts; a part with a style is a pair (text, style)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table. If the terminal is too narrow, its cells are written below their rows, with the title."""

    title: str
    right: bool = False
    own: bool = False
    """True if each cell is a line of its own below its row, without the title: for sentences and commands to copy."""


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
    """Return untrusted text for a terminal, with control codes, direction codes and undecodable bytes replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number and its noun, such as `1 file` or `2 files`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def console(*, stderr: bool = False) -> "Console":
    """Return a console as wide as the terminal, or 250 columns wide if the output is a pipe or a file."""
    # File names are untrusted text: rich must not read markup or emoji codes such as `:skull:` in them.
    out = Console(markup=False, emoji=False, highlight=False, stderr=stderr)
    return out if out.is_terminal else Console(markup=False, emoji=False, highlight=False, stderr=stderr, width=_WIDE)


def width() -> int:
    """Return the width of the output in columns."""
    if RICH:
        return console().width
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def write(*parts: "Line | Table") -> None:
    """Write lines and tables to standard output. Long lines are wrapped, not cut."""
    if not RICH:
        sys.stdout.write("".join(f"{_text(line)}\n" for line, _ in _lines(parts)))
        return
    out = console()
    for line in _styled(parts):
        out.print(line, soft_wrap=True)


def write_json(value: Mapping[str, Any]) -> None:
    """Write a value as one line of JSON, with times in ISO 8601 and paths as text."""
    sys.stdout.write(json.dumps(value, default=lambda it: it.isoformat() if isinstance(it, datetime) else str(it)))
    sys.stdout.write("\n")


def watch(draw: Callable[[], Sequence["Line | Table"]], every: float) -> None:
    """Write what `draw` returns every `every` seconds, until interrupted: in place, or each below the last."""
    if not RICH:
        while True:
            write(*draw())
            sys.stdout.flush()
            time.sleep(every)
    with Live(Group(*_styled(draw())), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(Group(*_styled(draw())), refresh=True)


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar on standard error. Yields a function that takes the number of newly done items and a note."""
    if not RICH:
        yield lambda _done, _note: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as shown:
        task = shown.add_task(doing, total=total)
        yield lambda done, note: shown.update(task, advance=done, description=f"{doing}{note}")


def _styled(parts: Sequence["Line | Table"]) -> "Iterator[Text]":
    for line, style in _lines(parts):
        yield Text.assemble(*((line,) if isinstance(line, str) else line), style=style)


def _lines(parts: Sequence["Line | Table"]) -> Iterator[tuple[Line, str]]:
    """Yield all lines, each with the style of the whole line."""
    for part in parts:
        if isinstance(part, Table):
            yield from _table_lines(part, width())
        else:
            yield part, ""


def _table_lines(table: Table, room: int) -> Iterator[tuple[Line, str]]:
    widths = [max(map(_cells, cells)) for cells in zip([c.title for c in table.columns], *table.rows, strict=True)]
    inside = [number for number, column in enumerate(table.columns) if not column.own]
    ends = list(accumulate(widths[number] + len(_GAP) for number in inside))
    shown = inside[: max(sum(end - len(_GAP) <= room for end in ends), 1)]
    below = inside[len(shown) :]
    yield _row([table.columns[number].title for number in shown], shown, table, widths), "bold"
    for cells, style in zip(table.rows, table.styles, strict=True):
        yield _row([cells[number] for number in shown], shown, table, widths), style
        titled: list[Line] = [[f"{table.columns[n].title} ", *_parts(cells[n])] for n in below if _cells(cells[n])]
        yield from ((line, style) for line in _filled(titled, room))
        own = (cells[number] for number, column in enumerate(table.columns) if column.own)
        yield from (([_GAP, *_parts(cell)], style) for cell in own if _cells(cell))


def _row(cells: Sequence[Line], numbers: Sequence[int], table: Table, widths: Sequence[int]) -> Line:
    """Return the cells side by side, without padding after the last non-empty cell."""
    cells = cells[: max((place for place, cell in enumerate(cells, 1) if _cells(cell)), default=0)]
    parts: list[str | tuple[str, str]] = []
    for place, (cell, number) in enumerate(zip(cells, numbers, strict=False)):
        padding, last = " " * (widths[number] - _cells(cell)), place == len(cells) - 1
        right = table.columns[number].right
        parts += [padding if right else "", *_parts(cell), "" if right or last else padding, "" if last else _GAP]
    return parts


def _filled(pieces: Sequence[Line], room: int) -> Iterator[Line]:
    """Yield indented lines, each with as many whole pieces as fit."""
    line: list[str | tuple[str, str]] = []
    for piece in pieces:
        if line and _cells(line) + len(_GAP) + _cells(piece) > room:
            yield line
            line = []
        line += [_GAP, *_parts(piece)]
    if line:
        yield line


def _parts(line: Line) -> Sequence[str | tuple[str, str]]:
    return (line,) if isinstance(line, str) else line


def _text(line: Line) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in _parts(line))


def _cells(line: Line) -> int:
    """Return the terminal columns that a line takes: two for each wide character, none for a combining one."""
    letters = _text(line)
    wide = sum(east_asian_width(letter) in "WF" for letter in letters)
    return len(letters) + wide - sum(map(bool, map(combining, letters)))
