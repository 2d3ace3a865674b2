"""The smoke test on a real Azurite, with an app in a thread whose parts can be stopped, outdated or wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import read_settings
from imagefeed.errors import PermanentError, StoreRefusedError
from imagefeed.layout import SMOKE
from imagefeed.ledger import entries, known_sources, polled_sources, sources
from imagefeed.model import ImageMetadata, Pixels
from local.azurite import Azurite
from local.azurite import azurite as start_azurite
from ops.cli.__main__ import main
from ops.health import smoke_storage as smoke
from ops.health.audit import all_sources
from ops.health.doctor import smoke as watching
from ops.health.doctor.smoke_archive import make
from ops.health.listening import peek
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.model import BatchSizes, Limits
from preprocess.recipe import identify
from storage.blobs.pipelines import hold_pipeline
from storage.blobs.raw import MANUAL, RawBlobs
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected, prepare
from storage.queues.messages import BatchMessages, parse_batch_message
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.fixtures.fake_tools import refused
from tests.fixtures.secrecy import secrets_in
from tests.unit.ops.health.doctor.test_azure import az, deployed

PROJECT = Path(__file__).parents[2]
OURS = ("SOURCES__", "DATA_STORAGE", "PREPROCESS_", "PIPELINE_", "LIMIT_", "BATCH_", "TABLE_")


@pytest.fixture(scope="module")
def own() -> Iterator[Azurite]:
    """A separate Azurite, because there is only one source `smoke`."""
    with start_azurite() as server:
        yield server


@pytest.fixture
def stored(own: Azurite) -> Iterator[Clients]:
    """The storage, without data of earlier tests."""
    with connected(own.connection) as clients:
        prepare(clients)
        for queue in (clients.poll_queue, clients.batch_queue):
            queue.clear_messages()
        smoke.remove_all(clients)
        for lease in list(clients.state.list_blob_names(name_starts_with="sources/")):
            clients.state.delete_blob(lease)
        yield clients


class App:
    """The functions' work, in a thread; tests can omit or replace its parts."""

    def __init__(self, clients: Clients, given: Mapping[str, str]) -> None:
        configured = read_settings(given)
        identity = identify(configured.recipe, configured.pipeline.name)
        self.clients = clients
        self.pipeline = identity.pipeline
        self.fingerprint = identity.fingerprint
        self.parts = {"events", "batches", "polls"}
        self.planned: list[HandlerOutcome] = []
        self.ran: list[int | None] = []
        self.p = Context(
            raw=RawBlobs(clients, lambda _source, _name: None),
            results=ShardsAndRows(clients, configured.recipe.codec, configured.table.max_rows_per_image),
            ledger=TableBatchLedger(clients),
            queue=BatchMessages(clients),
            recipe=configured.recipe,
            hook=identity.hook,
            pipeline=identity.pipeline,
            limits=configured.limits,
            sizes=configured.batches,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        hold_pipeline(self.clients, self.pipeline, self.fingerprint)
        stopped = threading.Event()
        thread = threading.Thread(target=self._run, args=(stopped,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _run(self, stopped: threading.Event) -> None:
        delivered: set[str] = set()
        while not stopped.wait(0.1):
            if "events" in self.parts:
                for blob in set(self.clients.raw.list_blob_names()) - delivered:
                    delivered.add(blob)
                    self._settled(lambda blob=blob: self.planned.append(handle_archive_created(blob, self.p)))  # type: ignore[misc]
            if "batches" in self.parts:
                for message in list(self.clients.batch_queue.receive_messages(max_messages=1)):
                    request = parse_batch_message(b64decode(message.content))
                    self.ran.append(request.batch)
                    self._settled(lambda request=request: handle_batch_message(request, self.p))  # type: ignore[misc]
                    self.clients.batch_queue.delete_message(message)
            if "polls" in self.parts:
                for message in list(self.clients.poll_queue.receive_messages(max_messages=1)):
                    self.clients.poll_queue.delete_message(message)

    def _settled(self, call: Callable[[], object]) -> None:
        with suppress(PermanentError):
            call()


class Command:
    """Runs `imagefeed`, and keeps its output."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: Mapping[str, str]
    ) -> None:
        self.given = dict(given)
        self._set = monkeypatch.setenv
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str]:
        for name, value in self.given.items():
            self._set(name, value)
        status = main(arguments)
        output = self._capsys.readouterr()
        assert not secrets_in(output.out + output.err)
        return status, output.out + output.err

    def smoke(self, within: str = "20s") -> tuple[int, str]:
        return self.run("doctor", "--smoke", "--within", within)

    def wrong(self, within: str = "4s") -> list[str]:
        status, output = self.smoke(within)
        assert status == 1
        return [line.removeprefix(" WRONG").strip() for line in output.splitlines() if line.startswith(" WRONG")]


@pytest.fixture
def command(own: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in [name for name in os.environ if name.upper().startswith(OURS)]:
        monkeypatch.delenv(name)
    # The machine's own az must not be used.
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(watching, "_EVERY", 0.1)
    # The smoke test never connects to a source.
    given = {"SOURCES__RADAR__URL": "ftp://127.0.0.1:1/", "SOURCES__NORTH__URL": "ftp://127.0.0.1:1/"}
    return Command(monkeypatch, capsys, {"DATA_STORAGE": own.connection, **given})


def left(clients: Clients) -> list[object]:
    """Return all data of the smoke test in storage."""
    containers = (clients.raw, clients.processed, clients.state)
    blobs = [name for container in containers for name in container.list_blob_names() if SMOKE in name]
    tables = (clients.archives, clients.batches, clients.images)
    rows = [row for table in tables for row in table.list_entities() if SMOKE in row["PartitionKey"]]
    polls = [message.content for message in peek(clients.poll_queue)]
    return [*blobs, *rows, *polls]


def leave_out(pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
    return None if metadata.member == 1 else pixels


def refuse(_pixels: Pixels, metadata: ImageMetadata) -> Pixels | None:
    raise ValueError(f"{metadata.name} is none of ours")


def negate(pixels: Pixels, _metadata: ImageMetadata) -> Pixels:
    return np.asarray(255 - pixels)


HERE = "tests.integration.test_smoke"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "3 images, equal"),
        ({"BATCH_MEMBERS": "100000", "BATCH_BYTES": "99999999", "BATCH_INLINE_BYTES": "99999999"}, "3 images, equal"),
        ({"PIPELINE_NAME": "mine", "PREPROCESS_WIDTH": "31", "PREPROCESS_HEIGHT": "17"}, "3 images, equal"),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_MEAN": "1,2,3,4", "PREPROCESS_DTYPE": "float16"}, "3 images, equal"),
        ({"PREPROCESS_COLOUR": "keep", "PREPROCESS_CODEC": "png", "PREPROCESS_DTYPE": "uint16"}, "3 images, equal"),
        ({"PREPROCESS_WIDTH": "900", "PREPROCESS_HEIGHT": "900", "TABLE_MAX_ROWS_PER_IMAGE": "1"}, "3 images, equal"),
        ({"LIMIT_ARCHIVE_MEMBERS": "1"}, "1 image, equal"),
        ({"LIMIT_MEMBER_BYTES": "9"}, "as these settings ask for: it inflates to more than LIMIT_MEMBER_BYTES"),
        ({"PREPROCESS_HOOK": f"{HERE}:leave_out"}, "2 images, 1 skipped by the hook; PREPROCESS_HOOK decides"),
        ({"PREPROCESS_HOOK": f"{HERE}:negate"}, "3 images; PREPROCESS_HOOK decides"),
        (
            {"PREPROCESS_HOOK": f"{HERE}:refuse"},
            "0 images, 3 refused: PREPROCESS_HOOK (tests/integration/test_smoke.py:",
        ),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) or "defaults" if isinstance(value, dict) else "",
)  # fmt: skip
def test_it_passes_whatever_the_settings_and_leaves_nothing(
    settings: dict[str, str], message: str, command: Command, stored: Clients
) -> None:
    command.given |= settings
    app = App(stored, command.given)
    with app.running():
        status, output = command.smoke()
    assert message in output
    assert (status, "0 wrong" in output) == (0, True), output
    assert "request to poll taken from the queue poll by poll_source" in output
    # Everything went through the queue, and nothing ran in the event's call.
    assert app.planned == [HandlerOutcome.QUEUED]
    assert sorted(app.ran, key=str) == list(range(len(app.ran)))
    assert left(stored) == []


@pytest.mark.parametrize(
    ("stopped", "message", "others"),
    [
        ("events", "smoke           not planned within 4s: on_raw_archive did not receive the blob's event", 0),
        (
            "batches",
            "they wait on the queue batches, and no function receives them: the trigger of process_batch does not",
            0,
        ),
        ("batches", "other messages are before them on the queue batches", 2),
        ("batches", "other messages are before them on the queue batches", 40),
        (
            "polls",
            "smoke           no function received the request to poll within 4s: the trigger of poll_source does not",
            40,
        ),
    ],
)
def test_what_does_not_listen_is_named_and_all_is_removed(
    stopped: str, message: str, others: int, own: Azurite, command: Command, stored: Clients
) -> None:
    app = App(stored, command.given)
    app.parts.discard(stopped)
    queue = stored.poll_queue if stopped == "polls" else stored.batch_queue
    for _ in range(others):
        queue.send_message('{"source": "north", "blob": "north/a.zip"}')
    with app.running():
        (line,) = command.wrong()
    assert message in line
    if stopped != "events":
        assert f"queues of 127.0.0.1:{own.ports.queue}" in line
        assert "AzureWebJobsDATA_STORAGE" in line
    assert len([message for message in peek(queue) if "north" in b64decode(message.content).decode()]) == min(
        others, 32
    )
    queue.clear_messages()
    assert left(stored) == []


def test_where_no_app_runs_each_part_is_named(command: Command, stored: Clients) -> None:
    lines = command.wrong("0.5s")
    assert [next(word for word in ("on_raw_archive", "poll_source") if word in line) for line in lines] == [
        "on_raw_archive",
        "poll_source",
    ]
    assert left(stored) == []


def test_an_app_that_makes_another_pipeline_is_named(command: Command, stored: Clients) -> None:
    app = App(stored, {**command.given, "PIPELINE_NAME": "theirs"})
    with app.running():
        (line,) = command.wrong("5s")
    assert "the app planned it under the pipeline theirs, but the settings and the code here give p-" in line
    assert left(stored) == []


def test_an_app_without_the_queues_of_the_smoke_test_is_too_old(
    command: Command, stored: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "sizes_for", lambda _p, _source: BatchSizes())
    with App(stored, command.given).running():
        (line,) = command.wrong("5s")
    assert "as 1 batch instead of 3" in line
    assert "older than this command" in line
    assert left(stored) == []


def test_an_app_with_other_settings_under_the_same_name_is_named_before_anything_is_sent(
    command: Command, stored: Clients
) -> None:
    hold_pipeline(stored, "shared", "of others")
    command.given["PIPELINE_NAME"] = "shared"
    (line,) = command.wrong()
    assert line.startswith("pipeline        shared: its results were made with other settings")


class TestWhatFails:
    """Events and messages are received, but the results are wrong."""

    @pytest.fixture
    def app(self, command: Command, stored: Clients) -> App:
        return App(stored, command.given)

    @staticmethod
    def line(app: App, command: Command, within: str = "4s") -> str:
        with app.running():
            (line,) = command.wrong(within)
        assert left(app.clients) == []
        return line

    def test_a_batch_that_fails_is_told_with_its_error(self, app: App, command: Command) -> None:
        class NoRoom:
            def write(self, _batch: object) -> Any:
                raise StoreRefusedError("write the shard: no room")

        app.p = replace(app.p, results=NoRoom())
        line = self.line(app, command)
        assert "0 of 3 batches were done within 4s: batch 0: StoreRefusedError: write the shard: no room" in line

    def test_an_archive_that_is_refused_at_once_is_told_with_the_reason(self, app: App, command: Command) -> None:
        app.p = replace(app.p, limits=Limits(archive_members=1))
        assert "settled it as refused: the zip has 3 members, LIMIT_ARCHIVE_MEMBERS allows 1" in self.line(app, command)

    def test_members_that_are_refused_are_told_with_the_reason(self, app: App, command: Command) -> None:
        app.p = replace(app.p, limits=Limits(pixels=1))
        with app.running():
            lines = command.wrong("9s")
        assert len(lines) == 6
        assert all("was refused: a frame has 16 x 16 pixels, but LIMIT_PIXELS allows 1" in line for line in lines)

    def test_images_that_are_others_are_told(self, app: App, command: Command) -> None:
        app.p = replace(app.p, hook=negate)
        with app.running():
            lines = command.wrong("9s")
        assert len(lines) == 6
        assert lines[0].startswith(
            "smoke           rows: the image of member 0 is uint8 (224, 224, 3), and is not what"
        )

    def test_images_that_are_missing_are_told(self, app: App, command: Command) -> None:
        app.p = replace(app.p, hook=leave_out)
        with app.running():
            lines = command.wrong("9s")
        assert [line.split("  ")[-1].strip() for line in lines] == [
            f"{where}: the image of member 1 cannot be read back, although its batch is done"
            for where in ("rows", "shards")
        ]

    def test_messages_that_were_given_up_are_found(self, app: App, command: Command) -> None:
        app.parts.discard("batches")
        poison = app.clients.queues.get_queue_client("batches-poison")

        def give_up(*_: object) -> None:
            for message in app.clients.batch_queue.receive_messages():
                poison.send_message(message.content)
                app.clients.batch_queue.delete_message(message)

        app.parts.discard("polls")
        app.p = replace(app.p, queue=_Then(app.p.queue, give_up))
        with app.running():
            lines = command.wrong()
        poison.clear_messages()
        assert "on the poison queue after several attempts: process_batch's log" in lines[0]

    def test_messages_that_nobody_put_or_that_are_lost_are_told(self, app: App, command: Command) -> None:
        app.p = replace(app.p, queue=_Then(app.p.queue, lambda: app.clients.batch_queue.clear_messages()))
        app.parts.discard("batches")
        assert "process_batch has claimed none" in self.line(app, command)


class _Then:
    """A queue, and what happens after each message."""

    def __init__(self, queue: Any, then: Callable[[], object]) -> None:
        self._queue, self._then = queue, then

    def put(self, *request: Any) -> None:
        self._queue.put(*request)
        self._then()

    def oldest_visible(self) -> Any:
        return self._queue.oldest_visible()

    def waiting(self) -> int:
        return int(self._queue.waiting())


def test_what_an_earlier_one_left_is_removed_too(command: Command, stored: Clients) -> None:
    app = App(stored, command.given)
    processed(app)
    smoke.upload(stored, b"cut off")
    others = App(stored, {**command.given, "PIPELINE_NAME": "long-ago"})
    processed(others)
    assert len({row["PartitionKey"] for row in stored.images.list_entities()}) == 2
    with app.running():
        assert command.smoke()[0] == 0
    assert left(stored) == []


def processed(app: App) -> None:
    """Leave a smoke test's archive behind, processed."""
    hold_pipeline(app.clients, app.pipeline, app.fingerprint)
    archive = smoke.upload(app.clients, make(app.p.recipe, app.p.limits).content)
    assert handle_archive_created(archive.blob, app.p) is HandlerOutcome.QUEUED
    for message in app.clients.batch_queue.receive_messages():
        handle_batch_message(parse_batch_message(b64decode(message.content)), app.p)
        app.clients.batch_queue.delete_message(message)
    with BlobSourceStates(app.clients).hold(SMOKE):
        pass


def test_of_two_at_once_one_gives_up(command: Command, stored: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_LEASE", 1)
    archive = None
    with BlobSourceStates(stored).hold(SMOKE):
        archive = smoke.upload(stored, b"of the other one")
        (line,) = command.wrong()
        assert "another smoke test is running" in line
        assert list(stored.raw.list_blob_names()) == [archive.blob]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_removes_what_it_put_there(
    number: signal.Signals, command: Command, stored: Clients
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "doctor", "--smoke"],
        cwd=PROJECT, env={**command.given, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
        # Shells make background programs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert any("uploaded raw/smoke/" in line for line in iter(child.stdout.readline, ""))
        assert left(stored)
        child.send_signal(number)
        assert child.wait(30) == 130
    assert left(stored) == []


def test_nobody_else_knows_of_it(command: Command, stored: Clients) -> None:
    """It has all data of an archive, but no list names it."""
    app = App(stored, command.given)
    processed(app)
    assert left(stored)
    assert SMOKE not in {*sources(stored), *known_sources(stored), *all_sources(stored, lambda *_: None)}
    assert SMOKE not in polled_sources(stored)
    assert list(entries(stored, SMOKE)) == []
    for arguments in (["ls"], ["audit"], ["status"], ["rebuild"], ["audit", "--deep", "--json"]):
        _, output = command.run(*arguments)
        assert SMOKE not in output.replace("doctor --smoke", ""), arguments
    assert "0 archives in the raw container" in command.run("rebuild")[1]
    for arguments in (["ls", SMOKE], ["latest", SMOKE], ["audit", SMOKE], ["status", SMOKE], ["refused", SMOKE]):
        status, output = command.run(*arguments)
        assert status == 2, arguments
        assert "no" in output


def test_what_a_person_puts_into_its_folder_is_kept_and_seen(command: Command, stored: Clients) -> None:
    name = f"{SMOKE}/mine.zip"
    stored.raw.upload_blob(name, make(App(stored, command.given).p.recipe, Limits()).content)
    app = App(stored, command.given)
    with app.running():
        assert command.smoke()[0] == 0
        while HandlerOutcome.DONE not in app.planned:
            time.sleep(0.1)
    assert list(stored.raw.list_blob_names()) == [name]
    assert [(entry.state, entry.archive.blob) for entry in entries(stored, MANUAL)] == [("processed", name)]
    stored.raw.delete_blob(name)


def test_settings_that_are_wrong_are_told_first_and_nothing_is_sent(command: Command, stored: Clients) -> None:
    command.given["PREPROCESS_WIDHT"] = "1"
    status, output = command.smoke()
    assert status == 1
    assert "did you mean PREPROCESS_WIDTH?" in output
    assert "unknown     smoke" in output
    assert left(stored) == []


def test_no_settings_at_all(command: Command) -> None:
    command.given.clear()
    assert command.run("doctor", "--smoke")[0] == 2


def test_passwords_of_servers_that_one_may_not_read_do_not_matter(
    command: Command, stored: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**command.given, "SOURCES__RADAR__PASSWORD": "@Microsoft.KeyVault(SecretUri=https://v/secrets/x)"}
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    answers = deployed(given, "keyvault secret show", refused(1, "ERROR: (Forbidden) Caller is not authorized"))
    with az(tmp_path, **answers) as (_, tools):
        app, command.given = App(stored, command.given), {"PATH": f"{tools.home / 'bin'}:/usr/bin:/bin"}
        with app.running():
            status, output = command.run("doctor", "--app", "images-abc", "--smoke", "--within", "20s")
    assert status == 0
    assert "unknown     settings        SOURCES__RADAR__PASSWORD: its secret could not be read" in output
    assert "3 images, equal" in output
