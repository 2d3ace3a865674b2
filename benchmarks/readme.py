"""The README's figures of speed, made of the last results."""

from benchmarks import markdown
from benchmarks.files import LATEST, read
from benchmarks.machine import ROOT
from benchmarks.model import BenchmarkError
from benchmarks.results import Run
from benchmarks.summary import summarize

_README = ROOT / "README.md"
_MARK = "<!-- {name}: python -m benchmarks --readme -->"


def refresh() -> None:
    """Replace what stands between the marks in README.md. Raises BenchmarkError."""
    run = read(LATEST)
    text = _README.read_text(encoding="utf-8")
    for name, content in {"speed": summarize(run), "table": _table(run), "scale": _scale(run)}.items():
        text = _replaced(text, name, content)
    _README.write_text(text, encoding="utf-8")


def _replaced(text: str, name: str, content: str) -> str:
    begin, end = _MARK.format(name=name), f"<!-- /{name} -->"
    before, opened, rest = text.partition(f"{begin}\n")
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise BenchmarkError(f"refresh {_README}: the marks {begin} and {end} are missing")
    return f"{before}{opened}{content}\n{end}{after}"


def _table(run: Run) -> str:
    metadata = run.machine
    where = f"{metadata['cores']} cores of {metadata['processor']}, {metadata['memory']}, {metadata['system']}"
    return f"{markdown.summary(run)}\n\nMeasured {run.at} at commit {run.commit}: {where}."


def _scale(run: Run) -> str:
    return "\n".join(f"- {note}" for result in run.results if result.name == "workers" for note in result.notes)
