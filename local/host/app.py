"""Read an app's host.json and local.settings.json, and resolve `%NAME%` references to settings."""

import json
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from local.emulator import written_out

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?")
_NAME = re.compile(r"%([^%\s]+)%")
_WORKER_LIMIT = 10
_SHORTEST_POLLING = timedelta(milliseconds=100)
_SHORTEST_LEASE = timedelta(seconds=15)
_LONGEST_LEASE = timedelta(minutes=1)


# The app may have its own `errors` or `config` module, so modules that its worker imports use nothing outside `local`.
class HostError(Exception):
    """The app cannot run; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """`extensions.queues` of host.json, with the defaults of Azure Functions."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_polling_interval: timedelta = timedelta(minutes=1)
    visibility_timeout: timedelta = timedelta(0)
    """Delay before a retry, not the time for which a message is hidden while it runs."""
    max_dequeue_count: int = 5
    base64: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SingletonOptions:
    """Options of `singleton` in host.json that affect timers, with the defaults of Azure Functions."""

    listener_lock_period: timedelta = timedelta(minutes=1)
    listener_lock_recovery: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A function app's folder and the options of its host.json."""

    folder: Path
    function_timeout: timedelta | None
    route_prefix: str
    queues: QueueOptions
    singleton: SingletonOptions
    problem: str | None = None
    """An invalid option of host.json. The host then runs, but answers every request with 503."""


def load_app(folder: Path) -> App:
    """Read an app's host.json. Raises HostError."""
    if not (folder / "function_app.py").is_file():
        raise HostError(f"{folder} has no function_app.py: give the folder of a Python app (model v2) with --app")
    host = _read_json(folder / "host.json")
    extensions = host.get("extensions", {})
    if not isinstance(extensions, dict):
        raise HostError(f"{folder / 'host.json'} is wrong: extensions must be an object")
    timeout = host.get("functionTimeout", "00:30:00")
    queues, singleton, problem = QueueOptions(), SingletonOptions(), None
    section = "extensions.queues"
    try:
        queues = _queue_options(extensions.get("queues", {}))
        section = "singleton"
        singleton = _singleton_options(host.get("singleton", {}))
    except (ValueError, TypeError, AttributeError) as exc:
        problem = f"{section} of host.json is wrong: {exc}"
    try:
        return App(
            folder=folder,
            function_timeout=None if timeout in ("-1", "-00:00:01") else parse_time_span(timeout),
            route_prefix=extensions.get("http", {}).get("routePrefix", "api").strip("/"),
            queues=queues,
            singleton=singleton,
            problem=problem,
        )
    except (ValueError, TypeError, AttributeError) as exc:
        raise HostError(f"{folder / 'host.json'} is wrong: {exc}") from exc


