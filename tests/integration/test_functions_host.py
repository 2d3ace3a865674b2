"""The functions host with a sample app and a real Azurite behaves like `func start` and Azure's queues."""

import asyncio
import base64
import itertools
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from local.host.workers import HostEndsError, Workers
from tests.faults.http import Answer, HttpProxy, Request
from tests.fixtures.sample_app import HOST_JSON, HostProcess, Journal, wait_for, write_app

NEVER = "0 0 0 1 1 *"
EVENT = {"topic": "t", "eventType": "Made", "eventTime": "2026-03-01T00:00:00Z", "dataVersion": "", "data": {}}
BY_NAME = "/runtime/webhooks/EventGrid?functionName="


class World:
    """A separate app: folder, queues, journal."""

    def __init__(self, folder: Path, connection: str) -> None:
        self.name = f"q{uuid.uuid4().hex[:12]}"
        # The host keeps locks and status of timers under the folder's name.
        self.folder = write_app(folder / self.name)
        self.journal = Journal(folder / "journal.jsonl")
        self.connection = connection
        self.settings = {
            "AzureWebJobsStorage": connection, "DATA_STORAGE": connection, "QUEUE": self.name, "SCHEDULE": NEVER,
            "JOURNAL": str(self.journal.file),
        }  # fmt: skip

    def host(self, *options: str, **settings: str) -> HostProcess:
        return HostProcess(self.folder, {**self.settings, **settings}, *options)

    def queue(self, suffix: str = "") -> QueueClient:
        return QueueClient.from_connection_string(self.connection, self.name + suffix)

    def put(self, body: Mapping[str, Any] | str, suffix: str = "") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.put_raw(base64.b64encode(text.encode()).decode(), suffix)

    def put_raw(self, content: str, suffix: str = "", **options: int) -> None:
        with self.queue(suffix) as queue:
            queue.send_message(content, **options)

    def make_queues(self) -> Self:
        """Create the queues of the triggers, because the host creates none."""
        for suffix in ("", "-copy"):
            with self.queue(suffix) as queue:
                queue.create_queue()
        return self

    def messages(self, suffix: str = "") -> list[str]:
        """Peek at the visible messages."""
        with self.queue(suffix) as queue:
            return [message.content for message in queue.peek_messages(32)] if _exists(queue) else []

    def left(self, suffix: str = "") -> int:
        """Count all messages, visible or not."""
        with self.queue(suffix) as queue:
            return queue.get_queue_properties().approximate_message_count or 0


def _exists(queue: QueueClient) -> bool:
    try:
        queue.get_queue_properties()
    except ResourceNotFoundError:
        return False
    return True


@pytest.fixture
def world(tmp_path: Path, azurite: Azurite) -> World:
    return World(tmp_path, azurite.connection).make_queues()


