"""The whole system, as a user runs it: emulator, real servers, functions host, event relay."""

import shutil
from collections.abc import Iterator
from typing import Literal

import pytest

from local.system import QUICK, System, system
from storage.clients import Clients, connected

SETTINGS = {**QUICK, "BATCH_MEMBERS": "4", "RECONCILE_SCHEDULE": "*/3 * * * * *", "PIPELINE_REDRIVE_AFTER": "5s"}
"""So small that an archive of five members already has two batches, which go through the queue."""


HOSTS = ["local", "func"] if shutil.which("func") else ["local"]


@pytest.fixture(scope="session", params=HOSTS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system with a source `north` over SFTP and a source `south` over FTPS."""
    host: Literal["local", "func"] = request.param
    folder = tmp_path_factory.mktemp(f"system-{host}")
    with system(folder, sources={"north": "sftp", "south": "ftpes"}, settings=SETTINGS, host=host, scale=4) as started:
        yield started


@pytest.fixture(scope="session")
def stored(running: System) -> Iterator[Clients]:
    """Read the system's storage without the app."""
    with connected(running.connection) as clients:
        yield clients
