"""The deploy script, with replacements of az and func that answer like the real ones."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imagefeed.layout import RAW_CONTAINER, STATE_CONTAINER, run_blob
from local.servers.needed import need
from tests.fixtures import func_answers as func
from tests.fixtures.azure_answers import (
    ACCOUNT,
    CLOSED,
    DATA,
    MAY_NOT_READ,
    MAY_NOT_REGISTER,
    NO_BLOB,
    NOT_FOUND,
    ONE_TOPIC,
    blob,
    deployment,
    event_subscription,
    group,
    identity,
    keys,
    lock,
    provider,
    secrets,
    settings,
    site,
    topic,
)
from tests.fixtures.azure_answers import functions as listed
from tests.fixtures.fake_programs import Ended, commands, parse
from tests.fixtures.fake_tools import PROJECT, Answer, Tools, refused
from tests.fixtures.functions import functions
from tests.tools.bicep import compiler

SCRIPT = PROJECT / "infra" / "deploy.sh"
FUNCTIONS = [str(function.get_function_name()) for function in functions()]
OUTPUTS: Mapping[str, Any] = {
    "functionAppName": "images-abc", "functionAppHostName": "images-abc.azurewebsites.net",
    "dataAccountName": "imagesdataabcdefgh", "hostAccountName": "imageshostabcdefgh", "keyVaultName": "images-kv",
    "secretNames": ["radar-password"], "topicName": "images-events", "topicGroup": "g",
    "topicPrincipalId": "1111-topic", "insightsName": "images", "outboundAddress": "", "dataAccountLock": "",
}  # fmt: skip
EXISTING: Mapping[str, Any] = {"topicName": "theirs", "topicGroup": "hub", "topicPrincipalId": ""}
BEFORE, AFTER = "2026-11-28T17:00:00+00:00", "2026-11-28T17:00:01+00:00"
"""A deployment of the events that ended between them, in the second of the first."""
GROUP_EXISTS, MAIN, EVENTS = (
    "group exists",
    "deployment group create --name main",
    "deployment group create --name events",
)
SHOW_OUTPUTS, PARAMETERS, LIST, APP = (
    "deployment group show",
    "bicep build-params",
    "functionapp function list",
    "functionapp show",
)
STATE, TOPIC = "eventgrid system-topic event-subscription show", "eventgrid system-topic show"
RUN, SETTINGS, SECRETS = "storage blob show", "functionapp config appsettings list", "keyvault secret list"
TOKEN, KEYS = "account get-access-token", "functionapp keys list"
PROVIDER, REGISTER, LOCKS, TAGS = "provider show", "provider register", "lock list", "group show"
PUBLISH, DEPLOY, RESTART = "func azure functionapp publish", "az deployment group create", "az functionapp restart"
SMOKE = "python -m ops.cli doctor --app images-abc --smoke"


@pytest.fixture
def parameters(tmp_path: Path) -> str:
    file = tmp_path / "mine.bicepparam"
    file.write_text("using './main.bicep'\nparam sourceSettings = {}\n")
    return str(file)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """A subscription in which everything works."""
    az: dict[str, list[Answer]] = {
        "account show": [ACCOUNT],
        GROUP_EXISTS: [False],
        PARAMETERS: [{"sourceSettings": {}}],
        MAIN: [deployment("main", OUTPUTS)],
        EVENTS: [deployment("events")],
        SHOW_OUTPUTS: [deployment("main", OUTPUTS)],
        LIST: [listed(*FUNCTIONS)],
        KEYS: [keys("s3cret-master")],
        APP: [site()],
        STATE: [event_subscription()],
        SECRETS: [secrets("radar-password", "other")],
        SETTINGS: [settings({"POLL_SCHEDULE": "*/30 * * * * *", "RECONCILE_SCHEDULE": "0 */5 * * * *"})],
        RUN: [blob("runs/reconcile.json", AFTER)],
        TAGS: [group(**{"made-by": "infra/deploy.sh"})],
        LOCKS: [[]],
    }
    return Tools(tmp_path / "tools", dict(az), func=[func.PUBLISHED], pages={"/status": "{}"})


def steps(tools: Tools) -> list[str]:
    """Return the calls that change something."""
    changing = r"func |az (group (create|delete)|deployment group create|keyvault secret set|functionapp restart|provider register|lock delete|eventgrid .* delete)"  # noqa: E501
    return [call for call in tools.calls if re.match(changing, call)]


def deployed(tools: Tools, **changed: Any) -> None:
    """Replace the outputs of main.bicep."""
    tools.az[SHOW_OUTPUTS] = [deployment("main", {**OUTPUTS, **changed})]


def test_the_whole_way(tools: Tools, parameters: str) -> None:
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 0, done.stdout + done.stderr
    begun = ("az group create", DEPLOY, "func", "python -m")
    assert [call.split(" --")[0] for call in tools.calls if call.startswith(begun)] == [
        "az group create",
        DEPLOY,
        "func azure functionapp publish images-abc",
        DEPLOY,
        "python -m ops.cli doctor",
    ]
    first, second = [call for call in tools.calls if call.startswith(DEPLOY)]
    assert f"--parameters {parameters}" in first
    assert "--template-file infra/events.bicep" in second
    for given in (
        "functionAppName=images-abc",
        "dataAccountName=imagesdataabcdefgh",
        "topicName=images-events",
        "topicGroup=g",
        "topicPrincipalId=1111-topic",
    ):
        assert f" {given}" in second
    for name in FUNCTIONS:
        assert f"ok          function {name}" in done.stdout
    for looked in (
        "app images-abc is running",
        "answers (200)",
        "are announced",
        "timers run",
        "an archive comes through",
    ):
        assert re.search(rf"ok .*{re.escape(looked)}", done.stdout), looked
    assert not re.search("WRONG|unknown|warning", done.stdout)
    assert "ops.cli doctor --app images-abc" in done.stdout


def test_tokens_are_taken_while_a_pipelines_login_still_gives_them(tools: Tools, parameters: str) -> None:
    assert tools.run("g", "westeurope", parameters).returncode == 0
    asked = [call for call in tools.calls if call.startswith(f"az {TOKEN}")]
    taken = [re.findall(r"--resource (\S+)", call)[0] for call in asked]
    assert taken == ["https://storage.azure.com", "https://vault.azure.net"]
    assert tools.calls.index(steps(tools)[0]) > tools.calls.index(asked[-1])


def test_without_a_token_nothing_is_begun(tools: Tools, parameters: str) -> None:
    tools.az[f"{TOKEN} --resource https://vault.azure.net"] = [refused(1, "ERROR: AADSTS50076: use multi-factor")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "az login --scope https://vault.azure.net/.default" in done.stderr
    assert not steps(tools)


def test_the_second_run_makes_no_second_group(tools: Tools, parameters: str) -> None:
    tools.az[GROUP_EXISTS] = [True]
    assert tools.run("g", "westeurope", parameters).returncode == 0
    # `az group create` for an existing group would remove its tags.
    assert tools.count("az group create") == 0
    assert tools.count(DEPLOY) == 2


def test_outputs_that_a_deployment_does_not_have_are_empty(tools: Tools, parameters: str) -> None:
    """az writes null within a list as `None`."""
    without = {"topicPrincipalId", "outboundAddress", "dataAccountLock"}
    tools.az[SHOW_OUTPUTS] = [
        deployment("main", {name: value for name, value in OUTPUTS.items() if name not in without})
    ]
    tools.az[TOPIC] = [topic(None)]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 0, done.stderr
    assert "None" not in done.stdout
    assert any(call.endswith(" topicPrincipalId=") for call in tools.calls)


def test_who_is_not_logged_in_is_told_so_and_nothing_is_changed(tools: Tools, parameters: str) -> None:
    tools.az["account show"] = [refused(1, "ERROR: Please run 'az login' to setup account.")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "az login" in done.stderr
    assert tools.calls == ["az account show --query name --output tsv"]


@pytest.mark.parametrize("name", ["az", "func"])
def test_a_tool_that_is_missing_is_named_with_where_to_get_it(tools: Tools, parameters: str, name: str) -> None:
    tools.remove(name)
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert re.search(rf"error: {name} is missing.*\n.*https://", done.stderr)
    assert not steps(tools)


def test_code_that_does_not_load_is_not_sent(tools: Tools, parameters: str) -> None:
    tools.code = Ended(1, err="ModuleNotFoundError: No module named 'nosuch'\n")
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "No module named 'nosuch'" in done.stderr
    assert "the code fails to load" in done.stderr
    assert not steps(tools)


def test_resources_that_cannot_be_made_stop_it(tools: Tools, parameters: str) -> None:
    tools.az |= {MAIN: [refused(1, "ERROR: quota exceeded")], "eventgrid system-topic list": [[]]}
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "quota exceeded" in done.stderr
    assert "existingTopic" not in done.stdout
    assert tools.count("func") == 0


class TestNetwork:
    """An app's subnet is delegated to Microsoft.App, whose provider no deployment registers by itself."""

    @pytest.mark.parametrize("asked", ["fixedOutboundAddress", "privateEndpoints"])
    def test_its_provider_is_registered_before_anything_is_made(
        self, tools: Tools, parameters: str, asked: str
    ) -> None:
        tools.az |= {PARAMETERS: [{"fixedOutboundAddress": False, "privateEndpoints": False, asked: True}]}
        tools.az |= {PROVIDER: [provider("NotRegistered")]}
        assert tools.run("g", "westeurope", parameters).returncode == 0
        assert steps(tools)[0] == "az provider register --namespace Microsoft.App --wait --output none"

    def test_one_that_is_registered_is_left_alone(self, tools: Tools, parameters: str) -> None:
        tools.az |= {PARAMETERS: [{"privateEndpoints": True}], PROVIDER: [provider("Registered")]}
        assert tools.run("g", "westeurope", parameters).returncode == 0
        assert tools.count("az provider register") == 0

    @pytest.mark.parametrize("given", [{}, {"fixedOutboundAddress": False, "privateEndpoints": False}])
    def test_without_a_network_nothing_is_asked(self, tools: Tools, parameters: str, given: Mapping[str, bool]) -> None:
        tools.az[PARAMETERS] = [given]
        assert tools.run("g", "westeurope", parameters).returncode == 0
        assert tools.count("az provider") == 0

    def test_who_may_not_register_it_is_told_who_may(self, tools: Tools, parameters: str) -> None:
        tools.az |= {PARAMETERS: [{"privateEndpoints": True}], PROVIDER: [provider("NotRegistered")]}
        tools.az |= {REGISTER: [refused(1, MAY_NOT_REGISTER)]}
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert "type, once: az provider register --namespace Microsoft.App" in done.stderr
        assert tools.count("az group create") == 0

    def test_where_it_cannot_be_read_the_deployment_goes_on(self, tools: Tools, parameters: str) -> None:
        tools.az |= {PARAMETERS: [{"privateEndpoints": True}], PROVIDER: [refused(1, MAY_NOT_REGISTER)]}
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert re.search("warning .*Microsoft.App .*cannot be read", done.stdout)

    def test_parameters_that_do_not_compile_stop_it(self, tools: Tools, parameters: str) -> None:
        tools.az[PARAMETERS] = [
            refused(1, "ERROR: mine.bicepparam(1,7) : Error BCP258: The following parameters are declared")
        ]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert "BCP258" in done.stderr
        assert "cannot be compiled" in done.stderr
        assert not steps(tools)

    def test_a_value_from_a_variable_or_the_environment_counts(self, tools: Tools, tmp_path: Path) -> None:
        """The real compiler's own answer."""
        (tmp_path / "main.bicep").write_text("param fixedOutboundAddress bool = false\nparam text string\n")
        file = tmp_path / "mine.bicepparam"
        file.write_text(
            "using './main.bicep'\nvar closed = true\nparam text = 'a \"privateEndpoints\": {\\n \"value\": true'\n"
            "param fixedOutboundAddress = closed && bool(readEnvironmentVariable('NOT_SET_ANYWHERE', 'FLAG'))\n"
        )
        source = file.read_text()
        for flag, asked in (("true", 1), ("false", 0)):
            file.write_text(source.replace("FLAG", flag))
            done = subprocess.run(
                [compiler(), "build-params", file, "--stdout"], capture_output=True, text=True, check=True
            )
            tools.az |= {PARAMETERS: [done.stdout], PROVIDER: [provider("Registered")]}
            assert tools.run("g", "westeurope", str(file)).returncode == 0
            assert tools.count("az provider show") == asked, done.stdout


