"""The README's table of speed, made of the last results."""

import re

from benchmarks.model import BenchmarkError
from benchmarks.results import FOLDER, ROOT, read, table

_README = ROOT / "README.md"
_PLACE = re.compile(r"(<!-- speed: python -m benchmarks --readme -->\n).*?(<!-- /speed -->)", re.DOTALL)


def refresh() -> None:
    """Replace the table in README.md. Raises BenchmarkError."""
    run = read(FOLDER / "latest.json")
    facts = run.machine
    where = f"{run.at}, {facts['cores']} cores of {facts['processor']}, {facts['memory']}, {facts['system']}"
    text, count = _PLACE.subn(rf"\g<1>{table(run)}\n\n{where}.\n\g<2>", _README.read_text(encoding="utf-8"))
    if count != 1:
        raise BenchmarkError(f"refresh {_README}: the marks around the table of speed are missing")
    _README.write_text(text, encoding="utf-8")
