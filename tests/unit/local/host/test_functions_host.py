"""The parts of the functions host that need no storage and no network."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueMessage

from local.host.app import (
    HostError,
    SingletonOptions,
    add_local_settings,
    connection_string,
    is_disabled,
    load_app,
    parse_time_span,
    resolve,
    worker_count,
)
from local.host.bindings import checked, queue_name
from local.host.http_trigger import route_pattern
from local.host.intervals import Intervals
from local.host.model import Binding, Function
from local.host.outputs import message_bodies
from local.host.protos import TypedData
from local.host.queues import message_metadata


def app_folder(folder: Path, host: Any) -> Path:
    (folder / "function_app.py").touch()
    (folder / "host.json").write_text(json.dumps(host))
    return folder


def binding(kind: str, **options: str) -> Binding:
    return Binding(type=kind, name="it", options=options)


def test_host_json_sets_queues_timeout_and_prefix(tmp_path: Path) -> None:
    queues = {"batchSize": 1, "newBatchThreshold": 0, "maxPollingInterval": "00:00:02", "visibilityTimeout": "00:00:30"}
    host = {"functionTimeout": "01:02:03", "extensions": {"queues": queues, "http": {"routePrefix": ""}}}
    app = load_app(app_folder(tmp_path, host))
    assert app.function_timeout == timedelta(hours=1, minutes=2, seconds=3)
    assert app.route_prefix == ""
    assert (app.queues.batch_size, app.queues.new_batch_threshold) == (1, 0)
    assert app.queues.max_polling_interval == timedelta(seconds=2)
    assert app.queues.visibility_timeout == timedelta(seconds=30)


def test_an_empty_host_json_means_the_defaults_of_azure_functions(tmp_path: Path) -> None:
    app = load_app(app_folder(tmp_path, {}))
    assert app.route_prefix == "api"
    assert (app.queues.batch_size, app.queues.max_dequeue_count, app.queues.base64) == (16, 5, True)
    assert app.queues.visibility_timeout == timedelta(0)
    assert app.queues.max_polling_interval == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ([], "JSON object"),
        ({"functionTimeout": "soon"}, "'soon'"),
        ({"extensions": []}, "extensions"),
    ],
)
def test_a_wrong_host_json_is_named_with_what_is_wrong(tmp_path: Path, host: Any, named: str) -> None:
    with pytest.raises(HostError, match=named) as error:
        load_app(app_folder(tmp_path, host))
    assert "host.json" in str(error.value)


@pytest.mark.parametrize(
    ("queues", "named"),
    [
        ({"batchSize": 64}, "batchSize"),
        ({"batchSize": 0}, "batchSize"),
        ({"newBatchThreshold": -1}, "newBatchThreshold"),
        ({"maxPollingInterval": "00:00:00.05"}, "maxPollingInterval"),
        ({"maxDequeueCount": 0}, "maxDequeueCount"),
        ({"messageEncoding": "rot13"}, "messageEncoding"),
        ({"visibilityTimeout": "soon"}, "'soon'"),
        ({"batchSize": None}, "extensions.queues"),
        ([], "extensions.queues"),
    ],
)
def test_a_queue_option_out_of_range_is_a_problem_of_the_running_host(tmp_path: Path, queues: Any, named: str) -> None:
    assert named in str(load_app(app_folder(tmp_path, {"extensions": {"queues": queues}})).problem)


def test_host_json_sets_how_long_a_dead_host_keeps_its_timers(tmp_path: Path) -> None:
    assert load_app(app_folder(tmp_path, {})).singleton == SingletonOptions()
    singleton = {"listenerLockPeriod": "00:00:15", "listenerLockRecoveryPollingInterval": "00:00:20"}
    options = load_app(app_folder(tmp_path, {"singleton": singleton})).singleton
    assert (options.listener_lock_period, options.listener_lock_recovery) == (
        timedelta(seconds=15),
        timedelta(seconds=20),
    )


@pytest.mark.parametrize(
    "singleton",
    [
        {"listenerLockPeriod": "00:00:14"},
        {"listenerLockPeriod": "00:01:01"},
        {"listenerLockRecoveryPollingInterval": "00:00:14"},
        {"listenerLockPeriod": "soon"},
        [],
    ],
)
def test_a_lock_period_that_no_blob_lease_has_is_a_problem_of_the_running_host(tmp_path: Path, singleton: Any) -> None:
    assert "singleton of host.json" in str(load_app(app_folder(tmp_path, {"singleton": singleton})).problem)


def test_an_unknown_key_of_host_json_is_passed_over(tmp_path: Path) -> None:
    assert load_app(app_folder(tmp_path, {"extensions": {"queues": {"batchSizes": 64}}, "more": 1})).problem is None


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("00:00:02", timedelta(seconds=2)),
        ("1.02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("00:00:00.25", timedelta(milliseconds=250)),
        ("00:05", timedelta(minutes=5)),
    ],
)
def test_time_spans_are_read_as_dotnet_writes_them(text: str, span: timedelta) -> None:
    assert parse_time_span(text) == span


def test_local_settings_never_override_what_the_environment_says(tmp_path: Path) -> None:
    values = {"SET": "file", "EMPTY": "file", "ABSENT": "file"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    environ = {"SET": "environment", "EMPTY": ""}
    add_local_settings(tmp_path, environ)
    assert environ == {"SET": "environment", "EMPTY": "file", "ABSENT": "file"}


@pytest.mark.parametrize("content", ['{"IsEncrypted": true}', '{"Values": {"A": 1}}', "[]", "{"])
def test_unusable_local_settings_are_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "local.settings.json").write_text(content)
    with pytest.raises(HostError, match=r"local\.settings\.json"):
        add_local_settings(tmp_path, {})


def test_names_between_percent_signs_resolve_or_are_named() -> None:
    assert resolve("x-%A%-%B%", {"A": "1", "B": "2"}) == "x-1-2"
    with pytest.raises(HostError, match="POLL_SCHEDULE"):
        resolve("%POLL_SCHEDULE%", {"POLL_SCHEDULE": ""})


@pytest.mark.parametrize(
    ("setting", "value", "disabled"),
    [
        ("AzureWebJobs.take_it.Disabled", "true", True),
        ("azurewebjobs.TAKE_IT.disabled", "TRUE", True),
        ("AzureWebJobs.take_it.Disabled", "1", True),
        ("AzureWebJobs_take_it_Disabled", "1", True),
        *(("AzureWebJobs.take_it.Disabled", value, False) for value in ("", "0", "false", "yes", " true", "01")),
        ("AzureWebJobs.take.Disabled", "true", False),
        ("AzureWebJobs__take_it__Disabled", "true", False),
    ],
)
def test_a_function_is_switched_off_as_the_real_host_does(setting: str, value: str, disabled: bool) -> None:
    assert is_disabled("take_it", {setting: value}) is disabled


@pytest.mark.parametrize(
    ("name", "environ", "resolved"),
    [
        ("STORAGE", {"STORAGE": "own", "AzureWebJobsStorage": "host"}, "host"),
        ("STORAGE", {"STORAGE": "own"}, "own"),
        ("", {"AzureWebJobsStorage": "host", "Storage": "own"}, "host"),
        ("DATA_STORAGE", {"DATA_STORAGE": "own", "AzureWebJobsStorage": "host"}, "own"),
        ("DATA_STORAGE", {"DATA_STORAGE": "own", "AZUREWEBJOBSdata_storage": "twin"}, "twin"),
        ("data_storage", {"DATA_STORAGE": "own"}, "own"),
        ("DATA_STORAGE", {"DATA_STORAGE": "own", "ConnectionStrings__DATA_STORAGE": "listed"}, "listed"),
        (
            "DATA_STORAGE",
            {"ConnectionStrings__DATA_STORAGE": "listed", "AzureWebJobsDATA_STORAGE": "twin"},
            "twin",
        ),
        ("DATA_STORAGE", {"DATA_STORAGE": "own", "DATA_STORAGE__queueServiceUri": ""}, "own"),
    ],
)
def test_a_connection_resolves_as_in_the_real_host(name: str, environ: dict[str, str], resolved: str) -> None:
    assert connection_string(name, environ) == resolved


@pytest.mark.parametrize("twin", ["AzureWebJobsDATA_STORAGE", "azurewebjobsdata_storage__queueServiceUri"])
def test_a_prefixed_twin_counts_even_if_it_is_empty_or_has_only_children(twin: str) -> None:
    with pytest.raises(HostError, match="AzureWebJobsDATA_STORAGE, which holds no connection string"):
        connection_string("DATA_STORAGE", {"DATA_STORAGE": "own", twin: ""})


def test_azurite_may_be_named_in_short_and_a_missing_connection_is_named() -> None:
    assert "127.0.0.1:10001" in connection_string("", {"AzureWebJobsStorage": "UseDevelopmentStorage=true"})
    with pytest.raises(HostError, match="DATA_STORAGE"):
        connection_string("DATA_STORAGE", {})


def test_bindings_are_resolved_and_a_function_that_cannot_run_is_marked_with_the_reason() -> None:
    trigger = binding("queueTrigger", queueName="%QUEUE%")
    known = checked(Function(name="takes", trigger=trigger), {"QUEUE": "work"})
    assert (known.trigger.options["queueName"], known.problem, known.runs) == ("work", None, True)
    unknown = checked(Function(name="takes", trigger=trigger, outputs=(binding("cosmosDB"),)), {"QUEUE": "work"})
    assert re.search(r"cosmosDB.*func start", str(unknown.problem))
    unresolved = checked(Function(name="takes", trigger=trigger), {})
    assert "'%QUEUE%' does not resolve" in str(unresolved.problem)
    assert not unresolved.runs


def test_there_are_one_to_ten_worker_processes() -> None:
    counts = [worker_count({"FUNCTIONS_WORKER_PROCESS_COUNT": text}) for text in ("", "0", "-1", "3", "10")]
    assert counts == [1, 1, 1, 3, 10]
    for wrong in ("11", "two"):
        with pytest.raises(HostError, match=f"must be 1 to 10, not {wrong}"):
            worker_count({"FUNCTIONS_WORKER_PROCESS_COUNT": wrong})


def test_a_queue_name_is_made_lower_case_and_a_wrong_one_is_refused() -> None:
    assert queue_name(binding("queueTrigger", queueName="Work-2")) == "work-2"
    for wrong in ("a_b", "ab", "a--b", "-ab", "ab-", "a" * 64, ""):
        with pytest.raises(HostError, match="name of a queue"):
            queue_name(binding("queueTrigger", queueName=wrong))


def test_a_function_that_a_setting_switches_off_is_marked() -> None:
    function = Function(name="takes", trigger=binding("queueTrigger", queueName="q"))
    assert checked(function, {"AzureWebJobs.takes.Disabled": "true"}).disabled
    assert not checked(function, {}).disabled


@pytest.mark.parametrize(
    ("prefix", "route", "path", "values"),
    [
        ("api", "status", "/api/status", {}),
        ("api", "status", "/API/Status/", {}),
        ("", "a/{b}", "/a/Box", {"b": "Box"}),
        ("", "a/{b}", "/a/x/y", None),
        ("api", "a/{b:int}/c", "/api/a/-7/c", {"b": "-7"}),
        ("api", "a/{b:int}/c", "/api/a/x/c", None),
        ("api", "a/{b?}", "/api/a", {"b": None}),
        ("api", "a/{b?}", "/api/a/x", {"b": "x"}),
        ("api", "{*rest}", "/api/x/y", {"rest": "x/y"}),
        ("api", "a.b", "/api/axb", None),
    ],
)
def test_routes_of_asp_net_are_understood(prefix: str, route: str, path: str, values: Any) -> None:
    match = route_pattern(prefix, route).fullmatch(path)
    assert (match.groupdict() if match else None) == values


def test_an_unknown_route_constraint_is_refused() -> None:
    with pytest.raises(HostError, match="weekday"):
        route_pattern("api", "a/{b:weekday}")


def test_intervals_are_scaled_by_one_factor_as_far_as_blob_leases_follow() -> None:
    quick = Intervals().scaled(4)
    assert (quick.message_lease, quick.timer_lease, quick.storage_patience) == (150, 15, 6.25)
    for factor in (0.5, 5):
        with pytest.raises(ValueError, match="1 to 4"):
            Intervals().scaled(factor)
    assert Intervals(timer_lease=15, timer_retry=20).scaled(4) == replace(quick, timer_lease=15, timer_retry=5)


def message() -> QueueMessage:
    made = QueueMessage()
    made.id, made.pop_receipt, made.dequeue_count = "real-id", "receipt", 2
    made.inserted_on = made.expires_on = made.next_visible_on = datetime(2026, 3, 1, tzinfo=UTC)
    return made


def test_members_of_a_json_body_override_message_metadata_whatever_their_case() -> None:
    metadata = message_metadata(message(), '{"ID": "mine", "dequeueCount": 7, "flag": true, "none": null, "list": [1]}')
    assert metadata["Id"] == TypedData(string="mine")
    assert metadata["DequeueCount"] == TypedData(string="7")
    assert metadata["flag"] == TypedData(string="True")
    assert not {"ID", "none", "list"} & metadata.keys()


@pytest.mark.parametrize(
    "body", ["plain", '["id"]', '"id"', "", "[" * 20_000], ids=["text", "list", "string", "empty", "deep"]
)
def test_a_body_that_is_no_json_object_leaves_the_metadata_alone(body: str) -> None:
    metadata = message_metadata(message(), body)
    assert metadata["Id"] == TypedData(string="real-id")
    assert metadata["QueueTrigger"] == TypedData(string=body)


@pytest.mark.parametrize(
    ("data", "bodies"),
    [
        (TypedData(string="one"), [b"one"]),
        (TypedData(bytes=b"\xff"), [b"\xff"]),
        (TypedData(json='["one", "two"]'), [b"one", b"two"]),
        (TypedData(json='{"id": null, "body": "one"}'), [b"one"]),
        (TypedData(json='[{"id": null, "body": "one"}, "two"]'), [b"one", b"two"]),
    ],
)
def test_an_output_is_one_message_or_a_list_of_them(data: TypedData, bodies: list[bytes]) -> None:
    assert message_bodies(data) == bodies