class TestPublishing:
    """Roles and the endpoint of a new app take minutes; a build that failed fails again."""

    @pytest.mark.parametrize(
        "answer",
        [
            func.NOT_LISTED,
            func.STORAGE_REFUSED,
            func.ANOTHER_RUNS,
            func.NO_STATUS,
            func.upload_refused("Unauthorized"),
            func.upload_refused("Forbidden"),
            func.upload_refused("ServiceUnavailable"),
            Ended(1, "", "Unable to connect to the Azure Function App."),
        ],
    )
    def test_what_may_pass_is_tried_as_long_as_the_rest(self, tools: Tools, parameters: str, answer: Ended) -> None:
        tools.func = [*[answer] * 14, func.PUBLISHED]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stdout
        assert tools.count(PUBLISH) == 15

    def test_it_is_given_up_in_the_end(self, tools: Tools, parameters: str) -> None:
        tools.func = [func.upload_refused("ServiceUnavailable")]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert "publishing failed 15 times" in done.stderr
        assert "ServiceUnavailable" in done.stderr
        assert tools.count(f"az {EVENTS}") == 0

    @pytest.mark.parametrize("answer", [func.BUILD_FAILED, func.UNSUPPORTED, Ended(1, "", "Remote build failed!\n")])
    def test_a_build_that_failed_stops_it_at_once(self, tools: Tools, parameters: str, answer: Ended) -> None:
        tools.func = [answer, func.PUBLISHED]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert tools.count(PUBLISH) == 1
        assert "could not be built in Azure" in done.stderr
        assert answer.err in done.stderr
        assert answer.out in done.stderr

    def test_a_host_that_is_slow_to_come_up_is_not_published_again(self, tools: Tools, parameters: str) -> None:
        tools.func = [func.UNHEALTHY]
        assert tools.run("g", "westeurope", parameters).returncode == 0
        assert tools.count(PUBLISH) == 1

    def test_it_waits_for_the_function_before_it_subscribes(self, tools: Tools, parameters: str) -> None:
        tools.az[LIST] = [
            [],
            refused(1, "ERROR: Operation returned an invalid status 'Bad Gateway'"),
            listed("poll_sources"),
            listed(*FUNCTIONS),
        ]
        assert tools.run("g", "westeurope", parameters).returncode == 0
        before = tools.calls[: next(i for i, call in enumerate(tools.calls) if "--name events" in call)]
        assert sum(call.startswith(f"az {LIST}") for call in before) == 4

    def test_code_that_does_not_load_is_told(self, tools: Tools, parameters: str) -> None:
        tools.az[LIST] = [[]]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert "the code may not load" in done.stderr


