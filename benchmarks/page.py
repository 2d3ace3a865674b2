"""Write the last results into docs/performance.md."""

from benchmarks import markdown
from benchmarks.files import LATEST, read
from benchmarks.model import BenchmarkError
from benchmarks.results import Run
from benchmarks.summary import summarize
from local.docs import PAGES, fill

PAGE = PAGES / "performance.md"
_COMMAND = "python -m benchmarks --page"


def refresh() -> None:
    """Write the last results into docs/performance.md. Raises BenchmarkError."""
    PAGE.write_text(filled(), encoding="utf-8")


def filled() -> str:
    """Return docs/performance.md with the last results between its marks. Raises BenchmarkError."""
    run = read(LATEST)
    tables = {"speed": summarize(run), "table": _table(run), "scale": _scale(run)}
    try:
        return fill(PAGE.read_text(encoding="utf-8"), tables, _COMMAND)
    except ValueError as exc:
        raise BenchmarkError(f"refresh {PAGE}: {exc}") from exc


def _table(run: Run) -> str:
    metadata = run.machine
    where = f"{metadata['cores']} cores of {metadata['processor']}, {metadata['memory']}, {metadata['system']}"
    return f"{markdown.summary(run)}\n\nMeasured {run.at} at commit {run.commit}: {where}."


def _scale(run: Run) -> str:
    return "\n".join(f"- {note}" for result in run.results if result.name == "workers" for note in result.notes)