def _queue_options(queues: Mapping[str, Any]) -> QueueOptions:
    batch_size = int(queues.get("batchSize", 16))
    encoding = str(queues.get("messageEncoding", "base64")).lower()
    options = QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=int(queues.get("newBatchThreshold", batch_size // 2 * (os.process_cpu_count() or 1))),
        max_polling_interval=parse_time_span(queues.get("maxPollingInterval", "00:01:00")),
        visibility_timeout=parse_time_span(queues.get("visibilityTimeout", "00:00:00")),
        max_dequeue_count=int(queues.get("maxDequeueCount", 5)),
        base64=encoding == "base64",
    )
    # The limits of WebJobs' `QueuesOptions`.
    rules = (
        (1 <= batch_size <= 32, f"batchSize must be 1 to 32, not {batch_size}"),
        (options.new_batch_threshold >= 0, f"newBatchThreshold must be 0 or more, not {options.new_batch_threshold}"),
        (options.max_polling_interval >= _SHORTEST_POLLING, "maxPollingInterval must be 00:00:00.1 or more"),
        (options.max_dequeue_count >= 1, f"maxDequeueCount must be 1 or more, not {options.max_dequeue_count}"),
        (encoding in ("base64", "none"), f"messageEncoding must be base64 or none, not {encoding}"),
    )
    for kept, rule in rules:
        if not kept:
            raise ValueError(rule)
    return options


def _singleton_options(singleton: Mapping[str, Any]) -> SingletonOptions:
    options = SingletonOptions(
        listener_lock_period=parse_time_span(singleton.get("listenerLockPeriod", "00:01:00")),
        listener_lock_recovery=parse_time_span(singleton.get("listenerLockRecoveryPollingInterval", "00:01:00")),
    )
    # The limits of WebJobs' `SingletonOptions`.
    if not _SHORTEST_LEASE <= options.listener_lock_period <= _LONGEST_LEASE:
        raise ValueError("listenerLockPeriod must be 00:00:15 to 00:01:00")
    if options.listener_lock_recovery < _SHORTEST_LEASE:
        raise ValueError("listenerLockRecoveryPollingInterval must be 00:00:15 or more")
    return options


def add_local_settings(folder: Path, environ: MutableMapping[str, str]) -> None:
    """Add `Values` of local.settings.json, if it exists, to `environ`; values already set win. Raises HostError."""
    file = folder / "local.settings.json"
    if not file.is_file():
        return
    content = _read_json(file)
    if content.get("IsEncrypted"):
        raise HostError(f"{file} is encrypted: decrypt it with `func settings decrypt`")
    for name, value in content.get("Values", {}).items():
        if not isinstance(value, str):
            raise HostError(f"{file}: the value of {name} must be a text in quotes")
        if not environ.get(name):
            environ[name] = value


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with each `%NAME%` replaced by that setting. Raises HostError if one is not set."""

    def value(match: re.Match[str]) -> str:
        if not environ.get(match[1]):
            raise HostError(
                f"'%{match[1]}%' does not resolve: set {match[1]} in local.settings.json or the environment"
            )
        return environ[match[1]]

    return _NAME.sub(value, text)


def connection_string(name: str, environ: Mapping[str, str]) -> str:
    """Return the connection string that a binding's `connection` resolves to, as the real host resolves it.

    `AzureWebJobs` + name comes before the name itself, and each below `ConnectionStrings` before its plain setting; the
    first section that exists is used. A section exists if it has a value, even an empty one, or children (`__…`). .NET
    configuration ignores case. Source: WebJobs' `GetWebJobsConnectionStringSection`. Raises HostError.
    """
    name, settings = name or "Storage", _configuration(environ)
    names = (f"AzureWebJobs{name}", name)
    sections = [section for plain in names for section in (f"ConnectionStrings:{plain}", plain)]
    section_name = next((section for section in sections if _exists(section.casefold(), settings)), None)
    if section_name is None:
        raise HostError(f"the connection {name} is not set: set {name} to a connection string, such as Azurite's")
    if text := settings.get(section_name.casefold(), "").strip():
        return written_out(text)
    key = section_name.replace(":", "__")
    raise HostError(
        f"the connection {name} resolves to the setting {key}, which holds no connection string: this host supports no "
        "identities; set it to a connection string, remove it, or run the app with `func start`"
    )


def is_disabled(function: str, environ: Mapping[str, str]) -> bool:
    """Return True if a setting disables the function.

    The setting is `AzureWebJobs.<name>.Disabled`, or the same with `_` for `.`; its value is "1" or "true"; case does
    not matter. Source: WebJobs' `HostListenerFactory.IsDisabled` and `IsSettingEnabled`.
    """
    settings = _configuration(environ)
    names = (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs_{function}_Disabled")
    return any(settings.get(name.casefold(), "").casefold() in ("1", "true") for name in names)


def worker_count(environ: Mapping[str, str]) -> int:
    """Return the number of worker processes. Raises HostError if the setting is invalid.

    Source: the host's `RpcWorkerConfigFactory.GetWorkerProcessCount`.
    """
    text = environ.get("FUNCTIONS_WORKER_PROCESS_COUNT") or "1"
    try:
        count = max(int(text), 1)
    except ValueError:
        count = 0
    if not 1 <= count <= _WORKER_LIMIT:
        raise HostError(f"FUNCTIONS_WORKER_PROCESS_COUNT must be 1 to {_WORKER_LIMIT}, not {text}")
    return count


def _configuration(environ: Mapping[str, str]) -> dict[str, str]:
    """Return settings with keys as in .NET configuration: case is folded, and `__` becomes `:`, one level down."""
    return {key.casefold().replace("__", ":"): value for key, value in environ.items()}


def _exists(section: str, settings: Mapping[str, str]) -> bool:
    return section in settings or any(key.startswith(f"{section}:") for key in settings)


def parse_time_span(text: str) -> timedelta:
    """Parse `hh:mm:ss`, or with days `d.hh:mm:ss`. Raises ValueError."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a valid time span: it must be like 00:00:30")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as exc:
        raise HostError(f"cannot read {file}: {exc.strerror}") from exc
    except ValueError as exc:
        raise HostError(f"{file} is not valid JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise HostError(f"{file} must hold a JSON object")
    return content
