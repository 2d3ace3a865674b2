"""Microsoft's compiler of Bicep: its messages about a template, and the resources that a deployment would make."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from local.servers.needed import ProgramMissingError

INFRA = Path(__file__).parents[2] / "infra"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = "pictures"


@dataclass(frozen=True, slots=True)
class Deployment:
    """The resources of a deployment; values that only Azure knows stay expressions in brackets."""

    predicted: tuple[Mapping[str, Any], ...]
    outputs: Mapping[str, Any]

    def resources(self, kind: str) -> list[Mapping[str, Any]]:
        """Return all resources of a type, such as Microsoft.Web/sites."""
        return [resource for resource in self.predicted if resource["type"] == kind]

    def resource(self, kind: str, name: str = "") -> Mapping[str, Any]:
        """Return the only resource of a type whose name has this end."""
        (only,) = (resource for resource in self.resources(kind) if resource["name"].endswith(name))
        return only


def compiler() -> str:
    """Return the compiler's path. Raises ProgramMissingError."""
    installed = Path(os.environ.get("AZURE_CONFIG_DIR", Path.home() / ".azure")) / "bin" / "bicep"
    program = shutil.which("bicep") or (str(installed) if installed.exists() else None)
    if program is None:
        raise ProgramMissingError("bicep", "az bicep install")
    return program


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the compiler. Raises ProgramMissingError."""
    return subprocess.run([compiler(), *arguments], capture_output=True, text=True, check=False)


def given(**parameters: object) -> str:
    """Write parameters as the lines of a parameter file."""
    return "".join(f"param {name} = {_literal(value)}\n" for name, value in parameters.items())


def predict(lines: str, template: str = "main.bicep") -> Deployment:
    """Return the resources that a deployment with these lines of a parameter file would make."""
    done, snapshot = _snapshot(template, lines)
    assert snapshot is not None, done.stderr
    prediction = json.loads(snapshot)
    return Deployment(tuple(prediction["predictedResources"]), prediction["outputs"])


def refusal(lines: str, template: str = "main.bicep") -> str:
    """Return the reason why a deployment with these lines of a parameter file is refused before it begins."""
    done, snapshot = _snapshot(template, lines)
    assert snapshot is None, "it is not refused"
    (message,) = re.findall(r"is not valid: (.*)\. Please see ", done.stderr)
    return str(message)


@cache
def _snapshot(template: str, lines: str) -> tuple[subprocess.CompletedProcess[str], str | None]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / "given.bicepparam"
        file.write_text(f"using '{os.path.relpath(INFRA / template, file.parent)}'\n{lines}")
        where = ("--subscription-id", SUBSCRIPTION, "--resource-group", GROUP, "--location", "northeurope")
        done = run("snapshot", str(file), "--mode", "overwrite", *where)
        written = file.with_name("given.snapshot.json")
        return done, written.read_text() if done.returncode == 0 else None


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"
    if isinstance(value, Mapping):
        return "{\n" + "".join(f"  {_literal(name)}: {_literal(item)}\n" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_literal(item)}\n" for item in value) + "]"
    return str(value)
