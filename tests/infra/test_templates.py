"""Templates compile without warnings, and are formatted as the compiler does it."""

import shutil
from pathlib import Path

import pytest

from tests.tools.bicep import INFRA, run

FILES = [*sorted(INFRA.rglob("*.bicep")), *sorted(INFRA.rglob("*.bicepparam"))]


# The compiler follows modules, and reports their problems with the template's.
@pytest.mark.parametrize("name", ["main.bicepparam", "events.bicep"])
def test_the_compiler_finds_no_error_no_warning_and_nothing_for_its_linter(name: str) -> None:
    done = run("lint", str(INFRA / name))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("param idle string\n", "no-unused-params"),
        ("resource a 'Microsoft.Web/sites@2025-03-01' = {\n  name: 'a'\n  colour: 1\n}\n", "BCP037"),
    ],
)
def test_what_is_wrong_is_found(template: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.bicep").write_text(template)
    assert word in run("lint", str(tmp_path / "wrong.bicep")).stderr


def test_every_module_is_compiled_with_a_template() -> None:
    text = "".join(path.read_text() for path in FILES)
    assert [path.name for path in (INFRA / "modules").iterdir() if f"'modules/{path.name}'" not in text] == []


def test_every_file_is_laid_out_as_the_compiler_does_it(tmp_path: Path) -> None:
    copy = tmp_path / "infra"
    shutil.copytree(INFRA, copy)
    for pattern in ("*.bicep", "*.bicepparam"):
        done = run("format", "--pattern", str(copy / "**" / pattern))
        assert done.returncode == 0, done.stderr
    changed = [path.name for path in FILES if (copy / path.relative_to(INFRA)).read_text() != path.read_text()]
    assert changed == [], "bicep format"
