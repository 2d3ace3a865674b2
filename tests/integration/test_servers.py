"""Servers that are killed, cut off and started again, as the soak does: same port, same keys, sessions gone."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from config.errors import SourceUnavailableError
from ingest.protocols.connect import connector
from local.servers.server import Server, ftp_server, sftp_server

type Start = Callable[[Path, Path], AbstractContextManager[Server]]

STARTS = [
    pytest.param(partial(sftp_server, program="OpenSSH sshd"), id="sshd"),
    pytest.param(partial(sftp_server, program="paramiko"), id="paramiko"),
    pytest.param(partial(ftp_server, program="vsftpd", tls="explicit"), id="vsftpd"),
    pytest.param(partial(ftp_server, program="pyftpdlib", tls="explicit"), id="pyftpdlib"),
]


@pytest.fixture(params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Each kind of server, over an empty folder."""
    start: Start = request.param
    (tmp_path / "served").mkdir()
    with start(tmp_path / "server", tmp_path / "served") as started:
        yield started


def test_a_killed_server_comes_back_as_it_was(server: Server) -> None:
    way = connector(server.endpoint())
    server.kill()
    with pytest.raises(SourceUnavailableError), way.connect():
        pass
    server.start()
    with way.connect() as connection:
        assert list(connection.list_files().files) == []


def test_killing_a_server_ends_its_sessions(server: Server) -> None:
    with connector(server.endpoint()).connect() as connection:
        assert list(connection.list_files().files) == []
        server.kill()
        with pytest.raises(SourceUnavailableError):
            connection.list_files()


@pytest.mark.usefixtures("server")
def test_keys_and_passwords_are_for_nobody_else_on_the_machine(tmp_path: Path) -> None:
    assert (tmp_path / "server").stat().st_mode & 0o077 == 0


def test_cutting_ends_every_session_and_leaves_the_server_alive(server: Server) -> None:
    before = server.process.pid
    with speaking(server) as first, speaking(server) as another:
        # The connection that detected the server's start may not have ended yet.
        assert server.process.cut() in {2, 3}
        assert ended(first)
        assert ended(another)
        # The session that was just cut no longer counts, whether the server has noticed or not.
        assert server.process.cut() == 0
    assert server.process.pid == before


def test_a_client_that_is_cut_off_connects_anew(server: Server) -> None:
    with connector(server.endpoint()).connect() as connection:
        assert list(connection.list_files().files) == []
        assert server.process.cut() in {1, 2}
        # Unless the client noticed it first, the next call fails, and the one after it connects anew.
        with suppress(SourceUnavailableError):
            connection.list_files()
        assert list(connection.list_files().files) == []


@contextmanager
def speaking(server: Server) -> Iterator[socket.socket]:
    """Connect, and wait until the session's own process has answered, because some servers greet before it starts."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        assert connection.recv(1000)
        connection.sendall(b"SSH-2.0-test\r\n")
        assert connection.recv(1)
        yield connection


def ended(connection: socket.socket) -> bool:
    """Read until the server has closed the connection. Raises TimeoutError if it stays open."""
    with suppress(ConnectionResetError):
        while connection.recv(1000):
            pass
    return True
