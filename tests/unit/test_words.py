"""Names are words of the field, not private ones, and there is one word for each idea in all texts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagefeed.model import State
from ops.web.model import DisplayState
from tests.fixtures.package import PROJECT, modules

REPLACED = re.compile(r"^_*told|roster|sighting|(?<!p)lanes|desk(?!top)|witness|leftover|wary", re.IGNORECASE)
OTHER_WORDS = re.compile(
    r"\b(pass(?:ed|es) over|le(?:ft|aves|aving) out|refus(?:e|es|ing)|reconciled)\b", re.IGNORECASE
)
"""Other words for skipped, not shown, refused, rejected, and reconcile, as docs/glossary.md has them."""
GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text()
PRODUCT = ("config", "imagefeed", "ingest", "ops", "preprocess", "storage")
FOLDERS = sorted({path.relative_to(PROJECT).parts[0] for path in modules()})


def identifiers(path: Path) -> Iterator[str]:
    """Yield every name in the syntax tree, but no texts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Constant):
            for _, value in ast.iter_fields(node):
                yield from (name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_is_one_that_was_replaced(folder: str) -> None:
    names = {(path.name, name) for path in modules(folder) for name in (path.stem, *identifiers(path))}
    assert sorted((file, name) for file, name in names if REPLACED.search(name)) == []


def messages(path: Path) -> Iterator[str]:
    """Yield every text in the syntax tree except docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_says_what_a_thing_is_and_not_what_who_or_whoever(folder: str) -> None:
    found = [
        (path.name, node.value.value)
        for path in modules(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    assert [each for each in found if re.match(r"(What|Who|Whose|Whatever|Whoever)\b", each[1])] == []


def test_people_read_one_word_for_each_idea() -> None:
    texts = [(path, text) for folder in PRODUCT for path in modules(folder) for text in messages(path)]
    pages = [*PROJECT.glob("docs/*.md"), *PROJECT.glob("ops/web/templates/*")]
    texts += [(path, path.read_text()) for path in pages]
    assert len(texts) > 1_000
    assert [(path.name, word[0]) for path, text in texts for word in OTHER_WORDS.finditer(text)] == []


@pytest.mark.parametrize("state", DisplayState)
def test_the_glossary_explains_a_state_as_the_page_does(state: DisplayState) -> None:
    assert f"| {state} | {state.meaning} |" in GLOSSARY.splitlines()


@pytest.mark.parametrize("state", State)
def test_the_glossary_has_each_state_of_the_ledger(state: State) -> None:
    assert any(line.startswith(f"| {state} |") for line in GLOSSARY.splitlines())
