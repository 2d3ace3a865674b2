"""Settings that cannot work are errors at start, and a pipeline's name depends on all that determines its results."""

import dataclasses
import re
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SettingsError
from preprocess import recipe as recipe_module
from preprocess.hook_source import hook_source
from preprocess.model import BatchSizes, Recipe
from preprocess.plan import divide
from preprocess.recipe import check_recipe, fingerprint, load_hook, pipeline_name
from tests.fakes.preprocessing import MemoryRawArchives

CHANGES: list[dict[str, Any]] = [
    {"width": 225},
    {"height": 225},
    {"fit": "none"},
    {"crop": (0, 0, 1, 1)},
    {"colour": "L"},
    {"dtype": "float32"},
    {"scale": 2.0},
    {"mean": (1.0,)},
    {"std": (1.0,)},
    {"resample": "box"},
    {"codec": "png"},
    {"hook": "a:b"},
]


def test_a_pipelines_name_is_short_and_stable() -> None:
    assert pipeline_name(Recipe(), None) == pipeline_name(Recipe(), None)
    assert re.fullmatch(r"p-[0-9a-f]{8}", pipeline_name(Recipe(), None))


def test_every_setting_has_a_say_in_the_name() -> None:
    recipes = [Recipe(), *(replace(Recipe(), **change) for change in CHANGES)]
    assert len({pipeline_name(recipe, None) for recipe in recipes}) == len(recipes)
    assert {name for change in CHANGES for name in change} == set(Recipe.__slots__)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "p-f0bb6235"),
        ({"width": 225}, "p-aee79107"),
        ({"dtype": "float32", "mean": (1.0,)}, "p-484571f4"),
        ({"codec": "png"}, "p-1112ffef"),
    ],
)
def test_names_stay_as_they_were_in_0_1_0(change: dict[str, Any], name: str) -> None:
    # If this fails, every pipeline would be renamed, and 72 hours of it made again. A new setting goes into _FROZEN.
    assert pipeline_name(replace(Recipe(), **change), None) == name


def test_every_setting_has_a_value_that_names_do_not_tell() -> None:
    assert recipe_module._FROZEN.keys() == asdict(Recipe()).keys()


def test_a_new_setting_renames_nobody_and_a_new_default_renames_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pipeline_name(Recipe(), None)
    monkeypatch.setitem(recipe_module._FROZEN, "rotation", 0)
    assert pipeline_name(make_recipe(rotation=0), None) == before
    assert pipeline_name(make_recipe(rotation=90), None) != before
    assert pipeline_name(Recipe(width=512), None) != before


def make_recipe(rotation: int) -> Recipe:
    """Return the defaults and a setting that a later version has."""
    later = dataclasses.make_dataclass("Later", [("rotation", int)], bases=(Recipe,), frozen=True, kw_only=True)
    return cast(Recipe, later(rotation=rotation))


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_hooks", raising=False)
    file = tmp_path / "my_hooks.py"
    file.write_text("LEVEL = 1\n\ndef double(pixels, facts):\n    return pixels * 2\n")
    return file


def test_a_hook_is_found_and_its_whole_module_has_a_say_in_the_name(
    hooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = load_hook("my_hooks:double")
    before = fingerprint(Recipe(), hook)
    assert before != fingerprint(Recipe(), None)
    monkeypatch.delitem(sys.modules, "my_hooks")
    hooks.write_text(hooks.read_text().replace("LEVEL = 1", "LEVEL = 2"))
    assert fingerprint(Recipe(), load_hook("my_hooks:double")) != before


def source_of(folder: Path, **modules: str) -> str:
    """Write modules to a folder and return the source of `hooks`, the first of them."""
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, newline="")
    module = ModuleType("hooks")
    module.__file__ = str(folder / "hooks.py")
    return hook_source(module)


PLAIN = "def f(p, m):\n    if m:\n        return g(p, f'{m!r:>{3}} # {{x}}')\n"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("# why\n\ndef f( p,m ):  # so\n  if m:\n\n    return g(\n  p, f'{m!r:>{3}} # {{x}}')", True),
        (PLAIN.replace("\n", "\r\n"), True),
        (PLAIN.replace("# {{x}}", "# {{y}}"), False),
        (PLAIN.replace("{m!r", "{m!s"), False),
        ("def f(p, m):\n    if m:\n        pass\n    return g(p, f'{m!r:>{3}} # {{x}}')\n", False),
    ],
)
def test_comments_and_layout_of_a_hook_have_no_say_and_all_else_has(tmp_path: Path, other: str, same: bool) -> None:
    assert (source_of(tmp_path / "a", hooks=PLAIN) == source_of(tmp_path / "b", hooks=other)) is same


def test_a_formatted_string_is_one_token_on_every_python(tmp_path: Path) -> None:
    assert "f'{m!r:>{3}} # {{x}}'" in source_of(tmp_path / "a", hooks=PLAIN).splitlines()


