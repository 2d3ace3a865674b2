"""Settings that cannot work are told at start, and results are named after all that decides them."""

import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SettingsError
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
    hooks.write_text(hooks.read_text().replace("LEVEL = 1", "LEVEL = 2 # another"))
    assert fingerprint(Recipe(), load_hook("my_hooks:double")) != before


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


def test_a_hook_with_an_error_in_its_file_is_told(hooks: Path) -> None:
    hooks.write_text("def double(:\n")
    with pytest.raises(SettingsError, match="cannot import my_hooks"):
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
