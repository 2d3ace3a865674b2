"""The event relay between a real Azurite and a webhook."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from local.azurite import Azurite
from local.relay.delivery import Patience
from local.relay.relay import Relay
from local.relay.subscription import Pace, Subscription
from tests.fixtures.sample_app import PROJECT, wait_for

PATIENCE = Patience(scale=0.02, max_attempts=3)


class Webhook:
    """A server that notes every event, and answers as configured."""

    def __init__(self) -> None:
        self.answer: Callable[[str], int] = lambda _: 202
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                [event] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.headers.append({name.lower(): value for name, value in self.headers.items()})
                webhook.got.append(event)
                self.send_response(webhook.answer(_name(event)))
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def names(self) -> list[str]:
        return [_name(event) for event in self.got]


def _name(event: dict[str, Any]) -> str:
    return str(event["subject"]).partition("/blobs/")[2]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def service(azurite: Azurite) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(azurite.connection) as client:
        yield client


@pytest.fixture
def container(service: BlobServiceClient) -> ContainerClient:
    return service.create_container(f"c{uuid.uuid4().hex}")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


class Relays:
    """Makes relays of one subscription."""

    def __init__(self, azurite: Azurite, container: ContainerClient, webhook: Webhook, state: Path) -> None:
        self._connection = azurite.connection
        self._container = container.container_name
        self._webhook = webhook
        self._state = state

    def make(self, *, patience: Patience = PATIENCE, **options: Any) -> Relay:
        wanted = Subscription(**({"container": self._container, "to": self._webhook.url} | options))
        return Relay(self._connection, wanted, pace=Pace(interval=0.05, patience=patience), state=self._state)

    def settled(self) -> bool:
        """Return whether the state has no waiting event."""
        return self._state.exists() and not json.loads(self._state.read_text())["pending"]


@pytest.fixture
def relays(azurite: Azurite, container: ContainerClient, webhook: Webhook, state: Path) -> Relays:
    return Relays(azurite, container, webhook, state)


def test_a_new_blob_is_announced_once(relays: Relays, container: ContainerClient, webhook: Webhook) -> None:
    with relays.make():
        blob = container.upload_blob("a/b c.zip", b"abc", overwrite=True)
        wait_for(lambda: webhook.got and relays.settled())
        container.upload_blob("other.zip", b"abc")
        wait_for(lambda: len(webhook.got) > 1)
    first = webhook.got[0]
    assert webhook.names() == ["a/b c.zip", "other.zip"]
    assert first["eventType"] == "Microsoft.Storage.BlobCreated"
    assert (first["data"]["api"], first["data"]["contentLength"]) == ("PutBlob", 3)
    assert first["data"]["url"] == blob.url
    assert webhook.headers[0]["aeg-event-type"] == "Notification"


def test_a_blob_committed_from_blocks_says_so(relays: Relays, container: ContainerClient, webhook: Webhook) -> None:
    blob = container.get_blob_client("blocks.zip")
    with relays.make():
        blob.stage_block("AAAA", b"x")
        container.upload_blob("marker", b"")
        wait_for(lambda: webhook.names() == ["marker"])  # staged is not created
        blob.commit_block_list([BlobBlock("AAAA")])
        wait_for(lambda: len(webhook.got) > 1)
    assert webhook.got[1]["data"]["api"] == "PutBlockList"


def test_an_overwrite_is_announced_again_and_new_metadata_is_not(
    relays: Relays, container: ContainerClient, webhook: Webhook
) -> None:
    blob = container.get_blob_client("a.zip")

    def announced(marker: str) -> int:
        """Count announcements, once the relay has handled all events before this."""
        container.upload_blob(marker, b"")
        wait_for(lambda: marker in webhook.names() and relays.settled())
        return webhook.names().count("a.zip")

    with relays.make():
        blob.upload_blob(b"one")
        assert announced("marker1") == 1
        blob.set_blob_metadata({"some": "thing"})
        assert announced("marker2") == 1
        blob.upload_blob(b"two", overwrite=True)
        assert announced("marker3") == 2
        # Azurite keeps the creation time when blocks are committed over a blob.
        for block, marker, times in (("AAAA", "marker4", 3), ("BBBB", "marker5", 4)):
            blob.stage_block(block, b"six")
            blob.commit_block_list([BlobBlock(block)])
            assert announced(marker) == times
    assert len({event["id"] for event in webhook.got}) == len(webhook.got)


def test_filters_hold_back_what_nobody_asked_for(relays: Relays, container: ContainerClient, webhook: Webhook) -> None:
    for name in ("radar/a.zip", "other/a.zip", "radar/a.txt"):
        container.upload_blob(name, b"")
    with relays.make(prefix="radar/", suffix=".zip"):
        wait_for(lambda: webhook.got and relays.settled())
    assert webhook.names() == ["radar/a.zip"]


def test_what_arrived_while_the_relay_was_away_is_announced_and_the_rest_not_again(
    relays: Relays, container: ContainerClient, webhook: Webhook
) -> None:
    container.upload_blob("before.zip", b"")
    with relays.make():
        wait_for(lambda: webhook.got and relays.settled())
    container.upload_blob("meanwhile.zip", b"")
    with relays.make():
        wait_for(lambda: len(webhook.got) > 1 and relays.settled())
    assert webhook.names() == ["before.zip", "meanwhile.zip"]


def test_an_event_that_nobody_accepted_is_sent_after_a_restart_under_its_id_though_the_blob_is_gone(
    relays: Relays, container: ContainerClient, webhook: Webhook
) -> None:
    webhook.answer = lambda _: 500
    with relays.make(patience=Patience()):
        container.upload_blob("a.zip", b"")
        wait_for(lambda: webhook.got)
    container.delete_blob("a.zip")
    webhook.answer = lambda _: 202
    with relays.make():
        wait_for(lambda: len(webhook.got) > 1 and relays.settled())
    assert len({event["id"] for event in webhook.got}) == 1


def test_a_first_start_may_pass_over_what_lies_there(
    relays: Relays, container: ContainerClient, webhook: Webhook
) -> None:
    container.upload_blob("old.zip", b"")
    relay = relays.make()
    relay.skip_existing()
    with relay:
        container.upload_blob("new.zip", b"")
        wait_for(lambda: webhook.got)
    container.upload_blob("later.zip", b"")
    second = relays.make()
    second.skip_existing()  # not the first start any more
    with second:
        wait_for(lambda: "later.zip" in webhook.names())
    # Events that the first relay had sent, but not yet noted as answered, are sent again.
    assert list(dict.fromkeys(webhook.names())) == ["new.zip", "later.zip"]


def test_a_slow_answer_holds_up_no_other_event(relays: Relays, container: ContainerClient, webhook: Webhook) -> None:
    release = threading.Event()

    def slow_for_one(name: str) -> int:
        if name == "slow.zip":
            release.wait(20)
        return 202

    webhook.answer = slow_for_one
    container.upload_blob("slow.zip", b"")
    with relays.make():
        wait_for(lambda: webhook.names() == ["slow.zip"])
        container.upload_blob("quick.zip", b"")
        wait_for(lambda: "quick.zip" in webhook.names())
        assert not relays.settled()
        release.set()
        wait_for(relays.settled)
    assert webhook.names() == ["slow.zip", "quick.zip"]


def test_a_refused_event_is_retried_and_then_dead_lettered(
    relays: Relays, container: ContainerClient, webhook: Webhook, service: BlobServiceClient
) -> None:
    letters = service.get_container_client(f"dead{uuid.uuid4().hex}")
    webhook.answer = lambda name: 400 if name == "wrong.zip" else 500
    with relays.make(dead_letter_container=letters.container_name):
        container.upload_blob("wrong.zip", b"")
        container.upload_blob("broken.zip", b"")
        wait_for(lambda: letters.exists() and len(list(letters.list_blobs())) == 2)
    assert sorted(webhook.names()) == ["broken.zip"] * 3 + ["wrong.zip"]
    kept = [json.loads(letters.download_blob(blob.name).readall())[0] for blob in letters.list_blobs()]
    reasons = {_name(letter): (letter["deadLetterReason"], letter["lastDeliveryOutcome"]) for letter in kept}
    assert reasons == {
        "wrong.zip": ("BadRequest", "BadRequest"),
        "broken.zip": ("MaxDeliveryAttemptsExceeded", "GenericError"),
    }
    assert relays.settled()


def test_an_answer_that_takes_too_long_counts_as_none(
    relays: Relays, container: ContainerClient, webhook: Webhook
) -> None:
    release = threading.Event()

    def slow_once(_name: str) -> int:
        if len(webhook.got) == 1:
            release.wait(20)
        return 202

    webhook.answer = slow_once
    container.upload_blob("a.zip", b"")
    with relays.make(patience=Patience(scale=0.02, timeout=0.3)):
        wait_for(lambda: len(webhook.got) == 2)
        wait_for(relays.settled)
        release.set()
    assert webhook.got[0]["id"] == webhook.got[1]["id"]


def test_a_container_may_be_made_later(relays: Relays, service: BlobServiceClient, webhook: Webhook) -> None:
    later = f"c{uuid.uuid4().hex}"
    with relays.make(container=later):
        service.create_container(later).upload_blob("a.zip", b"")
        wait_for(lambda: webhook.got)


def test_the_command_survives_being_killed_and_loses_nothing(
    azurite: Azurite, container: ContainerClient, webhook: Webhook, state: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "local.relay", "--container", container.container_name, "--to", webhook.url]
    command += ["--state", str(state), "--interval", "0.05", "--scale", "0.01"]
    environment = {**os.environ, "DATA_STORAGE": azurite.connection}
    names = [f"{number}.zip" for number in range(20)]
    # Killed while it is at work: some events are sent, some are not.
    for part, killed_after in ((names[:10], 5), (names[10:], len(names))):
        with (tmp_path / "relay.log").open("ab") as log:
            child = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            for name in part:
                container.upload_blob(name, b"")
            wait_for(lambda least=killed_after: len(set(webhook.names())) >= least)  # type: ignore[misc] # mypy cannot infer a lambda's default
        finally:
            child.kill()
            child.wait()
    # Events in delivery may be sent twice, but with the same id.
    assert set(webhook.names()) == set(names)
    assert len({event["id"] for event in webhook.got}) == len(names)