class TestEvents:
    """The subscription, and the topic that it is for."""

    def test_it_is_tried_until_event_grid_knows_the_function(self, tools: Tools, parameters: str) -> None:
        unknown = refused(1, "ERROR: Destination endpoint not found.")
        tools.az[EVENTS] = [unknown, unknown, deployment("events")]
        tools.az[STATE] = [refused(3, NOT_FOUND), event_subscription(provisioningState="Failed"), event_subscription()]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stderr
        assert tools.count(f"az {EVENTS.removesuffix(' --name events')} --resource-group g --name events") == 3
        # A failed one is deleted; one that works never is.
        assert tools.count("az eventgrid system-topic event-subscription delete") == 1

    def test_one_that_never_comes_is_told(self, tools: Tools, parameters: str) -> None:
        tools.az[EVENTS] = [refused(1, "ERROR: Destination endpoint not found.")]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert "the event subscription failed 15 times" in done.stderr
        assert "Destination endpoint not found" in done.stderr

    @pytest.mark.parametrize("kind", ["SystemAssigned", "SystemAssigned, UserAssigned"])
    def test_dead_letters_are_written_as_the_identity_of_an_existing_topic(
        self, tools: Tools, parameters: str, kind: str
    ) -> None:
        deployed(tools, **EXISTING)
        tools.az[TOPIC] = [topic(identity(kind, "2222-theirs"), name="theirs", where="hub")]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stderr
        (subscribed,) = [call for call in tools.calls if "--name events" in call]
        assert "topicName=theirs topicGroup=hub topicPrincipalId=2222-theirs" in subscribed
        assert "--resource-group g " in subscribed, "the deployment itself is in our group"
        assert all("--resource-group hub --system-topic-name theirs" in call for call in tools.calls if STATE in call)
        assert "warning" not in done.stdout

    @pytest.mark.parametrize("of", [None, identity("None")])
    def test_a_topic_without_an_identity_is_told_with_the_line_that_gives_one(
        self, tools: Tools, parameters: str, of: Any
    ) -> None:
        deployed(tools, **EXISTING)
        tools.az |= {
            TOPIC: [topic(of, name="theirs", where="hub")],
            STATE: [event_subscription(deadLetterWithResourceIdentity=None)],
        }
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stderr
        assert (
            "az eventgrid system-topic update --resource-group hub --name theirs --identity systemassigned"
            in done.stdout
        )
        assert re.search("warning .*dead letters stay off", done.stdout)
        assert any(call.endswith("topicPrincipalId=") for call in tools.calls)

    def test_other_identities_of_a_topic_are_not_taken_away(self, tools: Tools, parameters: str) -> None:
        """`az eventgrid system-topic update --identity systemassigned` sets the kind, and so drops the others."""
        deployed(tools, **EXISTING)
        tools.az[TOPIC] = [topic(identity("UserAssigned"), name="theirs", where="hub")]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert "in the portal" in done.stdout
        assert "--identity systemassigned" not in done.stdout

    def test_a_topic_that_cannot_be_looked_at_is_told(self, tools: Tools, parameters: str) -> None:
        deployed(tools, **EXISTING)
        tools.az[TOPIC] = [refused(1, "ERROR: (AuthorizationFailed) The client has no authorization")]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert re.search("warning .*cannot be looked at", done.stdout)

    def test_an_account_that_has_a_topic_is_told_with_the_parameters(self, tools: Tools, parameters: str) -> None:
        mine = DATA.replace("Microsoft.Storage/storageAccounts", "microsoft.storage/storageaccounts")
        others = [
            topic(None, source=mine, name="defender", where="hub"),
            topic(None, source=mine.replace("/g/", "/else/"), name="of-another-group"),
            topic(None, source=mine.replace("data", "host"), name="of-the-hosts-account"),
            topic(None, source=mine),
        ]
        tools.az |= {MAIN: [refused(1, ONE_TOPIC)], "eventgrid system-topic list": [others]}
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert re.findall("param existingTopic.*", done.stdout) == [
            "param existingTopicName = 'defender'",
            "param existingTopicGroup = 'hub'",
        ]

    def test_that_is_not_told_to_who_has_set_them(self, tools: Tools, parameters: str) -> None:
        tools.az |= {PARAMETERS: [{"existingTopicName": "defender"}], MAIN: [refused(1, "ERROR: quota exceeded")]}
        assert tools.run("g", "westeurope", parameters).returncode == 1
        assert tools.count("az eventgrid") == 0