class TestOneHost:
    """One host for all of these tests: they use different functions or different messages."""

    @pytest.fixture(scope="class")
    @staticmethod
    def world(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> World:
        return World(tmp_path_factory.mktemp("host"), azurite.connection).make_queues()

    @pytest.fixture(scope="class")
    @staticmethod
    def host(world: World) -> Iterator[HostProcess]:
        with world.host() as host:
            yield host

    @staticmethod
    def notify(host: HostProcess, function: str, *events: Mapping[str, Any], **headers: str) -> tuple[int, str]:
        body = json.dumps([{**EVENT, **event} for event in events]).encode()
        return host.call(BY_NAME + function, body, **({"aeg_event_type": "Notification"} | headers))

    def test_a_delivery_runs_once_per_event_and_answers_202_after_the_runs(
        self, world: World, host: HostProcess
    ) -> None:
        events = [{"id": "a1", "subject": "one"}, {"id": "a2", "subject": "two"}]
        assert self.notify(host, "on_event", *events) == (202, "")
        noted = [world.journal.notes("on_event", id=event["id"]) for event in events]
        assert [[note["subject"] for note in notes] for notes in noted] == [["one"], ["two"]]

    def test_an_async_function_takes_events_as_well(self, world: World, host: HostProcess) -> None:
        assert self.notify(host, "on_event_async", {"id": "b1", "subject": "s"})[0] == 202
        assert len(world.journal.notes("on_event_async", id="b1")) == 1

    def test_events_of_one_delivery_run_at_the_same_time(self, world: World, host: HostProcess, tmp_path: Path) -> None:
        latch = tmp_path / "go"
        events = [{"id": f"c{n}", "subject": "s", "data": {"wait_for": str(latch)}} for n in (1, 2)]
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(self.notify, host, "on_event", *events)
            wait_for(lambda: all(world.journal.notes("on_event", id=event["id"]) for event in events))
            assert not answer.done()
            latch.touch()
            assert answer.result()[0] == 202

    def test_one_failing_event_fails_the_delivery_with_the_functions_name(self, host: HostProcess) -> None:
        events: list[Mapping[str, Any]] = [
            {"id": "d1", "subject": "s"},
            {"id": "d2", "subject": "s", "data": {"fail": "no such luck"}},
        ]
        answer = self.notify(host, "on_event", *events)
        assert answer == (500, "Exception while executing function: Functions.on_event")

    @pytest.mark.parametrize("function", ["absent", "take", "", "ON_Event"])
    def test_an_event_for_no_event_grid_function_is_404(self, host: HostProcess, function: str) -> None:
        assert self.notify(host, function, {"id": "g", "subject": "s"})[0] == 404

    @pytest.mark.parametrize("kind", ["", "Something"])
    def test_an_unknown_kind_of_event_call_is_400(self, host: HostProcess, kind: str) -> None:
        assert self.notify(host, "on_event", {"id": "h", "subject": "s"}, aeg_event_type=kind)[0] == 400

    @pytest.mark.parametrize("body", [b"", b"{", b"null", b"[1]", b'["text"]', b"[" * 20_000])
    def test_what_is_no_event_is_500(self, host: HostProcess, body: bytes) -> None:
        assert host.call(BY_NAME + "on_event", body, aeg_event_type="Notification")[0] == 500

    def test_a_single_event_need_not_be_in_a_list(self, world: World, host: HostProcess) -> None:
        body = json.dumps({**EVENT, "id": "i1", "subject": "s"}).encode()
        assert host.call(BY_NAME + "on_event", body, aeg_event_type="Notification")[0] == 202
        assert len(world.journal.notes("on_event", id="i1")) == 1

    def test_a_subscription_is_validated_by_its_code(self, host: HostProcess) -> None:
        validation = {"id": "j", "subject": "", "data": {"validationCode": "512d38b6"}}
        status, text = self.notify(host, "on_event", validation, aeg_event_type="SubscriptionValidation")
        assert (status, json.loads(text)) == (200, {"validationResponse": "512d38b6"})
        assert self.notify(host, "on_event", {"id": "k"}, aeg_event_type="SubscriptionValidation")[0] == 500

    def test_the_handshake_of_cloud_events_is_answered(self, host: HostProcess) -> None:
        request = urllib.request.Request(
            host.url + BY_NAME + "on_event", method="OPTIONS", headers={"WebHook-Request-Origin": "eventgrid.example"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.example")

    def test_the_end_of_a_subscription_is_accepted(self, host: HostProcess) -> None:
        assert host.call(BY_NAME + "on_event", b"", aeg_event_type="Unsubscribe")[0] == 202

    def test_an_admin_call_is_answered_202_before_the_function_ends(
        self, world: World, host: HostProcess, tmp_path: Path
    ) -> None:
        latch = tmp_path / "go"
        command = {"name": "admin", "wait_for": str(latch)}
        assert host.call("/admin/functions/take", _admin(json.dumps(command))) == (202, "")
        wait_for(lambda: world.journal.notes("take", name="admin", phase="start"))
        assert not world.journal.notes("take", name="admin", phase="end")
        latch.touch()
        wait_for(lambda: world.journal.notes("take", name="admin", phase="end"))

    def test_an_admin_call_runs_a_timer_and_an_event_function(self, world: World, host: HostProcess) -> None:
        event = json.dumps({**EVENT, "id": "l1", "subject": "s"})
        assert host.call("/admin/functions/tick", _admin(None))[0] == 202
        assert host.call("/admin/functions/on_event", _admin(event))[0] == 202
        wait_for(lambda: world.journal.notes("tick", phase="end") and world.journal.notes("on_event", id="l1"))

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("absent", b'{"input": "x"}', 404),
            ("take", b"null", 400),
            ("take", b"", 400),
            ("take", b'{"input": 1}', 400),
        ],
    )
    def test_a_wrong_admin_call_is_refused(self, host: HostProcess, path: str, body: bytes, status: int) -> None:
        assert host.call(f"/admin/functions/{path}", body)[0] == status

    def test_the_admin_endpoints_describe_the_host_and_its_functions(self, host: HostProcess) -> None:
        assert json.loads(host.call("/admin/host/status")[1])["state"] == "Running"
        names = {function["name"] for function in json.loads(host.call("/admin/functions")[1])}
        assert names == {"take", "copy", "on_event", "on_event_async", "tick", "thing", "nothing"}
        status, text = host.call("/admin/functions/take")
        assert (status, json.loads(text)["config"]["bindings"][0]["type"]) == (200, "queueTrigger")
        assert host.call("/admin/functions/take/status")[0] == 200
        assert host.call("/admin/functions/absent")[0] == 404

    @pytest.mark.parametrize("path", ["/admin/host/status", "/api/things/box/lid"])
    def test_a_request_under_another_host_name_is_refused(self, host: HostProcess, path: str) -> None:
        assert host.call(path, Host="rebound.example")[0] == 403
        assert host.call(path, Host=f"localhost:{urlsplit(host.url).port}")[0] < 300

    def test_no_page_of_a_browser_starts_a_function(self, world: World, host: HostProcess) -> None:
        body = _admin(json.dumps({"name": "from a page"}))
        assert host.call("/admin/functions/take", body, Origin="https://elsewhere.example")[0] == 403
        assert not world.journal.notes("take", name="from a page")

    def test_an_http_function_gets_the_request_and_gives_the_response(self, host: HostProcess) -> None:
        status, text = host.call("/api/things/box/lid?colour=red", b"body", X_Sent="yes")
        assert status == 201
        assert json.loads(text) == {
            "route": {"thing": "box", "part": "lid"}, "query": {"colour": "red"}, "body": "body", "header": "yes",
            "method": "POST",
        }  # fmt: skip
        assert json.loads(host.call("/api/things/box")[1])["route"] == {"thing": "box"}
        assert host.call("/api/nothing") == (200, "only text")

    def test_paths_ignore_case_and_a_slash_at_the_end_and_several_values_come_as_one(self, host: HostProcess) -> None:
        _, text = host.call("/API/Things/Big%20Box%2Flid/?q=1&q=2")
        assert json.loads(text)["route"] == {"thing": "Big Box%2Flid"}
        assert json.loads(text)["query"] == {"q": "1,2"}

    def test_a_method_that_a_function_does_not_take_is_404(self, host: HostProcess) -> None:
        for method in ("DELETE", "OPTIONS"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(urllib.request.Request(host.url + "/api/things/box", method=method), timeout=20)

    def test_a_head_request_runs_the_function_and_is_answered_without_a_body(self, host: HostProcess) -> None:
        request = urllib.request.Request(host.url + "/api/nothing", method="HEAD")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "9", b"")

    def test_nobody_but_this_machine_can_call(self, host: HostProcess) -> None:
        port = int(host.url.rpartition(":")[2])
        # Loopback has more than one address: a host that listened everywhere would answer here too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)

    def test_a_path_with_an_encoded_zero_is_400(self, host: HostProcess) -> None:
        assert host.call("/api/things/a%00b")[0] == 400

    def test_an_http_function_that_fails_tells_callers_nothing(self, host: HostProcess) -> None:
        assert host.call("/api/things/box?fail=1") == (500, "")
        assert host.call("/api/absent")[0] == 404

    def test_a_message_runs_once_without_a_trace_parent_and_is_deleted(self, world: World, host: HostProcess) -> None:
        del host
        world.put({"name": "plain"})
        wait_for(lambda: world.journal.notes("take", name="plain", phase="end"))
        [note] = world.journal.notes("take", name="plain", phase="start")
        assert (note["trace"], note["tries"]) == ("", 1)

    def test_an_event_has_a_trace_parent(self, world: World, host: HostProcess) -> None:
        self.notify(host, "on_event", {"id": "t1", "subject": "s"})
        [note] = world.journal.notes("on_event", id="t1")
        version, trace, span, flags = note["trace"].split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")

    def test_a_failing_message_is_retried_after_the_delay_and_ends_in_the_poison_queue(
        self, world: World, host: HostProcess
    ) -> None:
        del host
        body = {"name": "doomed", "fail": "always"}
        world.put(body)
        [poison] = wait_for(lambda: world.messages("-poison"))
        notes = world.journal.notes("take", name="doomed", phase="start")
        assert [note["tries"] for note in notes] == [1, 2, 3]
        gaps = [later["at"] - earlier["at"] for earlier, later in itertools.pairwise(notes)]
        assert all(gap >= 0.9 for gap in gaps), gaps  # visibilityTimeout is a second
        assert json.loads(base64.b64decode(poison)) == body

    def test_members_of_the_body_shadow_the_message_metadata(self, world: World, host: HostProcess) -> None:
        del host
        world.put({"name": "shadow", "ID": "mine", "dequeuecount": 42})
        [note] = wait_for(lambda: world.journal.notes("take", name="shadow", phase="end"))
        assert (note["id"], note["tries"]) == ("mine", 42)

    def test_what_a_function_puts_out_becomes_messages(self, world: World, host: HostProcess) -> None:
        del host
        world.put("x", "-copy")
        wait_for(lambda: world.messages("-one") and len(world.messages("-several")) == 2)
        assert [base64.b64decode(text) for text in world.messages("-one")] == [b"x"]
        assert sorted(base64.b64decode(text) for text in world.messages("-several")) == [b"x1", b"x2"]

    def test_a_message_that_is_not_base64_goes_straight_to_the_poison_queue(
        self, world: World, host: HostProcess
    ) -> None:
        del host
        for body in ("not base64!", "_-8=", "eA"):
            world.put_raw(body, "-copy")
        wait_for(lambda: len(world.messages("-copy-poison")) == 3)
        assert sorted(world.messages("-copy-poison")) == ["_-8=", "eA", "not base64!"]

    def test_blanks_within_base64_are_passed_over(self, world: World, host: HostProcess) -> None:
        del host
        text = base64.b64encode(b'{"name": "blanks"}').decode()
        world.put_raw(f" {text[:8]}\r\n{text[8:]} ")
        wait_for(lambda: world.journal.notes("take", name="blanks", phase="end"))

    def test_a_message_that_is_no_utf_8_is_retried_unrun_and_then_poison(self, world: World, host: HostProcess) -> None:
        content = base64.b64encode(b"\xff\xfe").decode()
        world.put_raw(content)
        wait_for(lambda: content in world.messages("-poison"))
        assert host.said().count("it has reached MaxDequeueCount") >= 1
        assert not [note for note in world.journal.notes("take") if note["name"] is None]


def _admin(text: str | None) -> bytes:
    return json.dumps({"input": text}).encode()


def test_a_missing_queue_is_not_made_and_is_listened_to_once_it_is_there(tmp_path: Path, azurite: Azurite) -> None:
    world = World(tmp_path, azurite.connection)
    with world.host() as host:
        wait_for(lambda: host.said().count(f"poll queue {world.name}: 404") >= 2)
        with world.queue() as queue:
            assert not _exists(queue)
        world.make_queues().put({"name": "late"})
        wait_for(lambda: world.journal.notes("take", name="late", phase="end"))


def test_a_message_whose_life_ends_while_it_runs_is_gone_without_a_word(world: World) -> None:
    with world.host() as host:
        text = base64.b64encode(json.dumps({"name": "short", "seconds": 7}).encode()).decode()
        world.put_raw(text, time_to_live=6)
        wait_for(lambda: world.journal.notes("take", name="short", phase="end"))
        world.put({"name": "next"})
        wait_for(lambda: world.journal.notes("take", name="next", phase="end"))
        assert host.process.poll() is None
    assert world.left("-poison" if world.messages("-poison") else "") == 0


@pytest.mark.parametrize(
    ("command", "lives", "lease"),
    [({"name": "short", "fail": "always"}, 20, "600"), ({"name": "short", "wait_for": "never"}, 5, "6")],
    ids=["release", "renewal"],
)
def test_a_message_that_would_be_hidden_beyond_its_end_ends_the_host(
    world: World, command: Mapping[str, Any], lives: int, lease: str
) -> None:
    """Azure answers 400, and Azurite does not."""
    file = world.folder / "host.json"
    file.write_text(file.read_text().replace("00:00:01", "00:00:30"))
    with world.host("--grace", "0.5", "--lease", lease) as host:
        world.put_raw(base64.b64encode(json.dumps(command).encode()).decode(), time_to_live=lives)
        assert host.process.wait(20) == 1
        assert re.search(f"hide a message of queue {world.name} for .* storage answered 400", host.said())


def test_a_function_that_is_switched_off_is_run_by_its_name_alone(world: World) -> None:
    """Its trigger takes no message, event, tick or request; others are not affected."""
    names = ("take", "on_event", "tick", "thing")
    off = {f"AzureWebJobs.{name}.Disabled": "true" for name in names}
    with world.host(SCHEDULE="* * * * * *", **off) as host:
        for name in names:
            assert re.search(rf"Function {name}: \w+ \(disabled\)", host.said())
            assert json.loads(host.call(f"/admin/functions/{name}")[1])["isDisabled"] is True
        assert json.loads(host.call("/admin/functions/copy")[1])["isDisabled"] is False
        assert TestOneHost.notify(host, "on_event", {"id": "o", "subject": "s"})[0] == 404
        assert TestOneHost.notify(host, "on_event_async", {"id": "p", "subject": "s"})[0] == 202
        assert host.call("/api/things/one/two")[0] == 404
        world.put({"name": "never"})
        world.put("text", "-copy")
        wait_for(lambda: world.messages("-one"))
        assert host.call("/admin/functions/take", b'{"input": "{\\"name\\": \\"by hand\\"}"}')[0] == 202
        wait_for(lambda: world.journal.notes("take", name="by hand", phase="end"))
    assert not world.journal.notes("take", name="never")
    assert not world.journal.notes("tick")
    assert len(world.messages()) == 1


def test_runs_of_a_timer_never_overlap(world: World) -> None:
    with world.host(SCHEDULE="* * * * * *", TICK_SECONDS="1.2"):
        wait_for(lambda: len(world.journal.notes("tick", phase="end")) >= 3)
    phases = [note["phase"] for note in world.journal.notes("tick")]
    assert phases[:6] == ["start", "end"] * 3


def test_a_message_stays_hidden_while_it_runs_longer_than_its_lease(world: World) -> None:
    with world.host("--lease", "5") as first, world.host("--lease", "5") as second:
        world.put({"name": "long", "seconds": 11})
        wait_for(lambda: world.journal.notes("take", name="long", phase="end"))
        wait_for(lambda: world.left() == 0)
        assert {first.process.poll(), second.process.poll()} == {None}
    assert len(world.journal.notes("take", name="long", phase="start")) == 1


def test_a_message_whose_renewal_is_lost_is_run_by_another_host_while_the_first_still_runs_it(
    world: World, azurite: Azurite
) -> None:
    def lose(request: Request) -> Answer | None:
        return Answer(404, "MessageNotFound") if request.method == "PUT" and "/messages/" in request.path else None

    queues = {**HOST_JSON["extensions"]["queues"], "batchSize": 1, "newBatchThreshold": 0}
    write_app(world.folder, host_json={"version": "2.0", "extensions": {"queues": queues}})
    with HttpProxy(azurite.ports.queue) as proxy:
        proxy.choose = lose
        through = replace(azurite.ports, queue=proxy.port).connection
        with world.host("--lease", "2", DATA_STORAGE=through) as first:
            world.put({"name": "twice", "wait_for": str(world.folder / "go")})
            wait_for(lambda: world.journal.notes("take", name="twice", phase="start"))
            with world.host("--lease", "30") as second:
                wait_for(lambda: len(world.journal.notes("take", name="twice", phase="start")) == 2)
                (world.folder / "go").touch()
                wait_for(lambda: len(world.journal.notes("take", name="twice", phase="end")) == 2)
                wait_for(lambda: world.left() == 0)
                assert {first.process.poll(), second.process.poll()} == {None}
    phases = [note["phase"] for note in world.journal.notes("take", name="twice")]
    assert phases[:2] == ["start", "start"]


POISON_APP = """
import json, os, pathlib
import azure.functions as func

app = func.FunctionApp()

@app.queue_trigger(arg_name="message", queue_name="%QUEUE%-poison", connection="DATA_STORAGE")
def bury(message: func.QueueMessage) -> None:
    with pathlib.Path(os.environ["JOURNAL"]).open("a") as out:
        out.write(json.dumps({"function": "bury", "tries": message.dequeue_count}) + "\\n")
    raise ValueError("always")
"""


def test_a_trigger_on_a_poison_queue_hides_what_failed_to_the_end_of_its_lease(world: World) -> None:
    write_app(world.folder, POISON_APP)
    with world.queue("-poison") as queue:
        queue.create_queue()
    world.put({"name": "dead"}, "-poison")
    with world.host("--lease", "8"):
        wait_for(lambda: world.journal.notes("bury"))
        time.sleep(2)  # visibilityTimeout is a second: any other queue would have released it
        assert len(world.journal.notes("bury")) == 1
        wait_for(lambda: len(world.journal.notes("bury")) == 2)


def test_two_hosts_share_messages_and_each_runs_as_many_as_host_json_allows(world: World) -> None:
    queues = {**HOST_JSON["extensions"]["queues"], "batchSize": 1, "newBatchThreshold": 0}
    write_app(world.folder, host_json={"version": "2.0", "extensions": {"queues": queues}})
    names = [f"m{n}" for n in range(16)]
    with world.host(), world.host():
        for name in names:
            world.put({"name": name, "seconds": 0.1})
        wait_for(lambda: len(world.journal.notes("take", phase="end")) == len(names))
        wait_for(lambda: world.left() == 0)
    starts = world.journal.notes("take", phase="start")
    assert sorted(str(note["name"]) for note in starts) == sorted(names)
    hosts = {note["host"] for note in starts}
    assert len(hosts) == 2
    for host in hosts:
        phases = [note["phase"] for note in world.journal.notes("take", host=host)]
        assert phases == ["start", "end"] * (len(phases) // 2)


def test_what_a_killed_host_was_running_comes_again_when_its_lease_is_over(world: World) -> None:
    with world.host("--lease", "2") as first:
        world.put({"name": "survivor", "wait_for": str(world.folder / "go")})
        [begun] = wait_for(lambda: world.journal.notes("take", name="survivor", phase="start"))
        first.kill()
    # The worker ends a moment after its host; until then it would continue.
    wait_for(lambda: not Path(f"/proc/{begun['host']}").exists())
    (world.folder / "go").touch()
    with world.host("--lease", "2"):
        [note] = wait_for(lambda: world.journal.notes("take", name="survivor", phase="end"))
        assert note["tries"] == 2
        wait_for(lambda: world.left() == 0)


def test_a_message_that_kills_its_hosts_ends_in_the_poison_queue_unrun(world: World) -> None:
    with world.queue() as queue:
        world.put({"name": "killer"})
        for _ in range(HOST_JSON["extensions"]["queues"]["maxDequeueCount"]):
            wait_for(lambda: list(queue.receive_messages(max_messages=1, visibility_timeout=1)))
    with world.host():
        wait_for(lambda: world.messages("-poison"))
    assert not world.journal.notes("take")
    assert world.left() == 0


QUICK = ("--scale", "4")
"""Storage's patience is 6 s then, and a timer's lease 15 s, the shortest that blobs have."""


class TestStorageThatFails:
    """Failures that the real host survives, and failures that end it."""

    @pytest.fixture
    @staticmethod
    def storage(tmp_path: Path) -> Iterator[Azurite]:
        with run_azurite(tmp_path / "azurite") as storage:
            yield storage

    def test_an_outage_within_its_patience_is_survived(self, tmp_path: Path, storage: Azurite) -> None:
        world = World(tmp_path, storage.connection).make_queues()
        # At real intervals: on a slow machine Azurite alone may need the 6 s of a quick host to start.
        with world.host() as host:
            storage.stop()
            time.sleep(3)
            storage.start()
            world.put({"name": "after"})
            wait_for(lambda: world.journal.notes("take", name="after", phase="end"))
            assert host.process.poll() is None

    def test_a_longer_outage_ends_the_host_with_all_that_runs_in_it(self, tmp_path: Path, storage: Azurite) -> None:
        world = World(tmp_path, storage.connection).make_queues()
        with world.host(*QUICK, "--grace", "0.5") as host:
            world.put({"name": "running", "wait_for": str(world.folder / "never")})
            wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
            storage.stop()
            assert host.process.wait(20) == 1
            assert "An unhandled exception has occurred. Host is shutting down." in host.said()
            assert "storage refused for 6.25 s" in host.said().splitlines()[-1]
        assert not world.journal.notes("take", name="running", phase="end")

    def test_a_host_that_starts_without_its_storage_never_listens(self, tmp_path: Path, storage: Azurite) -> None:
        world = World(tmp_path, storage.connection).make_queues()
        storage.stop()
        host = world.host()
        wait_for(lambda: "AzureWebJobsStorage cannot be reached" in host.said())
        assert "host.listening" not in host.said()
        storage.start()
        with host:
            assert host.call("/admin/host/ping")[0] == 200

    @pytest.mark.parametrize(
        ("request_kind", "answer", "ends"),
        [
            ("GET messages", Answer(403, "AuthorizationPermissionMismatch"), True),
            ("GET messages", Answer(503, "ServerBusy"), False),
            ("PUT update", Answer(400, "OutOfRangeQueryParameterValue"), True),
            ("DELETE messages", Answer(503, "ServerBusy"), True),
            ("DELETE messages", Answer(404, "MessageNotFound"), False),
            ("DELETE messages", Answer(400, "PopReceiptMismatch"), False),
        ],
        ids=["403 on a poll", "503 on a poll", "400 on a release", "503 on a delete", "gone", "taken by another"],
    )
    def test_answers_that_end_the_host_and_answers_that_do_not(
        self, world: World, azurite: Azurite, request_kind: str, answer: Answer, ends: bool
    ) -> None:
        method, _, action = request_kind.partition(" ")

        def choose(request: Request) -> Answer | None:
            of_queue = f"/{world.name}/messages" in request.path
            updates = request.method == "PUT"
            return answer if of_queue and request.method == method and (action != "update" or updates) else None

        with HttpProxy(azurite.ports.queue) as proxy:
            through = replace(azurite.ports, queue=proxy.port).connection
            with world.host("--grace", "0.5", DATA_STORAGE=through) as host:
                proxy.choose = choose
                world.put({"name": "one", "fail": "always"} if action == "update" else {"name": "one"})
                if ends:
                    assert host.process.wait(20) == 1
                    assert f"storage answered {answer.status}" in host.said()
                else:
                    wait_for(lambda: len([r for r in proxy.requests if choose(r)]) >= 1)
                    proxy.choose = lambda _: None
                    world.put({"name": "two"})
                    wait_for(lambda: world.journal.notes("take", name="two", phase="end"))
                    assert host.process.poll() is None

    def test_a_renewal_that_storage_refuses_to_do_ends_the_host_while_the_message_still_runs(
        self, world: World, azurite: Azurite
    ) -> None:
        def busy(request: Request) -> Answer | None:
            return Answer(503, "ServerBusy") if request.method == "PUT" and "/messages/" in request.path else None

        with HttpProxy(azurite.ports.queue) as proxy:
            proxy.choose = busy
            through = replace(azurite.ports, queue=proxy.port).connection
            with world.host("--lease", "2", "--grace", "0.5", DATA_STORAGE=through) as host:
                world.put({"name": "long", "wait_for": str(world.folder / "never")})
                assert host.process.wait(20) == 1
                assert f"renew a message of queue {world.name}: storage answered 503" in host.said()
        assert world.journal.notes("take", name="long", phase="start")
        assert not world.journal.notes("take", name="long", phase="end")


class TestWorkers:
    """Each worker is a process of its own: effects of its death."""

    def test_a_dying_worker_fails_what_runs_in_it_and_is_replaced(self, world: World) -> None:
        with world.host() as host:
            world.put({"name": "other", "wait_for": str(world.folder / "go")})
            wait_for(lambda: world.journal.notes("take", name="other", phase="start"))
            assert host.call("/api/things/box?die=1") == (500, "")
            (world.folder / "go").touch()
            note = wait_for(lambda: world.journal.notes("take", name="other", phase="end"))[0]
            assert note["tries"] == 2
            assert host.call("/api/things/box")[0] == 201

    @pytest.mark.parametrize("end", ["exit", "die"])
    def test_the_third_death_ends_the_host(self, world: World, end: str) -> None:
        with world.host("--grace", "0.5") as host:
            world.put({"name": "killer", end: 1})
            assert host.process.wait(30) == 1
            assert "Exceeded language worker restart retry count" in host.said()
        assert [note["tries"] for note in world.journal.notes("take", phase="start")] == [1, 2, 3]

    def test_deaths_count_together_unless_a_long_time_lies_between_them(self, world: World) -> None:
        async def kill_thrice(forgotten: timedelta) -> bool:
            workers = Workers(world.folder, timeout=None, forgotten=forgotten)
            await workers.start()
            try:
                for _ in range(3):
                    await asyncio.sleep(0.1)
                    [pid] = workers.pids
                    os.kill(pid, signal.SIGKILL)
                    while workers.pids == [pid] or not (workers.pids or workers.failed.done()):
                        await asyncio.sleep(0.02)
                return isinstance(workers.failed.exception(), HostEndsError) if workers.failed.done() else False
            finally:
                await workers.stop()

        with pytest.MonkeyPatch.context() as patch:
            for name, value in world.settings.items():
                patch.setenv(name, value)
            assert asyncio.run(kill_thrice(timedelta(minutes=30)))
            assert not asyncio.run(kill_thrice(timedelta(seconds=0.05)))

    def test_a_run_over_its_time_costs_its_worker_and_the_message_comes_again(self, world: World) -> None:
        write_app(world.folder, host_json={**HOST_JSON, "functionTimeout": "00:00:02"})
        with world.host() as host:
            world.put({"name": "endless", "wait_for": str(world.folder / "go")})
            wait_for(lambda: "Timeout value of 0:00:02 exceeded" in host.said())
            (world.folder / "go").touch()
            note = wait_for(lambda: world.journal.notes("take", name="endless", phase="end"))[0]
            assert note["tries"] == 2
            assert host.process.poll() is None

    def test_what_else_ran_in_a_replaced_worker_hangs_until_its_own_time_is_over(self, world: World) -> None:
        write_app(world.folder, host_json={**HOST_JSON, "functionTimeout": "00:00:04"})
        with world.host() as host:
            world.put({"name": "first", "wait_for": str(world.folder / "never")})
            wait_for(lambda: world.journal.notes("take", name="first", phase="start"))
            time.sleep(2)
            began = time.monotonic()
            # Its worker is replaced after 2 s, and reports after 4.
            body = json.dumps([{**EVENT, "id": "m", "subject": "s", "data": {"seconds": 60}}]).encode()
            assert host.call(BY_NAME + "on_event", body, aeg_event_type="Notification")[0] == 500
            assert time.monotonic() - began > 3.5

    def test_two_workers_share_the_runs_of_one_host(self, world: World) -> None:
        with world.host(FUNCTIONS_WORKER_PROCESS_COUNT="2"):
            for number in range(6):
                world.put({"name": f"n{number}"})
            wait_for(lambda: len(world.journal.notes("take", phase="end")) == 6)
        assert len({note["host"] for note in world.journal.notes("take")}) == 2

    def test_ctrl_c_in_a_terminal_lets_what_runs_end(self, world: World) -> None:
        with world.host() as host:
            world.put({"name": "running", "wait_for": str(world.folder / "go")})
            wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
            # A terminal signals every process of its foreground group.
            os.killpg(host.process.pid, signal.SIGINT)
            wait_for(lambda: "Stopping" in host.said())
            (world.folder / "go").touch()
            assert host.process.wait(20) == 0
        assert world.journal.notes("take", name="running", phase="end")
        assert world.left() == 0

    def test_a_worker_that_is_replaced_by_one_that_cannot_load_the_app_fails_what_is_called(self, world: World) -> None:
        with world.host() as host:
            write_app(world.folder, "import not_there")
            assert host.call("/api/things/box?die=1")[0] == 500
            assert host.call("/api/things/box") == (500, "")
            assert "No module named 'not_there'" in host.said()

    def test_a_host_that_is_stopped_while_its_app_loads_ends_at_once_with_its_worker(self, world: World) -> None:
        loading = "import os, pathlib, time\npathlib.Path('loading').write_text(str(os.getpid()))\ntime.sleep(600)"
        write_app(world.folder, loading)
        host = world.host()
        worker = wait_for(lambda: (note := world.folder / "loading").exists() and note.read_text())
        host.process.terminate()
        assert host.process.wait(20) == 0
        wait_for(lambda: not Path(f"/proc/{worker}").exists())

    def test_a_host_that_is_stopped_twice_leaves_at_once_and_its_worker_follows(self, world: World) -> None:
        with world.host("--grace", "600") as host:
            world.put({"name": "running", "wait_for": str(world.folder / "never")})
            [note] = wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
            host.process.terminate()
            wait_for(lambda: "Stopping" in host.said())
            host.process.terminate()
            assert host.process.wait(20) == 130
        wait_for(lambda: not Path(f"/proc/{note['host']}").exists())

    def test_a_worker_does_not_outlive_its_host(self, world: World) -> None:
        with world.host() as host:
            world.put({"name": "running", "wait_for": str(world.folder / "never")})
            [note] = wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
            host.kill()
        wait_for(lambda: not Path(f"/proc/{note['host']}").exists())


class TestTimerLocks:
    """Of several hosts one runs a timer, by a blob lease in the host's own account."""

    def test_one_of_two_hosts_ticks_and_after_its_end_the_other(self, world: World) -> None:
        every_second = {"SCHEDULE": "* * * * * *"}
        with world.host(*QUICK, **every_second) as first:
            wait_for(lambda: world.journal.notes("tick", phase="end"))
            with world.host(*QUICK, **every_second):
                time.sleep(2)
                assert len({note["host"] for note in world.journal.notes("tick")}) == 1
                first.process.terminate()
                first.process.wait(20)
                # Released at SIGTERM; the other host tries again within a quarter of a minute, at this scale.
                wait_for(lambda: len({note["host"] for note in world.journal.notes("tick")}) == 2, within=25)

    def test_after_a_kill_timers_rest_until_the_lease_is_over(self, world: World) -> None:
        every_second = {"SCHEDULE": "* * * * * *"}
        with world.host(*QUICK, **every_second) as first:
            wait_for(lambda: world.journal.notes("tick", phase="end"))
            first.kill()
        last = world.journal.notes("tick")[-1]["at"]
        with world.host(*QUICK, **every_second) as second:
            wait_for(lambda: world.journal.notes("tick")[-1]["at"] > last + 1, within=45)
            assert second.process.poll() is None
        assert min(note["at"] for note in world.journal.notes("tick") if note["at"] > last + 1) - last > 6

    def test_a_monitored_timer_does_not_start_without_the_hosts_own_account(self, world: World) -> None:
        del world.settings["AzureWebJobsStorage"]
        with world.host(SCHEDULE="0 * * * * *") as host:
            status, text = host.call("/admin/functions/tick/status")
            assert (status, "AzureWebJobsStorage" in text) == (200, True)

    def test_a_saved_status_that_is_garbage_keeps_the_listener_from_starting(self, world: World) -> None:
        with BlobServiceClient.from_connection_string(world.connection) as service:
            container = service.get_container_client("azure-webjobs-hosts")
            if not container.exists():
                container.create_container()
            container.upload_blob(f"timers/{world.name}/Host.Functions.tick/status", b"garbage", overwrite=True)
        with world.host(SCHEDULE="0 * * * * *") as host:
            wait_for(lambda: "The listener for function 'Functions.tick' was unable to start" in host.said())
            assert host.process.poll() is None


def test_a_stopped_host_takes_nothing_new_and_lets_what_runs_end(world: World) -> None:
    with world.host() as host:
        world.put({"name": "running", "wait_for": str(world.folder / "go")})
        wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
        host.process.terminate()
        wait_for(lambda: "Stopping" in host.said())
        wait_for(lambda: not answers(host))
        world.put({"name": "late"})
        (world.folder / "go").touch()
        assert host.process.wait(20) == 0
    assert world.journal.notes("take", name="running", phase="end")
    assert not world.journal.notes("take", name="late")
    assert world.left() == 1


def answers(host: HostProcess) -> bool:
    try:
        return host.call("/admin/host/ping")[0] == 200
    except OSError:
        return False


def test_a_stopped_host_does_not_wait_for_ever(world: World) -> None:
    with world.host("--grace", "0.5") as host:
        world.put({"name": "endless", "wait_for": str(world.folder / "never")})
        wait_for(lambda: world.journal.notes("take", name="endless", phase="start"))
        host.process.terminate()
        assert host.process.wait(20) == 0
        assert "did not shutdown within its allotted time" in host.said()


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ("@app.blob_trigger('b', path='x', connection='DATA_STORAGE')\ndef f(b: func.InputStream): ...", "blobTrigger"),
        (
            "@app.queue_trigger('m', queue_name='work', connection='NOWHERE')\ndef f(m: func.QueueMessage): ...",
            "NOWHERE",
        ),
        ("@app.queue_trigger('m', queue_name='a_b', connection='')\ndef f(m: func.QueueMessage): ...", "'a_b'"),
        ("@app.timer_trigger('t', schedule='soon')\ndef f(t: func.TimerRequest): ...", "soon"),
        ("@app.timer_trigger('t', schedule='%ABSENT%')\ndef f(t: func.TimerRequest): ...", "ABSENT"),
    ],
    ids=["binding", "connection", "queue", "schedule", "setting"],
)
def test_a_function_that_cannot_run_is_switched_off_and_it_alone(world: World, function: str, named: str) -> None:
    other = "@app.route(route='other')\ndef other(req: func.HttpRequest) -> str: return 'runs'"
    write_app(world.folder, f"import azure.functions as func\napp = func.FunctionApp()\n{function}\n{other}\n")
    with world.host() as host:
        assert host.call("/api/other") == (200, "runs")
        assert named in json.loads(host.call("/admin/functions/f/status")[1])["errors"][0]
        assert host.call("/admin/functions/f", _admin("x"))[0] == 404
        assert "Function 'Functions.f' failed indexing and will be disabled" in host.said()


