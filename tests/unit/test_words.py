"""Names are the words of the field, not private ones."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.package import PROJECT, modules

REPLACED = re.compile(r"^_*told|roster|sighting|(?<!p)lanes|desk(?!top)|witness|leftover|wary", re.IGNORECASE)
FOLDERS = sorted({path.relative_to(PROJECT).parts[0] for path in modules()})


def identifiers(path: Path) -> Iterator[str]:
    """Yield every name in the syntax tree; text is none."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Constant):
            for _, value in ast.iter_fields(node):
                yield from (name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_is_one_that_was_replaced(folder: str) -> None:
    names = {(path.name, name) for path in modules(folder) for name in (path.stem, *identifiers(path))}
    assert sorted((file, name) for file, name in names if REPLACED.search(name)) == []
