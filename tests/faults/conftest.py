"""A world whose server is reached through a proxy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ingest.model import SourceSpec
from local.servers.server import Server
from storage.clients import Clients
from tests.faults.ftp import FtpProxy
from tests.faults.tcp import TcpProxy
from tests.faults.world import MIB, World

type Worlds[P: TcpProxy] = Callable[[], tuple[World, P]]
"""Makes a world whose server is reached through a proxy of its own."""


@pytest.fixture
def sftp_worlds(sshd: Server, clients: Clients) -> Iterator[Worlds[TcpProxy]]:
    """Worlds on sshd."""
    with ExitStack() as stack:
        yield lambda: _world(sshd, stack.enter_context(TcpProxy(sshd.port)), clients)


@pytest.fixture
def ftp_worlds(vsftpd: Server, clients: Clients) -> Iterator[Worlds[FtpProxy]]:
    """Worlds on vsftpd."""
    with ExitStack() as stack:
        yield lambda: _world(vsftpd, stack.enter_context(FtpProxy(vsftpd.port)), clients)


@pytest.fixture
def sftp(sftp_worlds: Worlds[TcpProxy]) -> tuple[World, TcpProxy]:
    """A world on sshd."""
    return sftp_worlds()


@pytest.fixture
def ftp(ftp_worlds: Worlds[FtpProxy]) -> tuple[World, FtpProxy]:
    """A world on vsftpd."""
    return ftp_worlds()


def _world[P: TcpProxy](server: Server, proxy: P, clients: Clients) -> tuple[World, P]:
    # One connection, so that the affected one is known.
    name = f"s-{uuid4().hex[:12]}"
    spec = SourceSpec(name=name, max_connections=1, stable_for=timedelta(milliseconds=20), block_size=MIB)
    root = server.root / name
    root.mkdir()
    endpoint = replace(server.endpoint(), port=proxy.port, folder=str(Path(server.folder) / name), timeout=1)
    return World(root=root, endpoint=endpoint, clients=clients, spec=spec), proxy
