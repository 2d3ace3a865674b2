"""The files that keep results: written after every row, read again to add to them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import markdown, plots
from benchmarks.machine import ROOT
from benchmarks.model import BenchmarkError
from benchmarks.results import Lap, Number, Result, Run

FOLDER = ROOT / "benchmarks" / "results"
LATEST = FOLDER / "latest.json"
_PLOT = ROOT / "docs" / "speed.svg"


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
    latest = folder / LATEST.name
    if keep_others and latest.exists():
        run = _merged(read(latest), run, order)
    folder.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "latest.md").write_text(markdown.page(run), encoding="utf-8")
    plots.draw(run, _PLOT if keep_others else folder / _PLOT.name)


def _merged(old: Run, new: Run, order: Sequence[str]) -> Run:
    """Replace in `old` what `new` has, where both are of one machine; else its rows mean nothing beside these."""
    if old.machine != new.machine:
        return new
    known = {row.name: row for row in old.rows} | {row.name: row for row in new.rows}
    return replace(new, rows=[known[name] for name in order if name in known])
