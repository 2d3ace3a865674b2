"""The deploy script, on stand-ins for az and func: what it does in which order, and what it does when that fails."""

import re
import subprocess
from pathlib import Path

import pytest

from local.programs.needed import need
from storage.keys import RAW_CONTAINER
from tests.fixtures.fake_tools import PROJECT, Tools
from tests.fixtures.functions import functions

SCRIPT = PROJECT / "infra" / "deploy.sh"
FUNCTIONS = [str(function.get_function_name()) for function in functions()]
OUTPUTS = (
    "images-abc\nimages-abc.azurewebsites.net\nimagesdata\nimages-kv\nimages-events\n/subscriptions/s/topic-identity\n"
)
LOGIN, GROUP_EXISTS, DEPLOY = "az account show", "az group exists", "az deployment group create"
PUBLISH, LIST, SUBSCRIBE = (
    "func azure functionapp publish",
    "az functionapp function list",
    f"{DEPLOY} --resource-group g --name events",
)
STATE = "az eventgrid system-topic event-subscription show"


@pytest.fixture
def parameters(tmp_path: Path) -> str:
    file = tmp_path / "mine.bicepparam"
    file.write_text("using './main.bicep'\nparam sourceSettings = {}\n")
    return str(file)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """A subscription where all goes well."""
    return Tools(
        tmp_path / "tools",
        {
            LOGIN: [(0, "Pay as you go")],
            GROUP_EXISTS: [(0, "false")],
            "az deployment group show --resource-group g --name main --query properties.outputs.[": [(0, OUTPUTS)],
            "az deployment group show --resource-group g --name main --query properties.outputs.secretNames": [
                (0, "radar-password")
            ],
            LIST: [(0, "\n".join(f"images-abc/{name}" for name in FUNCTIONS))],
            "az functionapp show": [(0, "Running")],
            STATE: [(0, "Succeeded")],
            "az keyvault secret list": [(0, "radar-password\nother")],
            "az group show": [(0, "infra/deploy.sh")],
            "curl": [(0, "200")],
        },
    )


def steps(tools: Tools) -> list[str]:
    """The calls that change something."""
    changing = r"az (group create|group delete|deployment group create|keyvault secret set|functionapp restart)|func "
    return [call for call in tools.calls if re.match(changing, call)]


def test_the_whole_way(tools: Tools, parameters: str) -> None:
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 0, done.stderr
    assert [call.split(" --")[0] for call in tools.calls if call.startswith(("az group create", DEPLOY, "func"))] == [
        "az group create",
        DEPLOY,
        "func azure functionapp publish images-abc",
        DEPLOY,
    ]
    first, second = [call for call in tools.calls if call.startswith(DEPLOY)]
    assert f"--parameters {parameters}" in first
    assert "--template-file infra/events.bicep" in second
    for told in ("functionAppName=images-abc", "topicName=images-events", "dataAccountName=imagesdata"):
        assert told in second
    for name in FUNCTIONS:
        assert f"ok          function {name}" in done.stdout
    assert "WRONG" not in done.stdout
    assert "storage doctor --app images-abc" in done.stdout


def test_the_second_run_makes_no_second_group(tools: Tools, parameters: str) -> None:
    tools.script[GROUP_EXISTS] = [(0, "true")]
    assert tools.run("g", "westeurope", parameters).returncode == 0
    # `az group create` over one that is there would take its tags away.
    assert tools.count("az group create") == 0
    assert tools.count(DEPLOY) == 2


