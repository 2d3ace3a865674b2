"""The pipelines of GitHub Actions and Azure DevOps run the same commands, which exist and are documented."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.servers.needed import need
from tests.fixtures.azure_answers import ACCOUNT
from tests.fixtures.fake_programs import commands, parse
from tests.fixtures.fake_tools import Answer, Tools
from tests.tools.bicep import compiler

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
DEVOPS = ROOT / "infra" / "azure-pipelines.yml"
CHECK_BICEP = ROOT / "infra" / "check-bicep.sh"
DOCS = (ROOT / "docs" / "deploy.md").read_text().partition("\n## Pipelines\n")[2]
VARIABLES = ("RESOURCE_GROUP", "LOCATION", "PARAMETER_FILE")
FINDING = "WARNING: /p/infra/main.bicep(22,7) : Warning no-unused-params: Parameter is never used. [https://aka.ms/x]"
"""The compiler's warning as `az bicep` prints it, on standard error and with exit status 0."""
FORK, ONE_OF_OURS = "github.event.pull_request.head.repo.full_name", "github.repository"


def read(path: Path) -> dict[str, Any]:
    """Read YAML with every scalar as text, because `on` is a key here, not a boolean."""
    document = yaml.load(path.read_text(), yaml.BaseLoader)
    assert isinstance(document, dict)
    return document


CHECK, DEPLOY = read(WORKFLOWS / "check.yml"), read(WORKFLOWS / "deploy.yml")
GITHUB_JOBS: Mapping[str, Any] = {**DEPLOY["jobs"], "check": CHECK["jobs"]["check"]}
STAGES: Mapping[str, Any] = {stage["stage"].replace("_", "-"): stage for stage in read(DEVOPS)["stages"]}


def devops_steps(stage: Mapping[str, Any]) -> list[dict[str, Any]]:
    (job,) = stage["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"] if "deployment" in job else job["steps"]
    assert isinstance(steps, list)
    return steps


def devops_commands(stage: Mapping[str, Any]) -> Iterator[str]:
    for step in devops_steps(stage):
        command = step.get("script") or step.get("inputs", {}).get("inlineScript")
        if command:
            yield command


COMMANDS = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in GITHUB_JOBS.items()}
ALL_COMMANDS = sorted({command for commands in COMMANDS.values() for command in commands})


