"""Read and write the files of results, which are updated after every benchmark."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import markdown, plots
from benchmarks.machine import ROOT
from benchmarks.model import BenchmarkError
from benchmarks.results import CandidateSummary, Number, Result, Run

FOLDER = ROOT / "benchmarks" / "results"
LATEST = FOLDER / "latest.json"
_PLOT = ROOT / "docs" / "speed.svg"


def read(file: Path) -> Run:
    """Read a saved run. Raises BenchmarkError."""
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BenchmarkError(f"read {file}: {exc}; run `make bench` first") from exc
    results = [
        Result(
            **{
                **result,
                "numbers": [Number(**number) for number in result["numbers"]],
                "candidates": [CandidateSummary(**candidate) for candidate in result["candidates"]],
            }
        )
        for result in metadata.pop("results")
    ]
    return Run(**metadata, results=results)


def write(run: Run, folder: Path, *, keep_others: bool, order: Sequence[str]) -> None:
    """Write latest.json, latest.md and the plot; `keep_others` keeps saved results of benchmarks that `run` lacks."""
    latest = folder / LATEST.name
    if keep_others and latest.exists():
        run = _merged(read(latest), run, order)
    folder.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "latest.md").write_text(markdown.page(run), encoding="utf-8")
    plots.draw(run, _PLOT if keep_others else folder / _PLOT.name)


def _merged(old: Run, new: Run, order: Sequence[str]) -> Run:
    """Return `new` with the other results of `old`; only `new` if the machines differ, as times do not compare then."""
    if old.machine != new.machine:
        return new
    known = {result.name: result for result in old.results} | {result.name: result for result in new.results}
    return replace(new, results=[known[name] for name in order if name in known])
