"""`func` as the functions host: waited for while it downloads, given up if it ends, refused if it is too old."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imagefeed.errors import PermanentError
from local.azurite import Azurite
from local.core_tools import Patience
from local.system import System
from tests.fixtures.fake_func import Func

NO_BUNDLE = (
    "Unable to download extension bundle 'Microsoft.Azure.Functions.ExtensionBundle' and no cached version available."
)
type Install = Callable[[Func], System]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def install(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Iterator[Install]:
    """Install a `func` as the first on PATH, and a system that runs it."""
    with ExitStack() as stack:

        def made(func: Func) -> System:
            func.install(tmp_path / "bin", sys.executable)
            monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
            (tmp_path / "system" / "logs").mkdir(parents=True)
            system = System(tmp_path / "system", storage=azurite, settings={}, sources={}, host="auto", say=said.append)
            stack.callback(system.stop)
            return system

        yield made


def patient(monkeypatch: pytest.MonkeyPatch, to_listen: float, to_answer: float) -> None:
    monkeypatch.setattr("local.system.FIRST_START", Patience(to_listen, to_answer, quiet=0.3))


def test_func_is_waited_for_while_it_downloads_and_starts(
    install: Install, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    patient(monkeypatch, to_listen=60, to_answer=60)
    system = install(Func(downloads=1.2, starts=1))
    begun = time.monotonic()
    system.start_host()
    assert system.host_kind == "func"
    assert 2 < time.monotonic() - begun < 60
    (line,) = said
    assert "waiting for func" in line
    assert "downloads its extension bundle" in line
    assert "Found Python version 3.13" in (system.logs / "host.log").read_text()


def test_a_func_that_starts_at_once_is_nothing_to_tell_of(install: Install, said: list[str]) -> None:
    install(Func()).start_host()
    assert said == []


def test_a_func_that_ends_is_given_up_at_once_with_what_it_said(install: Install) -> None:
    system = install(Func(downloads=0.5, fails=NO_BUNDLE))
    begun = time.monotonic()
    with pytest.raises(PermanentError, match="it has ended") as error:
        system.start_host()
    assert NO_BUNDLE in str(error.value)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("func", "why"),
    [(Func(downloads=60), "it does not listen after 1 s"), (Func(starts=60), "it does not answer 1 s after it began")],
)
def test_a_func_that_hangs_is_given_up_after_all(
    install: Install, monkeypatch: pytest.MonkeyPatch, func: Func, why: str
) -> None:
    patient(monkeypatch, to_listen=1, to_answer=1)
    with pytest.raises(PermanentError, match=why):
        install(func).start_host()


@pytest.mark.parametrize("version", ["4.0.7317", "4.0.5455", "3.0.4899", "5.0.0-preview.3", "unknown", ""])
def test_a_func_that_cannot_run_the_app_is_refused_with_what_to_type(install: Install, version: str) -> None:
    with pytest.raises(PermanentError, match="npm install --global azure-functions-core-tools@4") as error:
        install(Func(version=version))
    assert "4.0.7512" in str(error.value)


@pytest.mark.parametrize("version", ["4.0.7512", "4.1.0", "4.14.0", "Some notice first.\n4.10.0"])
def test_a_func_that_is_new_enough_is_taken(install: Install, version: str) -> None:
    assert install(Func(version=version)).host_kind == "func"


def test_a_func_that_cannot_even_tell_its_version_is_refused(install: Install) -> None:
    with pytest.raises(PermanentError, match="run `func --version`: "):
        install(Func(version_status=1))


def test_func_runs_this_python_whatever_the_caller_chose_for_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("languageWorkers:python:defaultExecutablePath", "languageWorkers__python__defaultExecutablePath"):
        monkeypatch.setenv(name, "/no/such/python")
    system = install(Func())
    system.start_host()
    assert f"Found Python version 3.{sys.version_info.minor}" in (system.logs / "host.log").read_text()
