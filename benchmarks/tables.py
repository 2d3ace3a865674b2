"""Rows as the terminal shows them."""

from rich.console import Console
from rich.table import Table

from benchmarks.results import Result


def show(result: Result, *, quick: bool) -> None:
    """Print one row: its figures beside their goals, what each side took, and how long all of it."""
    console = Console(highlight=False, soft_wrap=True)
    if result.missing:
        console.print(f"  {'FAILED' if result.failed else 'not measured'}", markup=False)
    for number in result.numbers:
        judged = "" if quick or number.met is None else "  met" if number.met else "  NOT MET"
        goal = f"  goal {number.goal}" if number.goal else ""
        console.print(f"  {number.figure}: {number} ({number.low:.2f} to {number.high:.2f}){goal}{judged}")
    for note in result.notes:
        console.print(f"  {note}")
    if result.laps:
        console.print(_laps(result))
    console.print(f"  took {result.seconds:.0f} s")


def _laps(result: Result) -> Table:
    table = Table("side", box=None, padding=(0, 2))
    for name in ("seconds", "from", "to", "own CPU", "servers", "peak MB"):
        table.add_column(name, justify="right")
    for lap in result.laps:
        times = (f"{seconds:.3f}" for seconds in (lap.seconds, lap.low, lap.high, lap.cpu, lap.servers))
        table.add_row(lap.side, *times, f"{lap.peak / 1e6:.0f}")
    return table