@pytest.mark.parametrize(
    ("code", "named"),
    [("", "No job functions found"), ("import not_there", "No module named 'not_there'"), ("app = None", "top level")],
    ids=["empty", "import", "no app"],
)
def test_an_app_that_cannot_be_loaded_leaves_a_host_without_functions(world: World, code: str, named: str) -> None:
    write_app(world.folder, f"import azure.functions as func\napp = func.FunctionApp()\n{code}\n")
    with world.host() as host:
        assert host.call("/admin/host/ping")[0] == 200
        assert json.loads(host.call("/admin/functions")[1]) == []
        assert named in host.said()


def test_an_app_that_ends_its_worker_while_it_loads_ends_the_host(world: World) -> None:
    write_app(world.folder, "raise SystemExit('settings')")
    with pytest.raises(AssertionError, match=r"(?s)the host ended with 1.*Exceeded language worker"), world.host():
        pass


def test_a_host_json_out_of_range_answers_every_request_with_503(world: World) -> None:
    write_app(world.folder, host_json={"version": "2.0", "extensions": {"queues": {"batchSize": 64}}})
    with world.host() as host:
        assert {host.call(path)[0] for path in ("/admin/host/status", "/api/things/box", "/")} == {503}


def test_a_port_in_use_is_an_error_that_says_what_to_do(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(AssertionError, match=rf"(?s)ended with 1.*port {port}.*--port"), world.host("--port", port):
            pass


def test_a_timer_remembers_over_restarts_when_it_last_ran(world: World) -> None:
    every_minute = {"SCHEDULE": "0 * * * * *"}
    with BlobServiceClient.from_connection_string(world.connection) as service:
        blob = service.get_blob_client("azure-webjobs-hosts", f"timers/{world.name}/Host.Functions.tick/status")
        with world.host(**every_minute):
            saved = wait_for(lambda: blob.exists() and json.loads(blob.download_blob().readall()))
        assert not world.journal.notes("tick", past_due=True)
        long_ago = "2026-01-01T00:00:00+00:00"
        blob.upload_blob(json.dumps(dict.fromkeys(saved, long_ago)), overwrite=True)
    with world.host(**every_minute):
        wait_for(lambda: world.journal.notes("tick", phase="end"))
        assert world.journal.notes("tick", phase="start")[0]["past_due"] is True