def test_who_is_not_logged_in_is_told_so_and_nothing_is_changed(tools: Tools, parameters: str) -> None:
    tools.script[LOGIN] = [(1, "ERROR: Please run 'az login'")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "az login" in done.stderr
    assert tools.calls == [LOGIN + " --query name --output tsv"]


@pytest.mark.parametrize("name", ["az", "func"])
def test_a_tool_that_is_missing_is_named_with_where_to_get_it(tools: Tools, parameters: str, name: str) -> None:
    tools.remove(name)
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert re.search(rf"error: {name} is missing.*\n.*https://", done.stderr)
    assert not steps(tools)


def test_resources_that_cannot_be_made_stop_it(tools: Tools, parameters: str) -> None:
    tools.script[f"{DEPLOY} --resource-group g --name main"] = [(1, "ERROR: quota exceeded")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "quota exceeded" in done.stderr
    assert tools.count("func") == 0


def test_publishing_is_tried_again_and_given_up_after_three_times(tools: Tools, parameters: str) -> None:
    tools.script[PUBLISH] = [(1, "503 (Site Unavailable)"), (0, "")]
    assert tools.run("g", "westeurope", parameters).returncode == 0
    assert tools.count(PUBLISH) == 2
    tools.script[PUBLISH] = [(1, "the build failed")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "publishing: failed 3 times" in done.stderr
    assert tools.count(PUBLISH) == 3
    assert tools.count(SUBSCRIBE) == 0


def test_it_waits_for_the_function_before_it_subscribes(tools: Tools, parameters: str) -> None:
    tools.script[LIST] = [(0, ""), (0, "images-abc/poll_sources"), tools.script[LIST][0]]
    assert tools.run("g", "westeurope", parameters).returncode == 0
    before = tools.calls[: next(i for i, call in enumerate(tools.calls) if call.startswith(SUBSCRIBE))]
    assert sum(call.startswith(LIST) for call in before) == 3


def test_the_subscription_is_tried_until_event_grid_knows_the_function(tools: Tools, parameters: str) -> None:
    unknown = (1, "ERROR: Destination endpoint not found.")
    tools.script[SUBSCRIBE] = [unknown, unknown, (0, "")]
    tools.script[STATE] = [(3, "ResourceNotFound"), (0, "Failed"), (0, "Succeeded")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 0, done.stderr
    assert tools.count(SUBSCRIBE) == 3
    # A failed one is taken away; one that works never is.
    assert tools.count("az eventgrid system-topic event-subscription delete") == 1


def test_a_subscription_that_never_comes_is_told(tools: Tools, parameters: str) -> None:
    tools.script[SUBSCRIBE] = [(1, "ERROR: Destination endpoint not found.")]
    done = tools.run("g", "westeurope", parameters)
    assert done.returncode == 1
    assert "the event subscription: failed 15 times" in done.stderr
    assert "Destination endpoint not found" in done.stderr


def test_the_check_names_what_does_not_run(tools: Tools) -> None:
    tools.script |= {
        LIST: [(0, "images-abc/poll_sources")],
        STATE: [(0, "")],
        "az keyvault secret list": [(0, "other")],
        "curl": [(0, "503")],
        "az functionapp show": [(0, "Stopped")],
    }
    done = tools.run("--check", "g")
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if "WRONG" in line]
    assert len(wrong) == 4 + len(FUNCTIONS) - 1
    for told in (
        "'Stopped'",
        "does not answer (503)",
        "on_raw_archive is not there",
        "'missing'",
        "--secret g radar-password",
    ):
        assert any(told in line for line in wrong), told
    assert not steps(tools)


def test_what_the_check_may_not_look_at_is_said(tools: Tools) -> None:
    tools.script["az keyvault secret list"] = [(1, "ERROR: Forbidden")]
    tools.remove("curl")
    done = tools.run("--check", "g")
    assert done.returncode == 0
    assert len(re.findall("not looked", done.stdout)) == 2


def test_a_fixed_address_is_told(tools: Tools) -> None:
    tools.script["az deployment group show --resource-group g --name main --query properties.outputs.["] = [
        (0, OUTPUTS + "20.1.2.3")
    ]
    assert "address 20.1.2.3: let it in" in tools.run("--check", "g").stdout


def test_a_group_without_our_deployment_is_told(tools: Tools) -> None:
    tools.script = {LOGIN: [(0, "s")], "az deployment group show": [(3, "DeploymentNotFound")]}
    done = tools.run("--check", "g")
    assert done.returncode == 1
    assert "holds no deployment of ours" in done.stderr


class TestSecrets:
    """Secrets go through pipes, never over a command line that everybody on the machine can read."""

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
        assert "value of radar-password (it is not shown)" in shown
        assert "s3cret" not in shown

    def test_a_private_key_is_not_typed(self, tools: Tools) -> None:
        """Of a paste the first line would be stored, and the shell would get the others for commands."""
        key = "-----BEGIN KEY-----\ns3cret\n-----END KEY-----\n"
        shown = tools.type_in(key, "--secret", "g", "radar-key", status=1)
        assert "infra/deploy.sh --secret g radar-key < KEYFILE" in shown
        assert "s3cret" not in shown
        assert not steps(tools)

    def test_a_private_key_keeps_its_lines(self, tools: Tools) -> None:
        tools.run("--secret", "g", "radar-key", typed="-----BEGIN\na\\nb\n-----END\n")
        assert tools.stdin == "-----BEGIN\na\\nb\n-----END"

    def test_a_vault_that_refuses_is_told_with_the_role(self, tools: Tools) -> None:
        tools.script["az keyvault secret set"] = [(1, "ERROR: Forbidden")]
        done = tools.run("--secret", "g", "radar-password", typed="s3cret\n")
        assert done.returncode == 1
        assert "Key Vault Secrets Officer" in done.stderr
        assert tools.count("az functionapp restart") == 0

    def test_nothing_is_no_secret(self, tools: Tools) -> None:
        assert tools.run("--secret", "g", "radar-password", typed="\n").returncode == 1
        assert not steps(tools)


class TestWhatIf:
    """What it would do is shown, and not done."""

    def test_nothing_is_changed(self, tools: Tools, parameters: str) -> None:
        tools.script[GROUP_EXISTS] = [(0, "true")]
        assert tools.run("--what-if", "g", "westeurope", parameters).returncode == 0
        assert tools.calls[-1].startswith("az deployment group what-if --resource-group g")
        assert not steps(tools)

    def test_without_a_group_it_says_how_to_see_more(self, tools: Tools, parameters: str) -> None:
        done = tools.run("--what-if", "g", "westeurope", parameters)
        assert done.returncode == 1
        # With the tag, without which `--remove` would leave it alone.
        assert "az group create --name g --location westeurope --tags made-by=infra/deploy.sh" in done.stderr
        assert not steps(tools)


class TestRemoving:
    """Removing asks first, and touches nothing that it did not make."""

    def test_who_types_the_name_removes_it(self, tools: Tools) -> None:
        assert tools.run("--remove", "g", typed="g\n").returncode == 0
        assert tools.calls[-1] == "az group delete --name g --yes"

    @pytest.mark.parametrize("typed", ["", "yes\n", "gg\n"])
    def test_who_types_anything_else_does_not(self, tools: Tools, typed: str) -> None:
        done = tools.run("--remove", "g", typed=typed)
        assert done.returncode == 1
        assert "nothing was deleted" in done.stderr
        assert not steps(tools)

    def test_a_group_that_it_did_not_make_stays(self, tools: Tools) -> None:
        tools.script["az group show"] = [(0, "")]
        done = tools.run("--remove", "g", typed="g\n")
        assert done.returncode == 1
        assert "was not made by this script" in done.stderr
        assert not steps(tools)


@pytest.mark.parametrize(
    "arguments",
    [[], ["g"], ["--remove"], ["--check", "g", "x"], ["--secret", "g"], ["a", "b", "c", "d"], ["--nonsense", "g"]],
)
def test_a_line_that_makes_no_sense_is_answered_with_how_it_goes(tools: Tools, arguments: list[str]) -> None:
    done = tools.run(*arguments)
    assert done.returncode in (1, 2)
    assert "infra/deploy.sh GROUP" in done.stderr or "no name of a resource group" in done.stderr
    assert not tools.calls


def test_help_tells_every_command(tools: Tools) -> None:
    done = tools.run("--help")
    assert done.returncode == 0
    for option in re.findall(r"--(?:what-if|secret|check|remove)", SCRIPT.read_text()):
        assert option in done.stdout


def test_the_example_is_not_deployed_as_it_is(tools: Tools) -> None:
    done = tools.run("g", "westeurope")
    assert done.returncode == 1
    assert "infra/main.bicepparam still holds the example server" in done.stderr
    assert not steps(tools)


def test_a_parameter_file_that_is_not_there_is_told(tools: Tools) -> None:
    assert "there is no parameter file" in tools.run("g", "westeurope", "none.bicepparam").stderr


def test_it_subscribes_by_the_names_that_the_templates_and_the_code_have() -> None:
    script, events = SCRIPT.read_text(), (PROJECT / "infra" / "events.bicep").read_text()
    (name,) = re.findall(r"^SUBSCRIPTION=(\S+)", script, re.MULTILINE)
    assert f"name: '{name}'" in events
    assert f"containers/{RAW_CONTAINER}/blobs/" in events
    outputs = re.findall(r"(\w+)\.value", script)
    declared = re.findall(r"^output (\w+)", (PROJECT / "infra" / "main.bicep").read_text(), re.MULTILINE)
    assert set(outputs) <= set(declared)
    parameters = re.findall(r'"(\w+)=\$', script)
    assert set(parameters) <= set(re.findall(r"^param (\w+)", events, re.MULTILINE))


@pytest.mark.parametrize("command", [["shellcheck"], ["dash", "-n"], ["bash", "--posix", "-n"]])
def test_it_is_plain_posix_shell(command: list[str]) -> None:
    done = subprocess.run([need(command[0]), *command[1:], SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
