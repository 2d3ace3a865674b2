"""What came out, as values that can be written as JSON, read again and shown as Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks import machine, plots
from benchmarks.model import BenchmarkError, Goal, Measured, Row, Timing

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "speed.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A figure of a row, and its goal."""

    figure: str
    value: float
    low: float
    high: float
    unit: str
    goal: str
    met: bool | None
    """None: there is no goal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """What one side took; the median of its rounds."""

    side: str
    seconds: float
    low: float
    high: float
    cpu: float
    servers: float
    peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A row with what it measured."""

    name: str
    what: str
    against: str
    seen: str
    why: str
    numbers: Sequence[Number]
    laps: Sequence[Lap] = ()
    notes: Sequence[str] = ()
    missing: str = ""
    """Why it could not be measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of the benchmarks."""

    at: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    rows: Sequence[Result] = ()


def begin(at: datetime) -> Run:
    """Begin a run."""
    return Run(at=f"{at:%Y-%m-%d %H:%M} UTC", machine=machine.describe(), versions=machine.versions())


def with_row(run: Run, result: Result) -> Run:
    """Add a row."""
    return replace(run, rows=[*run.rows, result])


def of(row: Row, measured: Measured) -> Result:
    """Put a row and its figures together."""
    unknown = row.goals.keys() - measured.figures.keys()
    if unknown:
        raise BenchmarkError(f"judge {row.name}: it has goals for figures that it does not measure: {unknown}")
    numbers = [
        Number(
            figure=name,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            unit=figure.unit,
            goal=str(row.goals.get(name, "")),
            met=_met(row.goals.get(name), figure.value),
        )
        for name, figure in measured.figures.items()
    ]
    laps = [_lap(side, timing) for side, timing in measured.timings.items()]
    return replace(without(row, ""), numbers=numbers, laps=laps, notes=measured.notes)


def without(row: Row, missing: str) -> Result:
    """Say of a row why it could not be measured here."""
    return Result(
        name=row.name,
        what=row.what,
        against=row.against,
        seen=row.seen,
        why=row.why,
        numbers=[
            Number(figure=name, value=0, low=0, high=0, unit="", goal=str(goal), met=None)
            for name, goal in row.goals.items()
        ],
        missing=missing,
    )


def read(file: Path) -> Run:
    """Read a run. Raises BenchmarkError."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BenchmarkError(f"read {file}: {exc}; run `make bench` first") from exc
    rows = [
        Result(
            **{
                **row,
                "numbers": [Number(**number) for number in row["numbers"]],
                "laps": [Lap(**lap) for lap in row["laps"]],
            }
        )
        for row in told.pop("rows")
    ]
    return Run(**told, rows=rows)


def write(run: Run, folder: Path, *, keep_others: bool, order: Sequence[str]) -> None:
    """Write latest.json, latest.md and the plot; rows that were not measured this time may stay as they were."""
    latest = folder / "latest.json"
    if keep_others and latest.exists():
        run = _merged(read(latest), run, order)
    folder.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "latest.md").write_text(markdown(run), encoding="utf-8")
    plots.draw(run, PLOT if keep_others else folder / PLOT.name)


def _merged(old: Run, new: Run, order: Sequence[str]) -> Run:
    """Replace in `old` what `new` has, where both are of one machine; else its rows mean nothing beside these."""
    if old.machine != new.machine:
        return new
    known = {row.name: row for row in old.rows} | {row.name: row for row in new.rows}
    return replace(new, rows=[known[name] for name in order if name in known])


def table(run: Run) -> str:
    """Write the table: what, against, goal, measured."""
    lines = ["| | what | against | goal | measured |", "|---|---|---|---|---|"]
    for result in run.rows:
        goal = ", ".join(f"{number.figure} {number.goal}".strip() for number in result.numbers if number.goal)
        measured = result.missing or _told(result)
        lines.append(f"| `{result.name}` | {result.what} | {result.against} | {goal or '–'} | {measured} |")
    return "\n".join(lines)


def shown(number: Number) -> str:
    """Write a number and its unit."""
    digits = 2 if abs(number.value) < 10 else 1 if abs(number.value) < 100 else 0
    return f"{number.value:,.{digits}f}{' ' if number.unit not in ('×', '') else ''}{number.unit}"


def markdown(run: Run) -> str:
    """Write the whole run."""
    machine_facts = ", ".join(f"{name} {text}" for name, text in run.machine.items())
    version_facts = ", ".join(f"{name} {text}" for name, text in run.versions.items())
    parts = [
        "# How fast, and beside what",
        f"{run.at}. Made by `make bench`; ratios are medians of rounds in turn, with the least and the most.",
        f"Machine: {machine_facts}. The servers and the emulator share it.",
        f"Versions: {version_facts}.",
        table(run),
        *(_details(result) for result in run.rows),
    ]
    return "\n\n".join(parts) + "\n"


def _details(result: Result) -> str:
    lines = [f"## {result.name}", "", f"{result.what}, against {result.against}. Prototype: {result.seen}.", ""]
    if result.missing:
        return "\n".join([*lines, result.missing])
    for number in result.numbers:
        goal = f", goal {number.goal}: {'met' if number.met else 'not met'}" if number.goal else ""
        lines.append(f"- {number.figure}: **{shown(number)}** ({number.low:.2f} to {number.high:.2f}){goal}")
    lines += [f"- {note}" for note in result.notes]
    if result.why and any(number.met is False for number in result.numbers):
        lines.append(f"- Why not: {result.why}")
    if result.laps:
        lines += [
            "",
            "| side | seconds | from | to | own CPU s | servers' CPU s | peak MB |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {lap.side} | {lap.seconds:.3f} | {lap.low:.3f} | {lap.high:.3f} | {lap.cpu:.2f} | {lap.servers:.2f} "
            f"| {lap.peak / 1e6:.0f} |"
            for lap in result.laps
        ]
    return "\n".join(lines)


def _told(result: Result) -> str:
    told = ", ".join(
        f"{'**' if number.met else ''}{number.figure} {shown(number)}{'**' if number.met else ''}"
        for number in result.numbers
    )
    missed = any(number.met is False for number in result.numbers)
    return f"{told}; {result.why}" if missed and result.why else told


def _met(goal: Goal | None, value: float) -> bool | None:
    return None if goal is None else goal.met_by(value)


def _lap(side: str, timing: Timing) -> Lap:
    return Lap(
        side=side,
        seconds=median(timing.seconds),
        low=min(timing.seconds),
        high=max(timing.seconds),
        cpu=median(timing.cpu),
        servers=median(timing.servers or [0]),
        peak=max(timing.peak),
    )
