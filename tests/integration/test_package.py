"""The deployed package: all files that the app needs to load where nothing else is installed, and no others."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distribution, files
from pathlib import Path
from typing import Any

import pathspec
import pytest

from config.settings import FLAT
from tests.fixtures.package import PROJECT, build_package, packaged

FOLDERS = {"config", "imagefeed", "ingest", "ops", "preprocess", "storage"}
PLANTED = [
    ".env",
    ".env.production",
    ".git/config",
    ".github/workflows/ci.yml",
    ".local/env",
    ".python-version",
    ".venv/lib/x.py",
    "benchmarks/x.py",
    "docs/x.jpg",
    "infra/main.bicepparam",
    "ingest/__pycache__/poll.cpython-313.pyc",
    "local.settings.json",
    "local.settings.json.bak",
    "server.pem",
    "ssh.key",
    "tests/unit/test_x.py",
]
LOAD = """
import asyncio, importlib, json, pkgutil, sys
package, installed, library = sys.argv[1:]
sys.path += [installed, library]
from local.host.worker import Worker

functions = asyncio.run(Worker().load(package))
import function_app

import bootstrap
bootstrap.build_services()
# What a function imports when it first runs must be there as well, and what the command does.
for module in pkgutil.walk_packages([package]):
    importlib.import_module(module.name)
described = {f.name: {"trigger": f.trigger.options, "outputs": [o.options for o in f.outputs]} for f in functions}
foreign = sorted(m for m in ("pytest", "rich", "aiohttp", "mypy") if m in sys.modules)
print(json.dumps({"functions": described, "foreign": foreign}))
"""
SETTINGS = {"DATA_STORAGE": "UseDevelopmentStorage=true", "SOURCES__A__URL": "ftp://127.0.0.1/"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed requirements of the package, and nothing else: in CI like the remote build, else from `.venv`."""
    target = tmp_path_factory.mktemp("installed")
    if os.environ.get("CI"):
        install(package / "requirements.txt", target)
    else:
        link(package / "requirements.txt", target)
    return target


def install(requirements: Path, target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    if subprocess.run([*pip[:3], "--version"], capture_output=True, check=False).returncode:
        pip = ["uv", "pip", "install", "--python", sys.executable]
    wanted = ["--only-binary", ":all:", "--quiet", "--target", str(target), "-r", str(requirements)]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def link(requirements: Path, target: Path) -> None:
    """Lay out exactly the packages that are pinned; takes a second, and no network."""
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", requirements.read_text(), re.MULTILINE):
        package = distribution(name)
        assert package.version == version, f"{name}: run `make setup`"
        for file in package.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                (target / file).symlink_to(str(file.locate()))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Microsoft's worker library, which Azure provides, and the module by which our host loads it."""
    folder = tmp_path_factory.mktemp("library")
    for name in ("azure-functions-runtime", "azurefunctions-extensions-base"):
        for file in files(name) or ():
            if file.suffix == ".py":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), folder / file)
    for part in ("__init__.py", "emulator.py", "host"):
        (folder / "local").mkdir(exist_ok=True)
        (folder / "local" / part).symlink_to(PROJECT / "local" / part)
    return folder


def test_only_what_runs_is_sent(package: Path) -> None:
    names = {path.name for path in package.iterdir()}
    assert {name for name in names if not name.endswith(".py")} == FOLDERS | {"host.json", "requirements.txt"}
    assert {path.name for path in PROJECT.glob("*.py")} <= names
    assert not (package / "imagefeed" / "dataframe.py").exists(), "it needs pandas, which no app has"
    strange = [p for p in package.rglob("*") if p.is_file() and p.suffix in {".pyc", ".md", ".zip", ".pem", ".key"}]
    assert not strange


def test_secrets_and_dead_letters_stay_here(tmp_path: Path) -> None:
    """Also where Core Tools read .funcignore in another way than git reads .gitignore."""
    shutil.copyfile(PROJECT / ".funcignore", tmp_path / ".funcignore")
    for name in (*PLANTED, "function_app.py", "hooks.py", "mine/steps.py", "ingest/poll.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert list(packaged(tmp_path)) == ["function_app.py", "hooks.py", "ingest/poll.py", "mine/steps.py"]
    as_git = pathspec.GitIgnoreSpec.from_lines((PROJECT / ".funcignore").read_text().splitlines())
    assert not [name for name in PLANTED if not as_git.match_file(name)]


@pytest.mark.timeout(400)  # in CI some seventy packages are installed first
def test_it_loads_with_what_it_asks_for_and_nothing_else(package: Path, installed: Path, library: Path) -> None:
    done = subprocess.run(
        # -I and -S: neither this environment's packages nor this folder can be seen.
        [sys.executable, "-I", "-S", "-B", "-c", LOAD, package, installed, library],
        cwd=package, env={"PATH": os.environ["PATH"], **SETTINGS}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded["foreign"] == []
    assert_connections_are_ours(loaded["functions"])
    triggers = {name: function["trigger"] for name, function in loaded["functions"].items()}
    assert {name: trigger["type"] for name, trigger in triggers.items()}.items() >= {
        "poll_sources": "timerTrigger",
        "poll_source": "queueTrigger",
        "on_raw_archive": "eventGridTrigger",
        "process_batch": "queueTrigger",
        "reconcile": "timerTrigger",
    }.items()
    assert triggers["poll_source"]["queueName"] == "poll"
    assert triggers["process_batch"]["queueName"] == "batches"
    assert triggers["poll_sources"]["schedule"] == "%POLL_SCHEDULE%"
    assert triggers["reconcile"]["schedule"] == "%RECONCILE_SCHEDULE%"


@pytest.mark.timeout(400)
def test_people_have_the_command_there_without_rich(package: Path, installed: Path) -> None:
    run = (
        "import runpy, sys; sys.path += sys.argv[1:3]; module = sys.argv[3]; del sys.argv[1:4]; "
        "runpy.run_module(module, None, '__main__')"
    )
    shown = {}
    for module in ("ops.cli", "imagefeed.cli"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", run, package, installed, module, "--help"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        shown[module] = set(re.findall(r"^    ([a-z]+) ", done.stdout, re.MULTILINE)), done.stderr
    assert shown["imagefeed.cli"][0] == {"ls", "latest", "export"}
    assert shown["ops.cli"][0] > {"ls", "latest", "export", "replay", "doctor"}


def assert_connections_are_ours(functions: Mapping[str, Any]) -> None:
    """A setting named `AzureWebJobs` + connection, case ignored, would win over the connection's own."""
    options = [
        binding
        for function in functions.values()
        for binding in (function["trigger"], *function["outputs"])
        if "connection" in binding
    ]
    names = {binding["connection"] for binding in options}
    assert names == {"DATA_STORAGE"}
    for name in names:
        twin = f"azurewebjobs{name}".casefold()
        settings = {section.split("__")[0].casefold() for section in every_setting()}
        assert name.casefold() in settings
        assert twin not in settings


def every_setting() -> set[str]:
    """Name every app setting that the app, its example file or its deployment knows."""
    example = json.loads((PROJECT / "local.settings.json.example").read_text())["Values"]
    deployed = re.findall(
        r"^  ([A-Za-z]\w+): ", (PROJECT / "infra/modules/function-app.bicep").read_text(), re.MULTILINE
    )
    return {*FLAT, *example, *deployed}


def test_no_package_has_the_name_of_a_module_of_ours(package: Path, installed: Path) -> None:
    """The worker looks for packages first, so one of that name would be imported in place of our module."""
    ours = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    theirs = {path.name.split(".")[0] for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert not ours & (theirs | set(sys.stdlib_module_names))