class TestTimers:
    """Timers are known to stop after publishing, so the script waits for a run of reconcile that is newer."""

    def test_an_older_run_does_not_count(self, tools: Tools, parameters: str) -> None:
        tools.az[RUN] = [refused(3, NO_BLOB), blob("r", BEFORE), blob("r", AFTER)]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert tools.count(f"az {RUN}") == 3
        assert tools.count(RESTART) == 0

    def test_the_app_is_restarted_once_where_none_comes(self, tools: Tools, parameters: str) -> None:
        tools.az[RUN] = [*[blob("r", BEFORE)] * 31, blob("r", AFTER)]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stdout
        assert tools.count(RESTART) == 1
        assert re.search("ok .*timers run", done.stdout)

    @pytest.mark.parametrize(
        ("schedule", "tries"), [("0 */5 * * * *", 30), ("*/10 * * * * *", 15), ("0 30 * * * *", 195)]
    )
    def test_where_none_comes_at_all_it_is_wrong(
        self, tools: Tools, parameters: str, schedule: str, tries: int
    ) -> None:
        """The script waits for its schedule and five minutes, twice."""
        tools.az |= {RUN: [refused(3, NO_BLOB)], SETTINGS: [settings({"RECONCILE_SCHEDULE": schedule})]}
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 1
        assert re.search("WRONG .*the timers of images-abc have stopped", done.stdout)
        assert tools.count(RESTART) == 1
        assert tools.count(f"az {RUN}") == 2 * tries
        assert tools.count(SMOKE) == 1, "the other looks are taken all the same"

    @pytest.mark.parametrize("why", [MAY_NOT_READ, CLOSED])
    def test_who_may_not_read_the_account_is_told_that_it_was_not_looked_at(
        self, tools: Tools, parameters: str, why: str
    ) -> None:
        tools.az[RUN] = [refused(1, why)]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert re.search("unknown .*timers.*operatorIds", done.stdout)
        assert why.splitlines()[1] in done.stderr
        assert tools.count(RESTART) == 0
        assert "ok          timers" not in done.stdout

    def test_a_role_that_is_new_is_waited_for(self, tools: Tools, parameters: str) -> None:
        tools.az[RUN] = [*[refused(1, MAY_NOT_READ)] * 10, blob("r", AFTER)]
        assert re.search("ok .*timers run", tools.run("g", "westeurope", parameters).stdout)

    @pytest.mark.parametrize(
        "values", [{}, {"RECONCILE_SCHEDULE": "0 0 4 * * *"}, {"RECONCILE_SCHEDULE": "0 0 4 * * 1"}]
    )
    def test_nobody_waits_for_hours(self, tools: Tools, parameters: str, values: Mapping[str, str]) -> None:
        tools.az[SETTINGS] = [settings(values)]
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0
        assert re.search("unknown .*timers.*RECONCILE_SCHEDULE", done.stdout)
        assert tools.count(f"az {RUN}") == 0

    def test_the_mark_of_a_run_is_read_where_it_lies(self, tools: Tools, parameters: str) -> None:
        tools.run("g", "westeurope", parameters)
        (call,) = [call for call in tools.calls if call.startswith(f"az {RUN}")]
        assert f"--container-name {STATE_CONTAINER} --name {run_blob('reconcile')} --auth-mode login" in call
        assert "--account-name imagesdataabcdefgh" in call


