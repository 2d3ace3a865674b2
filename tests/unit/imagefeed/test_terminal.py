"""Tables fit every terminal: columns that do not fit are printed below their row, and nothing is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from imagefeed import terminal
from imagefeed.terminal import Column, Table, write

WORD = st.text("abcdefgh0123456789-", min_size=1, max_size=30)
ROW = st.lists(WORD, min_size=4, max_size=4)
COLUMNS = [Column(title="one"), Column(title="two", right=True), Column(title="three"), Column(title="four", own=True)]


def shown(table: Table, width: int, *, rich: bool) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        narrow = Console(width=width, markup=False, highlight=False)
        patch.setattr(terminal, "console", lambda: narrow)
        patch.setattr(terminal, "RICH", rich)
        patch.setattr(terminal, "_WIDE", width)
        with narrow.capture() as captured, pytest.MonkeyPatch.context() as out:
            plain: list[str] = []
            out.setattr(terminal.sys.stdout, "write", plain.append)  # type: ignore[attr-defined]
            write(table)
        return (captured.get() if rich else "".join(plain)).splitlines()


@given(rows=st.lists(ROW, min_size=1, max_size=4), width=st.integers(10, 150), rich=st.booleans())
def test_every_cell_is_whole_and_lines_are_as_long_as_the_terminal_unless_one_cell_is_longer(
    rows: list[list[str]], width: int, rich: bool
) -> None:
    table = Table(columns=COLUMNS)
    for row in rows:
        table.add(*row)
    lines = shown(table, width, rich=rich)
    for row in rows:
        assert all(any(cell in line for line in lines) for cell in row)
        assert f"  {row[3]}" in lines, "on a line of its own, to be copied"
    # A value that is too long for the terminal continues in the next line, and is one cell with its title.
    assert all(len(line) <= width or len(line.split()) <= 2 for line in lines)


def test_columns_stand_below_each_other_as_long_as_they_fit() -> None:
    table = Table(columns=COLUMNS[:3])
    table.add("a", "1", "x" * 10)
    table.add("bb", "22", "y")
    for rich in (True, False):
        assert shown(table, 80, rich=rich) == ["one  two  three", f"a      1  {'x' * 10}", "bb    22  y"]
        assert shown(table, 12, rich=rich) == ["one  two", "a      1", f"  three {'x' * 10}", "bb    22", "  three y"]


def test_wide_letters_take_two_columns() -> None:
    table = Table(columns=COLUMNS[:2])
    table.add("雷达", "1")
    table.add("abcd", "2")
    assert shown(table, 80, rich=False) == ["one   two", "雷达    1", "abcd    2"]
