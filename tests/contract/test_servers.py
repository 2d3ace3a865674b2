"""Servers that are killed and started again, as the soak does: same port, same keys, sessions gone."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from errors import SourceUnavailableError
from ingest.connect import connector
from local.servers import Server, ftp_server, sftp_server

type Start = Callable[[Path, Path], AbstractContextManager[Server]]

STARTS = [
    pytest.param(partial(sftp_server, program="OpenSSH sshd"), id="sshd"),
    pytest.param(partial(ftp_server, program="vsftpd", tls="explicit"), id="vsftpd"),
    pytest.param(partial(ftp_server, program="pyftpdlib", tls="explicit"), id="pyftpdlib"),
]


@pytest.mark.parametrize("start", STARTS)
def test_a_killed_server_comes_back_as_it_was(start: Start, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with start(tmp_path / "server", tmp_path / "served") as server:
        way = connector(server.endpoint())
        server.kill()
        with pytest.raises(SourceUnavailableError), way.connect():
            pass
        server.start()
        with way.connect() as connection:
            assert list(connection.list_files()) == []


@pytest.mark.parametrize("start", STARTS)
def test_keys_and_passwords_are_for_nobody_else_on_the_machine(start: Start, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with start(tmp_path / "server", tmp_path / "served"):
        assert (tmp_path / "server").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("start", STARTS[:2])
def test_cutting_sessions_leaves_the_server_alive(start: Start, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with (
        start(tmp_path / "server", tmp_path / "served") as server,
        connector(server.endpoint()).connect() as connection,
    ):
        connection.list_files()
        assert server.process.cut() >= 1
        with pytest.raises(SourceUnavailableError):
            connection.list_files()
        # The connection that broke is made anew by the next call.
        assert list(connection.list_files()) == []