class TestSmoke:
    """An archive that is sent through."""

    def test_the_command_runs_it_alone(self, tools: Tools) -> None:
        done = tools.run("--smoke", "g")
        assert done.returncode == 0, done.stderr
        assert tools.calls[-1] == SMOKE
        assert not steps(tools)
        assert re.search("ok .*an archive comes through", done.stdout)

    @pytest.mark.parametrize("status", [1, 2])
    def test_one_that_fails_is_wrong(self, tools: Tools, parameters: str, status: int) -> None:
        tools.python = [Ended(status, "WRONG smoke nothing was read\n", "doctor: no")]
        for arguments in (("--smoke", "g"), ("g", "westeurope", parameters)):
            done = tools.run(*arguments)
            assert done.returncode == 1
            assert "nothing was read" in done.stdout
            assert re.search("WRONG .*--smoke g", done.stdout)

    def test_without_the_projects_python_it_is_not_looked_at(self, tools: Tools, parameters: str) -> None:
        tools.python_program.unlink()
        done = tools.run("g", "westeurope", parameters)
        assert done.returncode == 0, done.stderr
        assert len(re.findall("unknown .*type: make setup", done.stdout)) == 2
        assert not re.search("ok .*(archive comes|timers)", done.stdout)

    def test_alone_that_is_no_success(self, tools: Tools) -> None:
        tools.python_program.unlink()
        done = tools.run("--smoke", "g")
        assert done.returncode == 1
        assert re.search("unknown .*type: make setup", done.stdout)


def test_a_first_deployment_does_not_wait_for_an_app_without_its_secrets(tools: Tools, parameters: str) -> None:
    tools.az[SECRETS] = [secrets()]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "WRONG       secret radar-password is missing: infra/deploy.sh --secret g radar-password" in done.stdout
    assert re.search("unknown .*needs its secrets first; then type: infra/deploy.sh --smoke g", done.stdout)
    assert not [call for call in tools.calls if call.startswith((SMOKE, RESTART, f"az {RUN}"))]


