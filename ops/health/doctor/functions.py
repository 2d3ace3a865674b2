"""Checks through the admin API of the functions host which functions are disabled or failed to load."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from imagefeed.errors import PermanentError
from ops.health.doctor.azure_cli import App, AzureCli
from ops.health.doctor.findings import Finding, ok, unknown, wrong
from storage.blobs.runs import FUNCTIONS

_WITHIN = 20.0
_NEEDED = (*FUNCTIONS, "on_raw_archive")
_ABOUT = "functions"


@dataclass(frozen=True, slots=True)
class FunctionsHost:
    """URL of a functions host and the key of its admin API; a local host needs no key."""

    url: str
    key: str | None = field(default=None, repr=False)

    def ask(self, path: str) -> Any:
        """Return the JSON at `/admin/functions{path}`. Raises PermanentError."""
        where, doing = urlsplit(self.url), f"ask {self.url}/admin/functions{path}"
        # urllib would send the key to the target of a redirect.
        connect = HTTPSConnection if where.scheme == "https" else HTTPConnection
        connection = connect(where.netloc, timeout=_WITHIN)
        try:
            connection.request("GET", f"/admin/functions{path}", headers={"x-functions-key": self.key or ""})
            answer = connection.getresponse()
            if answer.status != 200:
                raise PermanentError(
                    f"{doing}: HTTP status {answer.status}: check that the app runs and that the key is right"
                )
            return json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as exc:
            raise PermanentError(f"{doing}: {type(exc).__name__}: {exc}: check that the app runs") from exc
        finally:
            connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFunction:
    """A function in the admin API of its host."""

    name: str
    errors: Sequence[str]
    """Errors of indexing, which disables only this function, or of starting its listener."""
    disabled: bool
    """A setting disables it."""


def list_functions(host: FunctionsHost) -> Sequence[HostedFunction]:
    """Return all functions of a host. Raises PermanentError."""
    return [
        # The host omits `errors` if there are none.
        HostedFunction(
            name=(name := str(function["name"])),
            errors=host.ask(f"/{name}/status").get("errors") or (),
            disabled=bool(function.get("isDisabled")),
        )
        for function in host.ask("")
    ]


def check_functions(host: FunctionsHost) -> Iterator[Finding]:
    """Yield the functions that the host does not run; the host itself may be healthy."""
    try:
        functions = list_functions(host)
    except PermanentError as exc:
        yield unknown(_ABOUT, str(exc))
        return
    missing = sorted({*_NEEDED} - {function.name for function in functions})
    findings = [
        *(wrong(_ABOUT, f"{name} is missing: the code does not load; see the host's log") for name in missing),
        *(wrong(_ABOUT, problem) for function in functions if (problem := _problem(function))),
    ]
    yield from findings or [ok(_ABOUT, f"all {len(functions)} are indexed, and none is disabled")]


def _problem(function: HostedFunction) -> str | None:
    if function.errors:
        return f"{function.name} is disabled, or its listener does not start: {' '.join(function.errors)}"
    if function.disabled:
        return f"{function.name} is disabled: remove the setting AzureWebJobs.{function.name}.Disabled"
    return None


def host_in_azure(cli: AzureCli, app: App) -> FunctionsHost:
    """Return the URL and master key of an app, from az. Raises PermanentError."""
    of_app = ("--name", app.name, "--resource-group", app.group)
    name = cli.ask("functionapp", "show", *of_app, "--query", "properties.defaultHostName || defaultHostName")
    key = cli.ask("functionapp", "keys", "list", *of_app, "--query", "masterKey")
    return FunctionsHost(f"https://{name}", str(key))
