"""README, CONTRIBUTING and docs/: links, names and paths exist, tables agree with the code, the hook works."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks import page as performance
from imagefeed.model import ImageMetadata, State
from local import docs
from ops.web.model import DisplayState
from preprocess.image.decode import FORMATS
from preprocess.image.formats import SKIPPED, SUFFIXES, skip_kind
from preprocess.recipe import load_hook

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERYTHING = "\n".join(page.read_text() for page in PAGES)


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


def test_every_page_is_linked_from_the_readme() -> None:
    assert {path.name for path in PAGES} - {"README.md"} <= {
        Path(link).name for link in re.findall(r"\(([^)]+\.md)", README)
    }


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100


def test_every_test_that_is_named_exists() -> None:
    tests = {test.name for test in ROOT.glob("tests/**/test_*.py")}
    named = set(re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", EVERYTHING))
    assert len(named) > 10
    assert {Path(name).name for name in named} <= tests
    assert not [name for name in named if "/" in name and not (ROOT / name).exists()]


def test_every_path_of_the_table_for_contributors_exists() -> None:
    paths = re.findall(r"`([\w.-]*[./][\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_and_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", EVERYTHING, re.MULTILINE))
    assert {"demo", "test", "run", "bench", "soak", "docs"} <= named <= targets
    folders = set(re.findall(r"`([a-z]+(?:/[a-z]+)*)/`", EVERYTHING))
    assert len(folders) > 10
    assert not [name for name in folders if not (ROOT / name).is_dir()]


def test_every_state_is_explained() -> None:
    explained = re.findall(
        r"^\| ((?:`[a-z]+`(?:, )?)+) \|", (ROOT / "docs/storage-layout.md").read_text(), re.MULTILINE
    )
    assert {name for cell in explained for name in re.findall(r"`([a-z]+)`", cell)} >= set(State)


@pytest.mark.parametrize("page", docs.TABLES)
def test_the_tables_of_a_page_are_what_the_code_says(page: str) -> None:
    assert docs.filled(page) == (docs.PAGES / page).read_text(), "`make docs` writes them"


def test_the_figures_of_speed_are_those_of_the_last_results() -> None:
    assert performance.filled() == performance.PAGE.read_text(), "`python -m benchmarks --page` writes them"


def test_a_page_that_lost_the_marks_of_a_table_is_an_error() -> None:
    assert docs.fill("a\n<!-- x: make docs -->\nold\n<!-- /x -->\nb\n", {"x": "new"}) == (
        "a\n<!-- x: make docs -->\nnew\n<!-- /x -->\nb\n"
    )
    for broken in ("a\nb\n", "<!-- x: make docs -->\nold\n", "<!-- /x -->\n"):
        with pytest.raises(ValueError, match="the marks"):
            docs.fill(broken, {"x": "new"})


def test_each_setting_has_one_sentence_or_more_below_its_field() -> None:
    meanings = {name: docs.meaning(setting) for name, setting in docs.SETTINGS.items()}
    assert [name for name, meaning in meanings.items() if not re.fullmatch(r"\S.*[.)]\.?", meaning)] == []


def test_ten_settings_stand_first_and_each_setting_stands_once() -> None:
    assert len(set(docs.SET_FIRST)) == 10
    assert {*docs.SET_FIRST} <= {docs.URL, *docs.SETTINGS}
    listed = re.findall(r"^\| `([A-Za-z_<>]+)` \|", (docs.PAGES / "settings.md").read_text(), re.MULTILINE)
    assert listed[:10] == [name for name in (docs.URL, *docs.SETTINGS) if name in docs.SET_FIRST]
    assert sorted(listed) == sorted([docs.URL, *docs.SETTINGS])


def test_the_formats_are_those_that_are_decoded_and_skipped() -> None:
    assert set(SUFFIXES) == set(FORMATS)
    # Kinds that run_batch.py counts as skipped, in addition to those by name.
    counted = re.findall(r'skipped=\{"([^"]+)"', (ROOT / "preprocess/run_batch.py").read_text())
    names = [("a/", 0), ("__MACOSX/a.jpg", 1), (".DS_Store", 1), ("a/.b.jpg", 1)]
    names += [(name, 1) for skipped in SKIPPED.values() for name in skipped.names]
    names += [(f"a.{suffix}", 1) for skipped in SKIPPED.values() for suffix in skipped.suffixes]
    assert {*counted, *(skip_kind(*name) for name in names)} == set(SKIPPED)


def test_every_alert_has_a_row_in_the_order_in_which_they_are_defined() -> None:
    titles = re.findall(r"^    title: '(.*)'$", (ROOT / "infra/modules/alerts.bicep").read_text(), re.MULTILINE)
    section = (ROOT / "docs/operate.md").read_text().partition("\n## An alert came\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z][^|`]+) \| .*`.*\|$", section, re.MULTILINE)
    assert len(titles) > 5
    assert sorted(rows) == sorted(titles)


def test_every_state_of_the_page_stands_where_its_json_is_explained() -> None:
    states = ", ".join(f"`{state}`" for state in DisplayState)
    assert f"`state` ({states})" in (ROOT / "docs/status-page.md").read_text()


def test_the_glossary_is_alphabetical() -> None:
    words = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(words) > 40
    assert words == sorted(set(words), key=str.lower)
    assert {"archive", "member", "frame", "batch", "pipeline", "stamp", "version", "stable", "terminal"} <= set(words)


def test_the_hook_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (source,) = [block for block in blocks if block.startswith("# hooks.py")]
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
