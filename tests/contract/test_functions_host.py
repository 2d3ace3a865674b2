"""The functions host over a sample app and a real Azurite: what `func start` and Azure's queues promise."""

import base64
import itertools
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from tests.fixtures.sample_app import HOST_JSON, HostProcess, Journal, wait_for, write_app

NEVER = "0 0 0 1 1 *"
EVENT = {"topic": "t", "eventType": "Made", "eventTime": "2026-03-01T00:00:00Z", "dataVersion": "", "data": {}}
BY_NAME = "/runtime/webhooks/EventGrid?functionName="


class World:
    """An app of one's own: folder, queues, journal."""

    def __init__(self, folder: Path, connection: str) -> None:
        self.folder = write_app(folder / "app")
        self.journal = Journal(folder / "journal.jsonl")
        self.connection = connection
        self.name = f"q{uuid.uuid4().hex[:12]}"
        self.settings = {
            "DATA_STORAGE": connection, "QUEUE": self.name, "SCHEDULE": NEVER, "JOURNAL": str(self.journal.file),
        }  # fmt: skip

    def host(self, *options: str, **settings: str) -> HostProcess:
        return HostProcess(self.folder, {**self.settings, **settings}, *options)

    def queue(self, suffix: str = "") -> QueueClient:
        return QueueClient.from_connection_string(self.connection, self.name + suffix)

    def put(self, body: Mapping[str, Any] | str, suffix: str = "") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.put_raw(base64.b64encode(text.encode()).decode(), suffix)

    def put_raw(self, content: str, suffix: str = "") -> None:
        with self.queue(suffix) as queue:
            wait_for(lambda: _exists(queue))
            queue.send_message(content)

    def messages(self, suffix: str = "") -> list[str]:
        """Look at what is visible."""
        with self.queue(suffix) as queue:
            return [message.content for message in queue.peek_messages(32)] if _exists(queue) else []

    def left(self, suffix: str = "") -> int:
        """Count what is there, visible or not."""
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
    return World(tmp_path, azurite.connection)


