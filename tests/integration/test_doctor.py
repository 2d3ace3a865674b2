"""The doctor on real servers and a real Azurite: each fault is named with its cure, and no secret is shown."""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from config.settings import read_pipeline
from imagefeed.layout import BATCH_QUEUE
from ingest.model import SourceState
from local.azurite import Azurite
from local.azurite import azurite as start_azurite
from local.servers.certificate import make_ssh_key
from local.servers.child import free_port
from local.servers.server import Server
from ops.cli.__main__ import main
from preprocess.recipe import identify
from storage.blobs.pipelines import hold_pipeline
from storage.blobs.runs import LastRun, note_run
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected, development_connection, prepare
from tests.faults.http import Answer, HttpProxy
from tests.fixtures.azure_answers import secret
from tests.fixtures.sample_app import HostProcess, write_app
from tests.fixtures.secrecy import secrets_in
from tests.unit.ops.health.doctor.test_azure import az, deployed

OURS = ("SOURCES__", "DATA_STORAGE", "PREPROCESS_", "PIPELINE_")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(OURS)]:
        monkeypatch.delenv(name)
    # The machine's own az must not be used.
    monkeypatch.setenv("PATH", "/nonexistent")


class Doctor:
    """Runs the command, and keeps its output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._set = monkeypatch.setenv
        self._capsys = capsys

    def run(self, settings: Mapping[str, str]) -> tuple[int, str]:
        for name, value in settings.items():
            self._set(name, value)
        status = main(["doctor"])
        captured = self._capsys.readouterr()
        assert not secrets_in(captured.out + captured.err)
        return status, captured.out

    def wrong(self, settings: Mapping[str, str]) -> list[str]:
        status, output = self.run(settings)
        assert status == 1
        return [line.removeprefix(" WRONG").strip() for line in output.splitlines() if line.startswith(" WRONG")]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(monkeypatch, capsys)


@pytest.fixture(params=["sshd", "parasftp", "vsftpd", "vsftpd_explicit_tls"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    running: Server = request.getfixturevalue(request.param)
    archive = running.root / "doctor.zip"
    archive.write_bytes(b"PK of the doctor")
    yield running
    archive.unlink()


@pytest.fixture
def name() -> str:
    return f"d-{uuid4().hex[:8]}"


def settings(azurite: Azurite, server: Server, name: str, **changed: str) -> dict[str, str]:
    prefix = f"SOURCES__{name.upper().replace('-', '_')}__"
    changes = {f"{prefix}{key}": value for key, value in changed.items()}
    return {"DATA_STORAGE": azurite.connection, **server.app_settings(name), **changes}


def test_all_is_well(azurite: Azurite, clients: Clients, server: Server, name: str, doctor: Doctor) -> None:
    with BlobSourceStates(clients).hold(name) as hold:
        hold.save(SourceState(source=name, listed_at=datetime.now(UTC)))
    values = settings(azurite, server, name, PATTERN="doctor.zip")
    recipe, _ = read_pipeline(values)
    identity = identify(recipe, None)
    hold_pipeline(clients, identity.pipeline, identity.fingerprint)
    for letter in clients.dead_letters.list_blob_names():
        clients.dead_letters.delete_blob(letter)
    clients.queues.get_queue_client(f"{BATCH_QUEUE}-poison").clear_messages()
    before = list(clients.state.list_blob_names()), list(clients.raw.list_blob_names())
    status, output = doctor.run(values)
    assert "0 wrong" in output
    assert status == 0
    assert "'doctor.zip' can be read" in output
    assert "an emulator has no Event Grid" in output
    # It has left no data behind.
    assert before == (list(clients.state.list_blob_names()), list(clients.raw.list_blob_names()))


@pytest.mark.parametrize("kind", ["parasftp", "vsftpd"])
def test_a_wrong_password(
    kind: str, azurite: Azurite, name: str, doctor: Doctor, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    values = settings(azurite, server, name, PASSWORD="s3cret-but-wrong")
    values = {key: value for key, value in values.items() if not key.endswith("PRIVATE_KEY")}
    assert any(line.startswith(name) and "PASSWORD" in line for line in doctor.wrong(values))


def test_another_host_key(azurite: Azurite, sshd: Server, name: str, doctor: Doctor) -> None:
    values = settings(azurite, sshd, name, HOST_KEY=make_ssh_key().public)
    (line,) = [line for line in doctor.wrong(values) if line.startswith(name)]
    assert "the server's host key differs from HOST_KEY" in line
    assert "SHA256:" in line


def test_a_certificate_that_nobody_signed(
    azurite: Azurite, vsftpd_explicit_tls: Server, name: str, doctor: Doctor
) -> None:
    values = settings(azurite, vsftpd_explicit_tls, name)
    values = {key: value for key, value in values.items() if not key.endswith("__CA")}
    assert any("certificate is not trusted" in line for line in doctor.wrong(values))


def test_a_server_that_is_down(azurite: Azurite, vsftpd: Server, name: str, doctor: Doctor) -> None:
    values = settings(azurite, vsftpd, name, URL=f"ftp://user@127.0.0.1:{free_port()}/")
    assert any("nothing listens there" in line for line in doctor.wrong(values))


@pytest.mark.parametrize("kind", ["sshd", "vsftpd"])
def test_a_folder_that_is_not_there(
    kind: str, azurite: Azurite, name: str, doctor: Doctor, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    url = f"{server.scheme}://{server.user}@127.0.0.1:{server.port}/no/such/folder"
    assert any(
        "check the path in the source's URL" in line for line in doctor.wrong(settings(azurite, server, name, URL=url))
    )


def test_a_misspelt_setting(azurite: Azurite, vsftpd: Server, name: str, doctor: Doctor) -> None:
    values = settings(azurite, vsftpd, name, PATERN="*.zip")
    _, output = doctor.run({**values, "PREPROCESS_WITDH": "1", "LIMIT_RATIO": "many"})
    lines = [line for line in output.splitlines() if line.startswith(" WRONG       settings")]
    assert len(lines) == 3
    assert any("did you mean PREPROCESS_WIDTH?" in line for line in lines)
    assert "container raw: exists; can be read and written" in output
    assert "unknown     sources" in output


def test_no_settings_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 2
    assert ". .local/env" in capsys.readouterr().err


@pytest.fixture(scope="module")
def own() -> Iterator[Azurite]:
    """An Azurite whose parts tests can remove."""
    with start_azurite() as server:
        yield server


class TestStorage:
    """Faults of storage."""

    def test_what_is_missing_is_named_and_what_was_given_up_is_counted(
        self, own: Azurite, vsftpd: Server, name: str, doctor: Doctor
    ) -> None:
        with connected(own.connection) as clients:
            prepare(clients)
            clients.processed.delete_container()
            clients.images.delete_table()
            clients.batch_queue.delete_queue()
            clients.queues.get_queue_client(f"{BATCH_QUEUE}-poison").send_message("x")
            clients.dead_letters.upload_blob("a/b.json", b"[]")
            hold_pipeline(clients, "mine", "made by others")
        lines = doctor.wrong({**settings(own, vsftpd, name), "PIPELINE_NAME": "mine"})
        for start, message in (
            ("container processed", "imagefeed init"),
            ("table images", "imagefeed init"),
            ("queue batches:", "imagefeed init"),
            ("queue batches-poison", "poison messages: 1"),
            ("container dead-letter", "undelivered events: 1"),
        ):
            assert any(line.startswith(f"storage         {start}") and message in line for line in lines), start
        assert any("mine: its results were made with other settings" in line for line in lines)
        assert any(f"{name}: not polled" in line for line in lines)

    @pytest.mark.parametrize(
        ("minutes", "message"),
        [
            (None, "unknown     app             reconcile has not completed yet"),
            (3, "ok          app             reconcile last completed 3 min ago"),
            (25, "WRONG       app             function overdue: reconcile: it last completed at "),
        ],
    )
    def test_timers_that_stand_still_are_seen(
        self, minutes: int | None, message: str, own: Azurite, vsftpd: Server, name: str, doctor: Doctor
    ) -> None:
        with connected(own.connection) as clients:
            prepare(clients)
            if minutes is not None:
                last = datetime.now(UTC) - timedelta(minutes=minutes)
                note_run(clients, "reconcile", LastRun(at=last, every=timedelta(minutes=5)))
        assert f" {message}" in doctor.run(settings(own, vsftpd, name))[1]

    # The tables' SDK does so itself, when it reads an error in XML.
    @pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")
    def test_a_wrong_key(self, own: Azurite, vsftpd: Server, name: str, doctor: Doctor) -> None:
        broken = own.connection.replace("AccountKey=E", "AccountKey=F")
        lines = doctor.wrong({**settings(own, vsftpd, name), "DATA_STORAGE": broken})
        assert any("the key, or this machine's clock, is wrong" in line for line in lines)

    def test_storage_that_is_down(self, vsftpd: Server, name: str, doctor: Doctor) -> None:
        down = development_connection({kind: free_port() for kind in ("Blob", "Queue", "Table")})
        _, output = doctor.run({**vsftpd.app_settings(name), "DATA_STORAGE": down})
        assert output.count("nothing listens at 127.0.0.1, port ") == 3
        assert "storage must answer first" in output


class TestAnswers:
    """Answers of Azure's services that Azurite never gives."""

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("AuthorizationPermissionMismatch", "a role is missing: give the identity Storage {} Data Contributor on"),
            ("AuthorizationFailure", "the account's firewall rejects this machine"),
            (
                "KeyBasedAuthenticationNotPermitted",
                "the account accepts no keys: set DATA_STORAGE__blobServiceUri etc. instead of DATA_STORAGE",
            ),
        ],
    )
    def test_each_refusal_is_told_with_its_cure(
        self, code: str, message: str, azurite: Azurite, clients: Clients, vsftpd: Server, name: str, doctor: Doctor
    ) -> None:
        ports = azurite.ports
        with (
            HttpProxy(ports.blob) as blob,
            HttpProxy(ports.queue) as queue,
            HttpProxy(ports.table, of_tables=True) as table,
        ):
            for proxy in (blob, queue, table):
                # Reading is allowed, writing is not.
                proxy.choose = lambda request: None if request.method in ("GET", "HEAD") else Answer(403, code)
            through = development_connection({"Blob": blob.port, "Queue": queue.port, "Table": table.port})
            lines = doctor.wrong({**settings(azurite, vsftpd, name), "DATA_STORAGE": through})
        for resource, kind in (("container raw", "Blob"), ("table images", "Table"), ("queue poll", "Queue")):
            expected = f"storage         {resource}: {message.format(kind)}"
            assert any(line.startswith(expected) for line in lines), expected