@pytest.mark.parametrize("imported", ["import helper", "from helper import x", "def f():\n    import helper as h"])
def test_what_a_hook_imports_from_beside_it_has_a_say_and_our_own_modules_have_none(
    tmp_path: Path, imported: str
) -> None:
    hooks = f"import json, imagefeed\n{imported}\n"
    before = source_of(tmp_path / "a", hooks=hooks, helper="import deeper", deeper="x = 1", imagefeed="x = 1")
    assert before == source_of(tmp_path / "b", hooks=hooks, helper="import deeper", deeper="x = 1", imagefeed="x = 2")
    assert before != source_of(tmp_path / "c", hooks=hooks, helper="import deeper", deeper="x = 2", imagefeed="x = 1")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("my_hooks", "must be like"),
        ("my_hooks:", "must be like"),
        (":double", "must be like"),
        ("no_such_module:f", "cannot import no_such_module"),
        ("my_hooks:triple", "has no function triple"),
        ("my_hooks:LEVEL", "has no function LEVEL"),
    ],
)
@pytest.mark.usefixtures("hooks")
def test_a_hook_that_cannot_be_found_is_told_with_its_setting(spec: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"PREPROCESS_HOOK={spec}.*{why}"):
        load_hook(spec)


@pytest.mark.parametrize(
    ("source", "why"),
    [("def double(:\n", "SyntaxError"), ("{}['a']\n", "KeyError: 'a'"), ("raise SystemExit(3)\n", "SystemExit: 3"),
     ("import no_such_module\n", "no_such_module"), ("\0", "null bytes")],
)  # fmt: skip
def test_a_hook_that_fails_at_import_in_any_way_is_told(hooks: Path, source: str, why: str) -> None:
    hooks.write_text(source)
    with pytest.raises(SettingsError, match=f"cannot import my_hooks: .*{why}"):
        load_hook("my_hooks:double")


def test_a_hook_without_source_is_told() -> None:
    with pytest.raises(SettingsError, match="source"):
        fingerprint(Recipe(), print)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(colour="L", dtype="uint16", codec="png"),
        Recipe(colour="keep", mean=(1, 2), std=(1, 2)),
        Recipe(dtype="keep", codec="png"),
        Recipe(crop=(0, 0, 1, 1), mean=(1,), std=(1, 1, 1)),
    ],
)
def test_sound_recipes_pass(recipe: Recipe) -> None:
    check_recipe(recipe)


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(dtype="float32", codec="png"), ["PREPROCESS_CODEC", "PREPROCESS_DTYPE"]),
        (Recipe(dtype="keep", scale=2, codec="png"), ["PREPROCESS_CODEC"]),
        (Recipe(dtype="uint16", codec="png"), ["PREPROCESS_CODEC", "PREPROCESS_COLOUR"]),
        (Recipe(mean=(1, 2), std=(1, 0, 1)), ["PREPROCESS_MEAN", "PREPROCESS_STD"]),
        (Recipe(colour="L", mean=(1, 2, 3)), ["PREPROCESS_MEAN"]),
        (Recipe(crop=(10, 0, 10, 5)), ["PREPROCESS_CROP"]),
        (Recipe(crop=(-1, 0, 10, 5)), ["PREPROCESS_CROP"]),
    ],
)
def test_recipes_that_cannot_work_are_told_at_once(recipe: Recipe, named: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        check_recipe(recipe)
    assert all(name in str(raised.value) for name in named)


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1000)), max_size=60),
    st.builds(BatchSizes, members=st.integers(1, 9), bytes=st.integers(1, 150), inflated_bytes=st.integers(1, 1500)),
)
def test_batches_follow_on_each_other_and_keep_to_the_sizes(members: list[tuple[int, int]], sizes: BatchSizes) -> None:
    def fit(run: list[tuple[int, int]]) -> bool:
        compressed, inflated = (sum(sizes) for sizes in zip(*run, strict=True)) if run else (0, 0)
        return len(run) <= sizes.members and compressed <= sizes.bytes and inflated <= sizes.inflated_bytes

    archive = MemoryRawArchives().add(b"")
    batches = divide(archive, "p", members, sizes)
    assert [batch.number for batch in batches] == list(range(len(batches)))
    assert [batch.first for batch in batches] == [0, *(batch.end for batch in batches[:-1])]
    assert batches[-1].end == len(members)
    for batch in batches:
        taken = members[batch.first : batch.end]
        assert len(taken) == 1 or fit(taken)
        assert taken or not members
    for batch, after in pairwise(batches):
        assert not fit(members[batch.first : after.first + 1]), "a batch could have taken one more"


def test_an_archive_without_members_has_one_batch_without_members() -> None:
    (batch,) = divide(MemoryRawArchives().add(b""), "p", [], BatchSizes())
    assert (batch.number, batch.first, batch.end) == (0, 0, 0)
