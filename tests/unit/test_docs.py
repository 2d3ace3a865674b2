"""What README and CONTRIBUTING say is so: links lead somewhere, commands and paths exist, the hook works."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from imagefeed.model import ImageMetadata, State
from preprocess.recipe import load_hook

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_section_of_it(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not link.startswith("http")]
    for link in links:
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not section or section in slugs(target), link


def slugs(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_test_that_is_named_exists() -> None:
    tests = {test.name for test in ROOT.glob("tests/**/test_*.py")}
    named = set(re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", README))
    assert named
    assert {Path(name).name for name in named} <= tests
    assert not [name for name in named if "/" in name and not (ROOT / name).exists()]


def test_every_path_of_the_table_for_contributors_exists() -> None:
    paths = re.findall(r"`([\w.-]*[./][\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_and_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`", README)) | {"demo", "test", "run"} <= targets
    assert not [name for name in re.findall(r"`([a-z]+(?:/[a-z]+)*)/`", README) if not (ROOT / name).is_dir()]


def test_every_state_is_explained() -> None:
    explained = re.findall(r"^\| ((?:`[a-z]+`(?:, )?)+) \|", README, re.MULTILINE)
    assert {name for cell in explained for name in re.findall(r"`([a-z]+)`", cell)} >= set(State)


def test_the_hook_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = [block for block in code("python") if block.startswith("# hooks.py")]
    (tmp_path / "hooks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hooks", raising=False)
    (spec,) = re.findall(r"PREPROCESS_HOOK=(\S+?)`", README)
    hook = load_hook(spec)
    metadata = ImageMetadata(
        source="radar",
        archive="a.zip",
        stamp=datetime(2026, 1, 1, tzinfo=UTC),
        member=0,
        frame=0,
        name="a.jpg",
        format="JPEG",
        captured_at=None,
    )
    bright = hook(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), metadata)
    assert bright is not None
    assert bright.dtype == np.float32
    np.testing.assert_array_equal([bright.min(), bright.max()], [0, 1])
    assert hook(np.full((4, 4, 3), 7, dtype=np.uint8), metadata) is None