APP = """
import azure.functions as func
app = func.FunctionApp()

@app.timer_trigger("timer", schedule="%RECONCILE_SCHEDULE%")
def reconcile(timer: func.TimerRequest) -> None: ...

@app.timer_trigger("timer", schedule="0 0 0 1 1 *")
def poll_sources(timer: func.TimerRequest) -> None: ...

@app.event_grid_trigger("event")
def on_raw_archive(event: func.EventGridEvent) -> None: ...

@app.queue_trigger("message", queue_name="poll", connection="DATA_STORAGE")
def poll_source(message: func.QueueMessage) -> None: ...
"""


class TestFunctions:
    """A running host may have functions that are disabled."""

    def wrong(self, host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setenv("DATA_STORAGE", "x")
        assert main(["doctor", "--host", host]) == 1
        return [line for line in capsys.readouterr().out.splitlines() if "  functions  " in line]

    def test_what_is_switched_off_is_named_with_the_reason(
        self, azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = {"DATA_STORAGE": azurite.connection, "AzureWebJobsStorage": azurite.connection}
        off = {"AzureWebJobs.poll_source.Disabled": "1"}
        with HostProcess(write_app(tmp_path / uuid4().hex, APP), {**storage, **off}) as host:
            assert host.call("/admin/host/ping")[0] == 200
            lines = self.wrong(f"{host.url}/", capsys, monkeypatch)
        for expected in (
            "process_batch is missing",
            "reconcile is disabled, or its listener does not start: .* '%RECONCILE_SCHEDULE%' does not resolve",
            "poll_source is disabled: remove the setting AzureWebJobs.poll_source.Disabled",
        ):
            assert [line for line in lines if line.startswith(" WRONG") and re.search(expected, line)], expected
        assert len(lines) == 3

    def test_a_host_that_does_not_answer_is_said(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (line,) = self.wrong(f"http://127.0.0.1:{free_port()}", capsys, monkeypatch)
        assert line.startswith(" unknown")
        assert "check that the app runs" in line


def test_an_app_in_azure_is_looked_at_with_its_own_settings(
    azurite: Azurite, vsftpd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Its password is in a key vault, and never shown."""
    given = {**settings(azurite, vsftpd, "a"), "DATA_STORAGE__clientId": "an identity of Azure", "WEBSITE_X": "1"}
    given["SOURCES__A__PASSWORD"] = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/radar)"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with az(tmp_path, **deployed(given, "keyvault secret show", secret("radar", "of-the-vault"))) as (_, tools):
        monkeypatch.setenv("PATH", f"{tools.home / 'bin'}:/usr/bin:/bin")
        assert main(["doctor", "--app", "images-abc"]) == 1
    output = capsys.readouterr().out
    # The server rejects the password of the made-up vault, which proves that it was used.
    assert "check the user in the URL, PASSWORD" in output
    assert "ok          settings        right" in output
    assert not secrets_in(output)