class TestOneHost:
    """One host for all of these: they use different functions or different messages."""

    @pytest.fixture(scope="class")
    @staticmethod
    def world(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> World:
        return World(tmp_path_factory.mktemp("host"), azurite.connection)

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

    def test_one_failing_event_fails_the_delivery_with_its_message(self, host: HostProcess) -> None:
        events: list[Mapping[str, Any]] = [
            {"id": "d1", "subject": "s"},
            {"id": "d2", "subject": "s", "data": {"fail": "no such luck"}},
        ]
        status, text = self.notify(host, "on_event", *events)
        assert (status, "no such luck" in text) == (500, True)

    def test_exit_called_by_a_function_fails_that_call_alone(self, host: HostProcess) -> None:
        assert self.notify(host, "on_event", {"id": "e1", "subject": "s", "data": {"exit": 3}})[0] == 500
        assert self.notify(host, "on_event", {"id": "e2", "subject": "s"})[0] == 202

    def test_names_of_functions_are_found_whatever_their_case(self, host: HostProcess) -> None:
        assert self.notify(host, "ON_Event", {"id": "f1", "subject": "s"})[0] == 202

    @pytest.mark.parametrize("function", ["absent", "take", ""])
    def test_an_event_for_no_event_grid_function_is_404(self, host: HostProcess, function: str) -> None:
        assert self.notify(host, function, {"id": "g", "subject": "s"})[0] == 404

    @pytest.mark.parametrize("kind", ["", "Something"])
    def test_an_unknown_kind_of_event_call_is_400(self, host: HostProcess, kind: str) -> None:
        assert self.notify(host, "on_event", {"id": "h", "subject": "s"}, aeg_event_type=kind)[0] == 400

    @pytest.mark.parametrize("body", [b"", b"{", b"null", b"[1]", b"[" * 20_000])
    def test_what_is_no_event_is_400(self, host: HostProcess, body: bytes) -> None:
        assert host.call(BY_NAME + "on_event", body, aeg_event_type="Notification")[0] == 400

    def test_a_single_event_need_not_be_in_a_list(self, world: World, host: HostProcess) -> None:
        body = json.dumps({**EVENT, "id": "i1", "subject": "s"}).encode()
        assert host.call(BY_NAME + "on_event", body, aeg_event_type="Notification")[0] == 202
        assert len(world.journal.notes("on_event", id="i1")) == 1

    def test_a_subscription_is_validated_by_its_code(self, host: HostProcess) -> None:
        validation = {"id": "j", "subject": "", "data": {"validationCode": "512d38b6"}}
        status, text = self.notify(host, "on_event", validation, aeg_event_type="SubscriptionValidation")
        assert (status, json.loads(text)) == (200, {"validationResponse": "512d38b6"})
        assert self.notify(host, "on_event", {"id": "k"}, aeg_event_type="SubscriptionValidation")[0] == 400

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
    def test_whoever_has_a_name_of_their_own_point_here_is_refused(self, host: HostProcess, path: str) -> None:
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

    def test_nobody_but_this_machine_can_call(self, host: HostProcess) -> None:
        port = int(host.url.rpartition(":")[2])
        # Loopback is more than one address: a host that listened everywhere would answer here as well.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)

    def test_an_http_function_that_fails_tells_callers_nothing(self, host: HostProcess) -> None:
        assert host.call("/api/things/box?fail=1") == (500, "")
        assert host.call("/api/absent")[0] == 404

    def test_a_message_runs_once_with_a_trace_of_its_own_and_is_deleted(self, world: World, host: HostProcess) -> None:
        del host
        world.put({"name": "plain"})
        wait_for(lambda: world.journal.notes("take", name="plain", phase="end"))
        [note] = world.journal.notes("take", name="plain", phase="start")
        version, trace, span, flags = note["trace"].split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
        assert note["tries"] == 1

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
        world.put_raw("not base64!", "-copy")
        assert wait_for(lambda: world.messages("-copy-poison")) == ["not base64!"]


def _admin(text: str | None) -> bytes:
    return json.dumps({"input": text}).encode()


def test_a_function_that_is_switched_off_is_run_by_its_name_alone(world: World) -> None:
    """Its trigger takes no message, event, tick or request; others are not affected."""
    names = ("take", "on_event", "tick", "thing")
    off = {f"AzureWebJobs.{name}.Disabled": "true" for name in names}
    with world.host(SCHEDULE="* * * * * *", **off) as host:
        for name in names:
            assert f"Function 'Functions.{name}' is disabled" in host.said() or name in ("on_event", "thing")
            assert json.loads(host.call(f"/admin/functions/{name}")[1])["isDisabled"] is True
        assert json.loads(host.call("/admin/functions/copy")[1])["isDisabled"] is False
        assert TestOneHost.notify(host, "on_event", {"id": "o", "subject": "s"})[0] == 404
        assert TestOneHost.notify(host, "on_event_async", {"id": "p", "subject": "s"})[0] == 202
        assert host.call("/api/things/one/two")[0] == 404
        with world.queue() as queue, suppress(ResourceExistsError):
            queue.create_queue()
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
    with world.host("--lease", "2") as one, world.host("--lease", "2") as two:
        world.put({"name": "long", "seconds": 5})
        wait_for(lambda: world.journal.notes("take", name="long", phase="end"))
        wait_for(lambda: world.left() == 0)
        assert {one.process.poll(), two.process.poll()} == {None}
    assert len(world.journal.notes("take", name="long", phase="start")) == 1


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
        wait_for(lambda: world.journal.notes("take", name="survivor", phase="start"))
        first.kill()
    (world.folder / "go").touch()
    with world.host("--lease", "2"):
        [note] = wait_for(lambda: world.journal.notes("take", name="survivor", phase="end"))
        assert note["tries"] == 2
        wait_for(lambda: world.left() == 0)


def test_a_message_that_kills_its_hosts_ends_in_the_poison_queue_unrun(world: World) -> None:
    with world.queue() as queue:
        queue.create_queue()
        world.put({"name": "killer"})
        for _ in range(HOST_JSON["extensions"]["queues"]["maxDequeueCount"]):
            wait_for(lambda: list(queue.receive_messages(max_messages=1, visibility_timeout=1)))
    with world.host():
        wait_for(lambda: world.messages("-poison"))
    assert not world.journal.notes("take")
    assert world.left() == 0


def test_a_host_waits_for_storage_that_is_away_for_a_while(tmp_path: Path) -> None:
    with run_azurite(tmp_path / "azurite") as storage:
        world = World(tmp_path, storage.connection)
        with world.host() as host:
            world.put({"name": "before"})
            wait_for(lambda: world.journal.notes("take", name="before", phase="end"))
            storage.stop()
            wait_for(lambda: f"name={world.name} out of reach" in host.said())
            storage.start()
            world.put({"name": "after"})
            wait_for(lambda: world.journal.notes("take", name="after", phase="end"))
            assert host.said().count(f"name={world.name} out of reach") == 1


def test_a_stopped_host_takes_nothing_new_and_lets_what_runs_end(world: World) -> None:
    with world.host() as host:
        world.put({"name": "running", "wait_for": str(world.folder / "go")})
        wait_for(lambda: world.journal.notes("take", name="running", phase="start"))
        host.process.terminate()
        wait_for(lambda: "Stopping" in host.said())
        world.put({"name": "late"})
        (world.folder / "go").touch()
        assert host.process.wait(20) == 0
    assert world.journal.notes("take", name="running", phase="end")
    assert not world.journal.notes("take", name="late")
    assert world.left() == 1


def test_a_stopped_host_does_not_wait_for_ever(world: World) -> None:
    with world.host("--grace", "0.5") as host:
        world.put({"name": "endless", "wait_for": str(world.folder / "never")})
        wait_for(lambda: world.journal.notes("take", name="endless", phase="start"))
        host.process.terminate()
        assert host.process.wait(20) == 0
        assert "cut off" in host.said()


def test_a_run_over_function_timeout_fails_and_ends_the_host(world: World) -> None:
    write_app(world.folder, host_json={**HOST_JSON, "functionTimeout": "00:00:01"})
    with world.host("--grace", "0.5") as host:
        world.put({"name": "endless", "wait_for": str(world.folder / "never")})
        assert host.process.wait(20) == 1
        assert "Timeout value of 0:00:01 exceeded" in host.said()
        assert "functionTimeout" in host.said().splitlines()[-1]


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ("", "no functions"),
        ("import not_there", "No module named 'not_there'"),
        ("raise SystemExit('settings')", "exit"),
        ("app = None", "Could not find top level function app"),
        ("@app.blob_trigger('b', path='x', connection='DATA_STORAGE')\ndef f(b: func.InputStream): ...", "blobTrigger"),
        ("@app.queue_trigger('m', queue_name='x', connection='NOWHERE')\ndef f(m: func.QueueMessage): ...", "NOWHERE"),
        ("@app.timer_trigger('t', schedule='soon')\ndef f(t: func.TimerRequest): ...", "soon"),
        ("@app.timer_trigger('t', schedule='%ABSENT%')\ndef f(t: func.TimerRequest): ...", "ABSENT"),
    ],
    ids=["empty", "import", "exit", "no app", "binding", "connection", "schedule", "setting"],
)
def test_an_app_that_cannot_run_ends_the_host_with_the_reason(world: World, function: str, named: str) -> None:
    write_app(world.folder, f"import azure.functions as func\napp = func.FunctionApp()\n{function}\n")
    with pytest.raises(AssertionError, match="the host ended with 1"), world.host() as host:
        raise TimeoutError(host.said())
    [log] = world.folder.glob("host-*.log")
    assert named in log.read_text()


def test_a_port_in_use_is_an_error_that_says_what_to_do(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(AssertionError, match=rf"(?s)ended with 1.*port {port}.*--port"), world.host("--port", port):
            pass


def test_a_timer_remembers_over_restarts_when_it_last_ran(world: World) -> None:
    every_minute = {"SCHEDULE": "0 * * * * *", "AzureWebJobsStorage": world.connection}
    with BlobServiceClient.from_connection_string(world.connection) as service:
        blob = service.get_blob_client("azure-webjobs-hosts", "timers/app/Host.Functions.tick/status")
        with world.host(**every_minute):
            saved = wait_for(lambda: blob.exists() and json.loads(blob.download_blob().readall()))
        assert not world.journal.notes("tick", past_due=True)
        long_ago = "2026-01-01T00:00:00+00:00"
        blob.upload_blob(json.dumps(dict.fromkeys(saved, long_ago)), overwrite=True)
    with world.host(**every_minute):
        wait_for(lambda: world.journal.notes("tick", phase="end"))
        assert world.journal.notes("tick", phase="start")[0]["past_due"] is True
