"""Queries Azure through the Azure CLI (az), with the login of its user."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagefeed.errors import PermanentError
from ops.health.doctor.findings import Finding, wrong

_WITHIN = 60.0
_NAME = re.compile(r"[A-Za-z0-9-]{2,60}")
_REFERENCE = re.compile(
    r"@Microsoft\.KeyVault\((?:SecretUri=(?P<uri>https://[^;)]+?)/?|VaultName=(?P<vault>[^;]+);SecretName=(?P<name>[^;)]+))\)"
)
_OF_IDENTITY = {"DATA_STORAGE__CLIENTID", "DATA_STORAGE__CREDENTIAL"}
"""Settings of the app's identity, which cannot be used outside Azure; the doctor uses its user's login."""


class AzureCli:
    """The program `az`."""

    def __init__(self, program: str) -> None:
        self._program = program

    def ask(self, *arguments: str) -> Any:
        """Run one command and return its parsed JSON output. Raises PermanentError."""
        doing = f"az {' '.join(arguments[:3])}"
        try:
            completed = subprocess.run(  # noqa: S603 -- the user's own az, arguments of our own
                [self._program, *arguments, "--output", "json", "--only-show-errors"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=_WITHIN, check=False, text=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise PermanentError(f"{doing}: {type(exc).__name__}: az did not answer; run the command by hand") from exc
        if completed.returncode:
            # Some errors begin on the line below `ERROR:`.
            error = completed.stderr.strip().removeprefix("ERROR:").strip().partition("\n")[0]
            raise PermanentError(f"{doing}: {error or f'exit status {completed.returncode}'}")
        try:
            return json.loads(completed.stdout or "null")
        except ValueError as exc:
            raise PermanentError(f"{doing}: the output is not JSON; run the command by hand, and update az") from exc


def find_azure_cli() -> AzureCli | None:
    """Return the az on PATH; None if there is none."""
    program = shutil.which("az")
    return AzureCli(program) if program else None


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A function app in Azure."""

    name: str
    group: str


def find_app(cli: AzureCli, name: str | None, group: str | None = None) -> App:
    """Return the app of this name, or the only app of a resource group. Raises PermanentError."""
    if name is not None and not _NAME.fullmatch(name):
        raise PermanentError(f"--app {name}: not a valid name of a function app")
    where = ("--resource-group", group) if group else ()
    listed = cli.ask("functionapp", "list", *where, "--query", "[].{name: name, group: resourceGroup}") or ()
    apps = [App(**app) for app in listed if name in (None, app["name"])]
    inside = f"resource group {group}" if group else "subscription"
    if not apps:
        what = f"--app {name}" if name else f"--resource-group {group}"
        raise PermanentError(f"{what}: no such function app in this {inside}; see `az account show`")
    if len(apps) > 1:
        names = ", ".join(sorted(app.name for app in apps))
        raise PermanentError(f"--resource-group {group}: it has several function apps: name one with --app: {names}")
    return apps[0]


def app_settings(cli: AzureCli, app: App, secrets: str = "") -> tuple[Mapping[str, str], Sequence[Finding]]:
    """Return a deployed app's settings, and problems of Key Vault references.

    References are resolved only in settings whose names begin with `secrets`. Raises PermanentError.
    """
    of_app = ("--name", app.name, "--resource-group", app.group)
    listed = cli.ask("functionapp", "config", "appsettings", "list", *of_app)
    values = {item["name"]: item["value"] or "" for item in listed if item["name"].upper() not in _OF_IDENTITY}
    problems = [_follow(cli, name, values) for name in values if name.upper().startswith(secrets)]
    return values, [problem for problem in problems if problem]


def _follow(cli: AzureCli, name: str, values: dict[str, str]) -> Finding | None:
    """Replace a Key Vault reference by its secret; return a finding if the secret cannot be read."""
    reference = _REFERENCE.fullmatch(values[name].strip())
    if reference is None:
        return None
    try:
        values[name] = str(cli.ask("keyvault", "secret", "show", *_secret(reference), "--query", "value"))
    except PermanentError as exc:
        return wrong("settings", f"{name}: its secret could not be read: {exc}")
    return None


def _secret(reference: re.Match[str]) -> Iterator[str]:
    if reference["uri"]:
        yield from ("--id", reference["uri"])
    else:
        yield from ("--vault-name", reference["vault"], "--name", reference["name"])
