"""The emulator starts on free ports, keeps them over a restart, and is never left half installed."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE

import pytest
from azure.storage.blob import BlobBlock, ContentSettings

from imagefeed.errors import PermanentError
from local import azurite as module
from local.azurite import Azurite, azurite, install
from storage.clients import connected, prepare
from tests.fixtures.sample_app import wait_for


def test_data_in_a_folder_survives_a_restart_on_the_same_ports(tmp_path: Path) -> None:
    with azurite(tmp_path / "data") as server, connected(server.connection) as clients:
        before = server.connection, server.pid
        clients.state.create_container()
        server.stop()
        server.start()
        assert (server.connection, server.pid) != before
        assert server.connection == before[0]
        assert clients.state.exists()


def test_an_end_by_itself_is_told_apart_from_one_that_was_asked_for(tmp_path: Path) -> None:
    with azurite(tmp_path / "data") as server:
        assert not server.ended
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: server.ended)
        server.start()
        server.stop()
        assert not server.ended


def test_a_port_in_use_is_said_so(azurite: Azurite, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="another program has the port"):  # noqa: SIM117 - one claim
        with module.azurite(tmp_path, ports=azurite.ports):
            pytest.fail("two servers on one port")


def test_an_installation_that_is_there_is_used_as_it_is(tmp_path: Path) -> None:
    tools = tmp_path / "azurite"
    tools.mkdir()
    lock = Path(module.__file__).with_name("package-lock.json")
    (tools / lock.name).write_bytes(lock.read_bytes())
    assert install(tools) == tools / "node_modules/azurite/dist/src/azurite.js"
    assert [path.name for path in tools.iterdir()] == [lock.name]


@pytest.mark.parametrize(("silent", "why"), [(False, "ECONNREFUSED"), (True, "network timeout")])
def test_a_registry_that_cannot_be_reached_is_told_at_once_and_nothing_is_left(
    silent: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as registry:
        registry.bind(("127.0.0.1", 0))
        if silent:
            registry.listen()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{registry.getsockname()[1]}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_fetch_timeout", "500")
        with pytest.raises(PermanentError, match=rf"cannot be reached \({why}\).* set npm_config_registry"):
            install(tmp_path / "tools" / "azurite")
    assert list((tmp_path / "tools").iterdir()) == []


def test_an_installation_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{registry.server_port}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        with pytest.raises(PermanentError, match="npm ci"):
            install(tmp_path / "tools" / "azurite")
        registry.shutdown()
    assert list((tmp_path / "tools").iterdir()) == []


def test_a_blob_with_a_hash_does_not_keep_it_from_starting_again(tmp_path: Path) -> None:
    md5 = hashlib.md5(b"content").digest()
    with azurite(tmp_path) as server, connected(server.connection) as clients:
        prepare(clients)
        blob = clients.raw.get_blob_client("a.zip")
        blob.stage_block("one", b"content")
        blob.commit_block_list([BlobBlock("one")], content_settings=ContentSettings(content_md5=bytearray(md5)))
        server.stop()
        server.start()
        assert blob.download_blob().readall() == b"content"
        assert bytes(blob.get_blob_properties().content_settings.content_md5 or b"") == md5


def test_the_command_ends_with_its_server_when_it_is_asked_to(tmp_path: Path) -> None:
    ports = ["--blob-port", "0", "--queue-port", "0", "--table-port", "0"]
    command = [sys.executable, "-m", "local.azurite", "--folder", "data", *ports]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[1])}, stdout=PIPE
    ) as process:
        assert process.stdout is not None
        connection = process.stdout.readline().decode()
        process.terminate()
        assert process.wait(30) == 0
    port = int(re.findall(r":(\d+)/", connection)[0])
    with socket.socket() as free:
        # Closed connections remain for a while; only a server that still listens would block the port.
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
    assert (tmp_path / "data" / "azurite.log").exists()
