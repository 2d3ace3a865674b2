"""Rows as the terminal shows them."""

from collections.abc import Iterator, Sequence

from benchmarks.results import Lap, Result


def show(result: Result, *, quick: bool) -> None:
    """Print one row: its figures beside their goals, what each side took, and how long all of it."""
    if result.missing:
        print("  FAILED" if result.failed else f"  not measured: {result.missing}")
    for number in result.numbers:
        judged = "" if quick or number.met is None else "  met" if number.met else "  NOT MET"
        goal = f"  goal {number.goal}" if number.goal else ""
        print(f"  {number.figure}: {number} ({number.low:.2f} to {number.high:.2f}){goal}{judged}")
    for line in [*result.notes, *_sides(result.laps)]:
        print(f"  {line}")
    print(f"  took {result.seconds:.0f} s", flush=True)


def _sides(laps: Sequence[Lap]) -> Iterator[str]:
    if not laps:
        return
    width = max(len(lap.side) for lap in laps)
    yield f"{'':{width}}" + "".join(f"{name:>9}" for name in ("seconds", "from", "to", "own CPU", "servers", "peak MB"))
    for lap in laps:
        seconds = "".join(f"{each:9.3f}" for each in (lap.seconds, lap.low, lap.high, lap.cpu, lap.servers))
        yield f"{lap.side:{width}}{seconds}{lap.peak / 1e6:9.0f}"