class TestLint:
    """Linters find nothing."""

    def test_yamllint(self) -> None:
        command = [sys.executable, "-m", "yamllint", "--strict", ".github", "infra", ".yamllint"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    def test_actionlint(self) -> None:
        program = shutil.which("actionlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "requirements-dev.txt names it"
        files = [str(file) for file in sorted(WORKFLOWS.glob("*.yml"))]
        done = subprocess.run([program, *files], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    def test_shellcheck(self) -> None:
        done = subprocess.run([need("shellcheck"), CHECK_BICEP], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


class TestCommands:
    """The commands that both run."""

    def test_both_run_the_same(self) -> None:
        assert {name: list(devops_commands(stage)) for name, stage in STAGES.items()} == COMMANDS

    def test_the_check_is_what_is_told_to_contributors(self) -> None:
        assert COMMANDS["check"] == ["make test", "infra/check-bicep.sh"]
        for page in ("README.md", "CONTRIBUTING.md"):
            assert "\nmake test " in (ROOT / page).read_text()
        assert "`make test`, then `infra/check-bicep.sh`" in DOCS

    @pytest.mark.parametrize("command", ALL_COMMANDS)
    def test_what_is_named_is_there(self, command: str) -> None:
        program, *arguments = shlex.split(command)
        if program == "make":
            assert set(arguments) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        elif program == "npm":
            assert re.fullmatch(r"azure-functions-core-tools@4\.\d+\.\d+", arguments[-1]), "a pinned version"
        else:
            assert os.access(ROOT / program, os.X_OK), program

    def test_their_variables_are_set_and_told(self) -> None:
        used = {name for command in ALL_COMMANDS for name in re.findall(r"\$(\w+)", command)}
        assert used == set(VARIABLES)
        assert DEPLOY["env"] == {name: f"${{{{ vars.{name} }}}}" for name in VARIABLES}
        for name in re.findall(r"vars\.(\w+)", (WORKFLOWS / "deploy.yml").read_text()):
            assert f"gh variable set {name} " in DOCS, name
        for name in VARIABLES:
            assert f"az pipelines variable create --pipeline-name pictures --name {name} " in DOCS

    def test_versions_are_those_of_the_project(self) -> None:
        version = (ROOT / ".python-version").read_text().strip()
        github = [
            step["with"]["python-version"]
            for job in GITHUB_JOBS.values()
            for step in job["steps"]
            if "run" not in step and "python" in step["uses"]
        ]
        devops = [
            step["inputs"]["versionSpec"]
            for stage in STAGES.values()
            for step in devops_steps(stage)
            if "Python" in step.get("task", "")
        ]
        assert github == devops == [version, version]

    def test_actions_are_pinned_to_a_major_version(self) -> None:
        used = re.findall(r"uses: (\S+)", "".join(file.read_text() for file in WORKFLOWS.glob("*.yml")))
        assert used
        assert not [
            action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+|\./\.github/workflows/\w+\.yml", action)
        ]


class TestDeployScript:
    """The deploy script accepts the pipelines' arguments, and asks nothing."""

    @pytest.fixture
    def parameters(self, tmp_path: Path) -> str:
        file = tmp_path / "mine.bicepparam"
        file.write_text("using './main.bicep'\n")
        return str(file)

    @pytest.fixture
    def tools(self, tmp_path: Path) -> Tools:
        az: dict[str, list[Answer]] = {
            "account show": [ACCOUNT],
            "group exists": [True],
            "bicep build-params": [{"sourceSettings": {}}],
        }
        return Tools(tmp_path / "tools", dict(az))

    @pytest.mark.parametrize(("job", "asked"), [("what-if", "what-if"), ("deploy", "create")])
    def test_the_line_is_understood(self, tools: Tools, parameters: str, job: str, asked: str) -> None:
        done = tools.run(*self.arguments(job, parameters), typed="")
        assert done.returncode != 2, done.stderr
        (first, *_) = [call for call in tools.calls if call.startswith("az deployment group")]
        assert first.startswith(f"az deployment group {asked} --resource-group g ")
        assert f" --parameters {parameters} " in first

    @pytest.mark.parametrize("job", ["what-if", "deploy"])
    def test_without_a_variable_it_takes_its_default(self, tools: Tools, job: str) -> None:
        # Settings that are not set are empty in both. The example itself is refused.
        assert "infra/main.bicepparam still contains the example" in tools.run(*self.arguments(job, "")).stderr

    @staticmethod
    def arguments(job: str, parameters: str) -> list[str]:
        (line,) = [command for command in COMMANDS[job] if command.startswith("infra/deploy.sh")]
        values = {"$RESOURCE_GROUP": "g", "$LOCATION": "northeurope", "$PARAMETER_FILE": parameters}
        return [values.get(word, word) for word in shlex.split(line)[1:]]


class TestWhoMay:
    """Only main is deployed, checked and one at a time; only the repository itself gets a token."""

    def test_github_deploys_what_is_pushed_to_main_after_the_check(self) -> None:
        assert DEPLOY["on"] == {"pull_request": "", "push": {"branches": ["main"]}}
        assert DEPLOY["jobs"]["check"] == {"if": "github.event_name == 'push'", "uses": "./.github/workflows/check.yml"}
        job = DEPLOY["jobs"]["deploy"]
        assert (job["needs"], job["environment"], job["concurrency"]) == ("check", "production", "production")
        assert set(CHECK["on"]) == {"pull_request", "workflow_call"}

    def test_devops_deploys_main_after_the_check(self) -> None:
        stage = STAGES["deploy"]
        assert read(DEVOPS)["trigger"] == ["main"]
        assert (stage["dependsOn"], stage["lockBehavior"]) == ("check", "sequential")
        assert stage["jobs"][0]["environment"] == "production"
        assert stage["condition"] == "and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))"

    def test_a_fork_is_shown_nothing(self) -> None:
        assert f"github.event_name == 'pull_request' && {FORK} == {ONE_OF_OURS}" == DEPLOY["jobs"]["what-if"]["if"]
        pull_request, fork = "eq(variables['Build.Reason'], 'PullRequest')", "variables['System.PullRequest.IsFork']"
        assert STAGES["what-if"]["condition"] == f"and({pull_request}, ne({fork}, 'True'))"

    def test_tests_get_no_token(self) -> None:
        assert CHECK["permissions"] == {"contents": "read"}
        assert DEPLOY["permissions"] == {"contents": "read", "id-token": "write"}

    @pytest.mark.parametrize("job", ["what-if", "deploy"])
    def test_a_login_is_used_at_once(self, job: str) -> None:
        # It gives new tokens for five minutes only.
        *_, login, use = GITHUB_JOBS[job]["steps"]
        assert login["uses"].startswith("azure/login@")
        assert set(login["with"]) == {"client-id", "tenant-id", "subscription-id"}
        assert use["run"].startswith("infra/deploy.sh")

    def test_a_long_deployment_keeps_the_login_of_devops(self) -> None:
        *_, step = devops_steps(STAGES["deploy"])
        assert (step["task"], step["inputs"]["keepAzSessionActive"]) == ("AzureCLI@2", "true")

    def test_service_connections_are_told(self) -> None:
        connections = {
            name: devops_steps(STAGES[name])[-1]["inputs"]["azureSubscription"] for name in ("what-if", "deploy")
        }
        assert connections == {"what-if": "azure-what-if", "deploy": "azure-production"}
        for name in connections.values():
            assert f"`{name}`" in DOCS


class TestCheckBicep:
    """Errors, warnings and findings of the linter are all errors."""

    def check(self, folder: Path, answers: str) -> subprocess.CompletedProcess[str]:
        """Run it with an `az` that answers by a shell `case` of its arguments."""
        az, calls = folder / "az", shlex.quote(str(folder / "calls"))
        az.write_text(f'#!/bin/sh\necho "$*" >>{calls}\ncase "$*" in\n{answers}\n*) echo "{{}}" ;;\nesac\n')
        az.chmod(0o700)
        environment = {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}
        return subprocess.run([CHECK_BICEP], env=environment, capture_output=True, text=True, check=False)

    def test_all_is_looked_at(self, tmp_path: Path) -> None:
        done = self.check(tmp_path, "")
        assert (done.returncode, done.stderr) == (0, "")
        looked = (tmp_path / "calls").read_text().splitlines()
        for template in (ROOT / "infra").glob("*.bicep"):
            assert f"bicep build --file infra/{template.name} --stdout" in looked
            assert f"bicep lint --file infra/{template.name}" in looked
        assert "bicep build-params --file infra/main.bicepparam --stdout" in looked

    @pytest.mark.parametrize("level", ["Warning", "Info"])
    @pytest.mark.parametrize("command", ["build", "lint", "build-params"])
    def test_a_finding_is_an_error(self, tmp_path: Path, command: str, level: str) -> None:
        said = FINDING.replace(" Warning ", f" {level} ")
        done = self.check(tmp_path, f'"bicep {command} --file infra/main"*) echo "{said}" >&2 ;;')
        assert done.returncode == 1
        assert said in done.stdout
        assert f"WRONG       bicep {command} infra/main" in done.stdout
        # The others are checked all the same.
        assert "ok          bicep build infra/events.bicep" in done.stdout

    def test_an_error_is_told(self, tmp_path: Path) -> None:
        done = self.check(tmp_path, '"bicep build --file infra/events"*) echo "ERROR: no such type" >&2; exit 1 ;;')
        assert done.returncode == 1
        assert "ERROR: no such type\nWRONG       bicep build infra/events.bicep" in done.stdout

    def test_other_talk_is_none(self, tmp_path: Path) -> None:
        talk = 'WARNING: A new Bicep release is available: v9.9.9. Upgrade now by running "az bicep upgrade".'
        assert self.check(tmp_path, f"*lint*) echo {shlex.quote(talk)} >&2 ;;").returncode == 0

    def test_without_az_it_says_what_to_install(self, tmp_path: Path) -> None:
        (tmp_path / "dirname").symlink_to(str(shutil.which("dirname")))
        done = subprocess.run(
            ["/bin/sh", CHECK_BICEP], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "az is missing" in done.stderr

    def test_what_the_compiler_says_is_understood(self, tmp_path: Path) -> None:
        template = tmp_path / "x.bicep"
        template.write_text("param unused string\n")
        done = subprocess.run([compiler(), "lint", template], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
        (tmp_path / "said").write_text(done.stderr)
        assert self.check(tmp_path, f"*lint*main*) cat {shlex.quote(str(tmp_path / 'said'))} >&2 ;;").returncode == 1


class TestSetUp:
    """The commands of the documentation have the documented effect."""

    ANSWERS: Mapping[str, str] = {
        "group show": "/subscriptions/s/resourceGroups/pictures",
        "repo view": "owner/project",
        "api repos/owner/project/actions/oidc/customization/sub": "repo:owner@1/project@2",
        "ad app create --display-name pictures-deploy": "app-deploy",
        "ad app create --display-name pictures-what-if": "app-what-if",
        "ad sp create --id app-deploy": "principal-deploy",
        "ad sp create --id app-what-if": "principal-what-if",
        "role definition create": "role-what-if",
        "account show --query tenantId": "tenant",
        "account show --query id": "subscription",
    }

    @pytest.fixture
    def calls(self, tmp_path: Path) -> list[list[str]]:
        """Run the block of GitHub Actions with an `az` and a `gh` that note their arguments; return the calls."""
        cases = "\n".join(f'{shlex.quote(line)}*) echo "{answer}" ;;' for line, answer in self.ANSWERS.items())
        note = "import json, sys; print(json.dumps(sys.argv[1:]))"
        for name in ("az", "gh"):
            tool = tmp_path / name
            tool.write_text(
                f'#!/bin/sh\n{sys.executable} -c {shlex.quote(note)} {name} "$@" >>{tmp_path}/calls\n'
                f'case "$*" in\n{cases}\nesac\n'
            )
            tool.chmod(0o700)
        (block,) = [
            block for block in re.findall(r"^```sh\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE) if "gh " in block
        ]
        done = subprocess.run(
            ["sh", "-eu", "-c", block], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "principal-deploy\n", "what goes into operatorIds"
        return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]

    def test_az_knows_each_call(self, calls: list[list[str]]) -> None:
        asked = [call[1:] for call in calls if call[0] == "az"]
        assert len(asked) > 10
        for call in asked:
            parse(call, commands())

    def test_each_principal_trusts_one_kind_of_run(self, calls: list[list[str]]) -> None:
        credentials = {option(call, "--id"): json.loads(call[-1]) for call in calls if "federated-credential" in call}
        assert {app: credential.pop("subject") for app, credential in credentials.items()} == {
            "app-deploy": "repo:owner@1/project@2:environment:production",
            "app-what-if": "repo:owner@1/project@2:pull_request",
        }
        for credential in credentials.values():
            assert credential.pop("name")
            assert credential == {
                "issuer": "https://token.actions.githubusercontent.com",
                "audiences": ["api://AzureADTokenExchange"],
            }

    def test_one_deploys_and_the_other_only_reads(self, calls: list[list[str]]) -> None:
        given = [
            (option(call, "--assignee-object-id"), option(call, "--role"), option(call, "--scope"))
            for call in calls
            if call[1:4] == ["role", "assignment", "create"]
        ]
        scope = self.ANSWERS["group show"]
        assert given == [
            ("principal-deploy", "Contributor", scope),
            ("principal-deploy", "Role Based Access Control Administrator", scope),
            ("principal-what-if", "role-what-if", scope),
        ]
        (definition,) = [json.loads(call[-1]) for call in calls if call[1:4] == ["role", "definition", "create"]]
        assert definition["AssignableScopes"] == [scope]
        actions = set(definition["Actions"])
        assert actions == {"*/read"} | {
            f"Microsoft.Resources/deployments/{verb}/action" for verb in ("validate", "whatIf")
        }

    def test_the_workflows_are_told_what_they_read(self, calls: list[list[str]]) -> None:
        variables = {call[3]: call[-1] for call in calls if call[1:3] == ["variable", "set"] and "--env" not in call}
        assert variables == {
            "AZURE_CLIENT_ID": "app-what-if",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_SUBSCRIPTION_ID": "subscription",
            "RESOURCE_GROUP": "pictures",
            "LOCATION": "westeurope",
            "PARAMETER_FILE": "infra/mine.bicepparam",
        }
        assert ["gh", "variable", "set", "AZURE_CLIENT_ID", "--env", "production", "--body", "app-deploy"] in calls
        assert set(variables) == set(re.findall(r"vars\.(\w+)", (WORKFLOWS / "deploy.yml").read_text()))


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]
