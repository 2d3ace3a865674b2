"""The requirements files agree with pyproject's dependency groups: no package is missing, doubled or unused."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fixtures.package import PROJECT

FILES = {"app": "requirements.txt", "dev": "requirements-dev.txt", "bench": "benchmarks/requirements.txt"}
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def members(group: str) -> Iterator[Requirement]:
    for entry in PYPROJECT["dependency-groups"][group]:
        if isinstance(entry, str):
            yield Requirement(entry)
        else:
            yield from members(entry["include-group"])


def pins(group: str) -> Mapping[str, str]:
    lines = (PROJECT / FILES[group]).read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.lstrip().startswith("#")]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def unmet(requirements: Iterable[Requirement], pinned: Mapping[str, str]) -> list[str]:
    return [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), ""), prereleases=True)
    ]


def dependencies(requirement: Requirement) -> Iterator[Requirement]:
    for text in distribution(requirement.name).requires or ():
        needed = Requirement(text)
        if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield needed


def closure(group: str) -> dict[str, Requirement]:
    """Return all packages that a group requires, directly and indirectly, by the metadata of the installed packages."""
    waiting = list(members(group))
    reached: dict[str, Requirement] = {}
    while waiting:
        requirement = waiting.pop()
        if reached.setdefault(str(requirement), requirement) is requirement:
            waiting += dependencies(requirement)
    return reached


@pytest.mark.parametrize("group", FILES)
def test_what_a_group_names_is_pinned_within_its_range(group: str) -> None:
    assert unmet(members(group), pins(group)) == []


@pytest.mark.parametrize("group", ["app", "dev"])  # the benchmarks' packages are not always installed
def test_the_pins_are_what_the_group_brings_and_nothing_else(group: str) -> None:
    reached, pinned = closure(group).values(), pins(group)
    assert unmet(reached, pinned) == []
    assert pinned.keys() == {canonicalize_name(requirement.name) for requirement in reached}


@pytest.mark.parametrize(("inner", "outer"), [("app", "dev"), ("dev", "bench")])
def test_development_and_benchmarks_run_on_what_is_deployed(inner: str, outer: str) -> None:
    assert pins(inner).items() <= pins(outer).items()


def test_the_app_has_what_its_reader_asks_for() -> None:
    project = PYPROJECT.get("project", {})
    extras = {name: lines for name, lines in project.get("optional-dependencies", {}).items() if name != "pandas"}
    wanted = [line for lines in (project.get("dependencies", []), *extras.values()) for line in lines]
    assert unmet(map(Requirement, wanted), pins("app")) == []


@pytest.mark.parametrize("file", FILES.values())
def test_a_file_names_no_address_option_or_path(file: str) -> None:
    """pip reads it in Azure, on any machine."""
    lines = (PROJECT / file).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[\w.]+| *#[^/@]*", line)] == []