class TestCheck:
    """The check reports running and stopped functions."""

    def test_what_does_not_run_is_named(self, tools: Tools) -> None:
        tools.az |= {
            LIST: [listed("poll_sources")],
            STATE: [event_subscription(provisioningState="Failed")],
            SECRETS: [secrets("other")],
            APP: [site("Stopped")],
        }
        tools.curl = [503]
        done = tools.run("--check", "g")
        assert done.returncode == 1
        wrong = [line for line in done.stdout.splitlines() if "WRONG" in line]
        assert len(wrong) == 4 + len(FUNCTIONS) - 1
        for text in (
            "'Stopped': az functionapp start --resource-group g --name images-abc",
            "does not answer (503)",
            "on_raw_archive is not there",
            "'Failed'",
            "--secret g radar-password",
        ):
            assert any(text in line for line in wrong), text
        assert not steps(tools)

    def test_what_is_not_there_is_told(self, tools: Tools) -> None:
        tools.az |= {STATE: [refused(3, NOT_FOUND)], APP: [refused(3, NOT_FOUND)]}
        tools.curl = [0]
        done = tools.run("--check", "g")
        assert done.returncode == 1
        for text in ("does not report whether it is running", "does not answer (000)", "'missing'"):
            assert re.search(rf"WRONG .*{re.escape(text)}", done.stdout), text

    def test_a_function_that_is_switched_off_behind_a_healthy_host_is_told(self, tools: Tools) -> None:
        said = "Error indexing method 'Functions.reconcile'. '%RECONCILE_SCHEDULE%' does not resolve to a value."
        tools.pages = {"/reconcile/status": json.dumps({"errors": [said]}, separators=(",", ":")), **tools.pages}
        done = tools.run("--check", "g")
        assert done.returncode == 1
        (wrong,) = [line for line in done.stdout.splitlines() if "WRONG" in line]
        assert "function reconcile is disabled" in wrong
        assert said in wrong
        # The key opens everything.
        assert tools.stdin == 'header = "x-functions-key: s3cret-master"\n'
        assert not [text for text in (*tools.calls, done.stdout, done.stderr) if "s3cret" in text]

    @pytest.mark.parametrize("answer", [{"/status": "Service Unavailable"}, {}])
    def test_a_host_that_does_not_tell_of_its_functions_is_said(self, tools: Tools, answer: dict[str, str]) -> None:
        tools.pages = answer
        done = tools.run("--check", "g")
        assert done.returncode == 0
        assert len(re.findall("unknown     function .* does not say", done.stdout)) == len(FUNCTIONS)

    def test_dead_letters_that_are_off_are_a_warning(self, tools: Tools) -> None:
        tools.az[STATE] = [event_subscription(deadLetterWithResourceIdentity=None)]
        done = tools.run("--check", "g")
        assert done.returncode == 0
        assert re.search("warning .*dead letters are off", done.stdout)
        assert re.search("ok .*new archives are announced", done.stdout)

    def test_what_it_may_not_look_at_is_said(self, tools: Tools) -> None:
        tools.az |= {
            SECRETS: [refused(1, "ERROR: (Forbidden) Caller is not authorized")],
            LIST: [refused(1, "ERROR: no")],
        }
        tools.remove("curl")
        done = tools.run("--check", "g")
        assert done.returncode == 0
        assert len(re.findall("unknown", done.stdout)) == 3

    def test_a_fixed_address_is_told(self, tools: Tools) -> None:
        deployed(tools, outboundAddress="20.1.2.3", topicPrincipalId="", dataAccountLock="")
        assert "address 20.1.2.3: allow it" in tools.run("--check", "g").stdout

    def test_an_app_without_secrets_needs_none(self, tools: Tools) -> None:
        deployed(tools, secretNames=[])
        assert tools.run("--check", "g").returncode == 0
        assert tools.count(f"az {SECRETS}") == 0

    @pytest.mark.parametrize(
        "answer", [refused(3, NOT_FOUND), deployment("main"), deployment("main", {"functionAppName": "a"})]
    )
    def test_a_group_without_our_deployment_is_told(self, tools: Tools, answer: Answer) -> None:
        tools.az[SHOW_OUTPUTS] = [answer]
        done = tools.run("--check", "g")
        assert done.returncode == 1
        assert "contains no successful deployment" in done.stderr
        assert len(tools.calls) == 2


class TestSecrets:
    """Secrets go through pipes, never over a command line, which every user of the machine can read."""

    def test_a_secret_is_piped_into_the_vault_and_the_app_takes_it_up(self, tools: Tools) -> None:
        done = tools.run("--secret", "g", "radar-password", typed="s3cret of radar\n")
        assert done.returncode == 0, done.stderr
        assert tools.stdin == "s3cret of radar"
        assert "--vault-name images-kv --name radar-password" in tools.calls[-2]
        assert tools.calls[-1].startswith("az functionapp restart")
        assert not [text for text in (*tools.calls, done.stdout, done.stderr) if "s3cret" in text]

    def test_what_is_typed_is_not_shown(self, tools: Tools) -> None:
        shown = tools.type_in("s3cret typed\n", "--secret", "g", "radar-password")
        assert tools.stdin == "s3cret typed"
        assert "value of radar-password (hidden)" in shown
        assert "s3cret" not in shown

    def test_a_private_key_is_not_typed(self, tools: Tools) -> None:
        """Otherwise the first line of a paste would be stored, and the shell would run the others as commands."""
        key = "-----BEGIN KEY-----\ns3cret\n-----END KEY-----\n"
        shown = tools.type_in(key, "--secret", "g", "radar-key", status=1)
        assert "infra/deploy.sh --secret g radar-key < KEYFILE" in shown
        assert "s3cret" not in shown
        assert not steps(tools)

    def test_a_private_key_keeps_its_lines(self, tools: Tools) -> None:
        tools.run("--secret", "g", "radar-key", typed="-----BEGIN\na\\nb\n-----END\n")
        assert tools.stdin == "-----BEGIN\na\\nb\n-----END"

    def test_a_vault_that_refuses_is_told_with_the_role(self, tools: Tools) -> None:
        tools.az["keyvault secret set"] = [refused(1, "ERROR: (Forbidden) Caller is not authorized")]
        done = tools.run("--secret", "g", "radar-password", typed="s3cret\n")
        assert done.returncode == 1
        assert "Key Vault Secrets Officer" in done.stderr
        assert tools.count("az functionapp restart") == 0

    def test_nothing_is_no_secret(self, tools: Tools) -> None:
        assert tools.run("--secret", "g", "radar-password", typed="\n").returncode == 1
        assert not steps(tools)


class TestWhatIf:
    """The changes are shown, and not made."""

    def test_nothing_is_changed(self, tools: Tools, parameters: str) -> None:
        tools.az |= {
            GROUP_EXISTS: [True],
            PARAMETERS: [{"privateEndpoints": True}],
            PROVIDER: [provider("NotRegistered")],
        }
        done = tools.run("--what-if", "g", "westeurope", parameters)
        assert done.returncode == 0
        assert tools.calls[-1].startswith("az deployment group what-if --resource-group g")
        # A principal that may only read can run it, too.
        assert "--validation-level ProviderNoRbac" in tools.calls[-1]
        assert "Microsoft.App would be registered" in done.stdout
        assert not steps(tools)

    def test_without_a_group_it_says_how_to_see_more(self, tools: Tools, parameters: str) -> None:
        done = tools.run("--what-if", "g", "westeurope", parameters)
        assert done.returncode == 1
        # With the tag, because `--remove` deletes only groups that have it.
        assert "az group create --name g --location westeurope --tags made-by=infra/deploy.sh" in done.stderr
        assert not steps(tools)


class TestRemoving:
    """Removing asks first, and does not touch resources that it did not create."""

    def test_who_types_the_name_removes_it(self, tools: Tools) -> None:
        assert tools.run("--remove", "g", typed="g\n").returncode == 0
        assert steps(tools) == ["az group delete --name g --yes"]

    @pytest.mark.parametrize("typed", ["", "yes\n", "gg\n"])
    def test_who_types_anything_else_does_not(self, tools: Tools, typed: str) -> None:
        deployed(tools, **EXISTING)
        tools.az[LOCKS] = [[lock("keep-archives")]]
        done = tools.run("--remove", "g", typed=typed)
        assert done.returncode == 1
        assert "nothing was deleted" in done.stderr
        assert not steps(tools)

    def test_a_group_that_it_did_not_make_stays(self, tools: Tools) -> None:
        tools.az[TAGS] = [group()]
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 1
        assert "was not created by this script" in done.stderr
        assert not steps(tools)

    @pytest.mark.parametrize("name", ["", "keep-archives"])
    def test_our_lock_goes_first(self, tools: Tools, name: str) -> None:
        """It stays in Azure when the parameter is removed, and then no output names it."""
        deployed(tools, dataAccountLock=name)
        tools.az[LOCKS] = [[lock("of-somebody-else"), lock("keep-archives")]]
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 0
        assert [call.split(" --output")[0] for call in steps(tools)] == [
            f"az lock delete --ids {lock('keep-archives')['id']}",
            "az group delete --name g --yes",
        ]
        assert "the delete lock keep-archives was removed" in done.stdout

    def test_a_lock_that_is_still_known_somewhere_is_waited_for(self, tools: Tools) -> None:
        still = refused(
            1, "ERROR: (ScopeLocked) The scope cannot perform delete operation because following scope(s) are locked"
        )
        tools.az |= {LOCKS: [[lock("keep-archives")]], "group delete": [still, still, None]}
        assert tools.run("--remove", "g", typed="g\n").returncode == 0
        assert tools.count("az group delete") == 3

    def test_a_lock_that_may_not_be_removed_stops_it(self, tools: Tools) -> None:
        tools.az |= {LOCKS: [[lock("keep-archives")]], "lock delete": [refused(1, "ERROR: (AuthorizationFailed) no")]}
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 1
        assert "User Access Administrator" in done.stderr
        assert tools.count("az group delete") == 0

    def test_a_lock_of_somebody_else_is_told(self, tools: Tools) -> None:
        tools.az |= {
            LOCKS: [[lock("theirs")]],
            "group delete": [refused(1, "ERROR: (ScopeLocked) the scope is locked")],
        }
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 1
        assert "az lock list --resource-group g --output table" in done.stderr
        assert tools.count("az group delete") == 1
        assert "was removed" not in done.stdout

    def test_what_it_subscribed_to_the_topic_of_another_group_goes_too(self, tools: Tools) -> None:
        deployed(tools, **EXISTING)
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 0
        gone = "event-subscription delete --resource-group hub --system-topic-name theirs --name raw-archives"
        assert steps(tools)[0].startswith(f"az eventgrid system-topic {gone}")
        assert "removed from the topic theirs in the group hub" in done.stdout
        deployed(tools, topicGroup="G")
        tools.run("--remove", "g", typed="g\n")
        assert tools.count("az eventgrid") == 0, "in the group itself it goes with the group"

    def test_one_that_cannot_go_is_told_with_the_line_that_removes_it(self, tools: Tools) -> None:
        deployed(tools, **EXISTING)
        tools.az["eventgrid system-topic event-subscription delete"] = [refused(1, "ERROR: (AuthorizationFailed) no")]
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 0
        assert "Later: az eventgrid system-topic event-subscription delete --resource-group hub" in done.stdout

    def test_a_group_that_was_only_half_made_goes(self, tools: Tools) -> None:
        tools.az |= {SHOW_OUTPUTS: [deployment("main", provisioningState="Failed")], LOCKS: [[lock("keep-archives")]]}
        assert tools.run("--remove", "g", typed="g\n").returncode == 0
        assert len(steps(tools)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["g"],
        ["--remove"],
        ["--smoke"],
        ["--check", "g", "x"],
        ["--secret", "g"],
        ["a", "b", "c", "d"],
        ["--nonsense", "g"],
    ],
)
def test_a_line_that_makes_no_sense_is_answered_with_how_it_goes(tools: Tools, arguments: list[str]) -> None:
    done = tools.run(*arguments)
    assert done.returncode in (1, 2)
    assert "infra/deploy.sh GROUP" in done.stderr or "not a valid resource group name" in done.stderr
    assert not tools.calls


def test_help_tells_every_command(tools: Tools) -> None:
    done = tools.run("--help")
    assert done.returncode == 0
    for option in ("--what-if", "--secret", "--check", "--smoke", "--remove"):
        assert f"infra/deploy.sh {option} GROUP" in done.stdout


def test_the_example_is_not_deployed_as_it_is(tools: Tools) -> None:
    done = tools.run("g", "westeurope")
    assert done.returncode == 1
    assert "infra/main.bicepparam still contains the example server" in done.stderr
    assert not steps(tools)


def test_a_parameter_file_that_is_not_there_is_told(tools: Tools) -> None:
    assert "none.bicepparam does not exist" in tools.run("g", "westeurope", "none.bicepparam").stderr


def test_names_are_those_of_the_templates_and_the_code() -> None:
    script, events = SCRIPT.read_text(), (PROJECT / "infra" / "events.bicep").read_text()
    templates = "".join(file.read_text() for file in (PROJECT / "infra").rglob("*.bicep"))
    for constant in ("SUBSCRIPTION", "LOCK"):
        (name,) = re.findall(rf"^{constant}=(\S+)", script, re.MULTILINE)
        assert f"'{name}'" in templates, constant
    assert f"containers/{RAW_CONTAINER}/blobs/" in templates
    main = (PROJECT / "infra" / "main.bicep").read_text()
    outputs = re.findall(r"(\w+)\.value", script)
    assert set(outputs) <= set(re.findall(r"^output (\w+)", main, re.MULTILINE))
    assert set(outputs) <= set(OUTPUTS)
    assert {"existingTopicName", "existingTopicGroup"} <= set(re.findall(r"^param (\w+)", main, re.MULTILINE))
    assert set(re.findall(r'"(\w+)=\$', script)) <= set(re.findall(r"^param (\w+)", events, re.MULTILINE))


def test_the_lines_that_it_tells_to_type_are_ones_that_az_knows() -> None:
    """The fake checks the commands that the script runs itself."""
    known = commands()
    text = SCRIPT.read_text().replace("\\\n", " ").replace('" "', " ")
    text = re.sub(r'" +"', " ", text)
    lines = re.findall(r"[:,] (az [a-z][^\"'|`]*)", text)
    assert len(lines) >= 9
    for line in lines:
        words = re.sub(r"\$\{?\w+\}?", "x", line.split(";")[0]).split()
        if words[1] == "login" or words[1:3] == ["bicep", "upgrade"]:
            continue
        parse(words[1:], known)


@pytest.mark.parametrize("command", [["shellcheck"], ["dash", "-n"], ["bash", "--posix", "-n"]])
def test_it_is_plain_posix_shell(command: list[str]) -> None:
    done = subprocess.run([need(command[0]), *command[1:], SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
