"""Start and stop the whole system on one machine: Azurite, servers, functions host and event relay."""

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from config.settings import Schedules
from imagefeed.errors import PermanentError
from imagefeed.layout import DEAD_LETTER_CONTAINER, RAW_CONTAINER
from local.azurite import Azurite, azurite
from local.child import Child
from local.core_tools import FIRST_START, Patience, answers, check_version, wait_for_answer
from local.servers.child import children, free_port, kill_tree
from local.servers.server import Server, ftp_server, sftp_server
from ops.health.doctor.functions import FunctionsHost, list_functions
from storage.clients import connected, prepare

PROJECT = Path(__file__).absolute().parent.parent
LOCAL = PROJECT / ".local"
CACHE = LOCAL / "samples"
SOURCES: Mapping[str, "Scheme"] = {"north": "sftp", "south": "ftp"}
QUICK: Mapping[str, str] = {
    "POLL_SCHEDULE": "*/2 * * * * *",
    "RECONCILE_SCHEDULE": "*/10 * * * * *",
    "PIPELINE_REDRIVE_AFTER": "15s",
}
"""Settings with shorter intervals than the defaults, for demos."""

type Scheme = Literal["sftp", "ftp", "ftpes", "ftps"]
type Host = Literal["auto", "func", "local"]

# Settings in the caller's environment must not reach the system: they could add sources, change limits, or send a
# demo's telemetry to the caller's real Application Insights.
_OURS = re.compile(
    r"(DATA_STORAGE(__|$)|SOURCES__|PREPROCESS_|LIMIT_|BATCH_|TABLE_|PIPELINE_|AzureWebJobs|\w+_SCHEDULE$"
    # The last one could select another Python for `func`.
    r"|(PYTHON_)?APPLICATIONINSIGHTS_|OTEL_|languageWorkers(:|__))",
    re.IGNORECASE,
)
_START = Patience(to_listen=60.0, to_answer=60.0, quiet=60.0)
"""For `local.host`, which downloads nothing."""
_STOP_WITHIN = 15.0
"""Seconds; the host itself waits 10 s for running functions."""
_UNANSWERED_ENDS = 3
"""A host that ends this often in a row without ever answering is treated as one that cannot start."""


class System:
    """A running system."""

    def __init__(
        self,
        folder: Path,
        *,
        storage: Azurite,
        settings: Mapping[str, str],
        sources: Mapping[str, Server],
        host: Host,
        scale: float = 1,
        suppressed: str | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.storage = storage
        """The emulator. To simulate an outage of storage, call `stop`, then `start`; the ports stay the same."""
        self.connection = connection = storage.connection
        self.settings = settings
        """App settings of the functions app, as in local.settings.json."""
        self.sources = sources
        self.host_kind = _choose(host)
        # The port stays the same over restarts, because the relay gets the address only once.
        self._port = port = free_port()
        self._say = say
        self.host_url = f"http://127.0.0.1:{port}"
        app = self._app = _app_folder(folder / "app", settings)
        environment = clean_environment()
        if self.host_kind == "func":
            check_version(environment)
        self._host = Child(_host_command(self.host_kind, app, port, scale), app, self.logs / "host.log", environment)
        self._host_listened = False
        self.host_ends = 0
        """Number of times the host ended by itself and was restarted."""
        self._unanswered_ends = 0
        self._relay = Child(
            _relay_command(self.host_url, folder / "relay.json", suppressed),
            PROJECT,
            self.logs / "relay.log",
            environment | {"DATA_STORAGE": connection},
        )

    @property
    def status_url(self) -> str:
        """URL of the status page."""
        return f"{self.host_url}/api/status"

    @property
    def host_pid(self) -> int | None:
        """Process ID of the functions host, or None if it does not run."""
        return self._host.pid

    def start_host(self) -> None:
        """Start the functions host and wait until it answers. Raises PermanentError."""
        self._host_listened = False
        self._host.start()
        why = wait_for_answer(
            self._port, lambda: self._host.ended, FIRST_START if self.host_kind == "func" else _START, self._say
        )
        if why is not None:
            raise PermanentError(f"start the functions host: {why}; {self._host.log} ends with:\n{self._end_of_log()}")
        self._host_listened = True
        if problems := _disabled_functions(self.host_url):
            raise PermanentError("start the functions host: functions are switched off:\n" + "\n".join(problems))

    def change_settings(self, changes: Mapping[str, str]) -> None:
        """Change app settings; they take effect when the host starts next."""
        self.settings = {**self.settings, **changes}
        _write_settings(self._app, self.settings)

    def kill_host(self) -> None:
        """Kill the functions host and its child processes."""
        self._host.kill()

    def kill_worker(self) -> bool:
        """Kill one of the host's worker processes. Return False if none runs. Works only with the local host."""
        workers = children(self._host.pid) if self._host.pid else []
        for worker in workers[:1]:
            kill_tree(worker)
        return bool(workers)

    def restart_host(self) -> None:
        """Stop the functions host gracefully and start it. Raises PermanentError if it does not start."""
        self._host.stop(_STOP_WITHIN)
        self.start_host()

    def start_relay(self) -> None:
        """Start the relay, which sends the host an event for every new raw blob."""
        self._relay.start()

    def stop_relay(self) -> None:
        """Stop the relay, so that no more events are sent."""
        self._relay.stop()

    def check(self) -> str | None:
        """Restart a host that has ended by itself, as Azure does. Return a message, or None if it still runs.

        Also trim long logs. Raises PermanentError if the host cannot start, or if the relay or the emulator has ended.
        """
        if self.storage.ended:
            raise PermanentError(
                f"Azurite has ended by itself, so everything is stopped: see {self.storage.log}. `Invalid string "
                "length` there means that its tables are full: they hold 512 MB, some 2,500 images in rows; `make "
                "reset` empties them"
            )
        for child in (self._host, self._relay):
            child.trim()
        ended = self._host.ended
        self._host_listened = self._host_listened or (not ended and answers(self._port))
        # A host may answer and end between two calls, so one end without a known answer proves nothing.
        self._unanswered_ends = 0 if self._host_listened else self._unanswered_ends + ended
        if self._relay.ended or self._unanswered_ends >= _UNANSWERED_ENDS:
            child = self._relay if self._relay.ended else self._host
            raise PermanentError(
                f"the {child.log.stem} has ended by itself, so everything is stopped: see {child.log}; unfinished work "
                "continues at the next start"
            )
        if not ended:
            return None
        self._host_listened = False
        self.host_ends += 1
        why = self._end_of_log(1)
        self._host.start()
        return f"the functions host has ended and is restarted, as Azure does: {why}"

    def stop(self) -> None:
        """Stop relay and host, in this order."""
        self._relay.stop()
        self._host.stop(_STOP_WITHIN)

    def _end_of_log(self, lines: int = 20) -> str:
        return "\n".join(self._host.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def system(
    folder: Path,
    *,
    sources: Mapping[str, Scheme] = SOURCES,
    settings: Mapping[str, str] = QUICK,
    host: Host = "auto",
    scale: float = 1,
    suppressed: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = print,
) -> Iterator[System]:
    """Run the whole system in `folder`, which holds its data and logs; a later run continues from it unless `fresh`.

    `sources` maps a source's name to the kind of its server. `settings` are added to those that the servers and Azurite
    require. `scale` divides the host's intervals (leases of messages and timers, timeouts), but only for `local`. No
    event is sent for archives whose names contain `suppressed`. Progress lines of a slow start go to `say`. Raises
    PermanentError.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(alone(folder))
        if fresh:
            _remove(folder)
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        emulator = stack.enter_context(azurite(folder / "azurite"))
        servers = {name: stack.enter_context(_server(scheme, folder, name)) for name, scheme in sources.items()}
        with connected(emulator.connection) as clients:
            prepare(clients)
        running = System(
            folder,
            storage=emulator,
            settings={**_settings(emulator.connection, servers), **settings},
            sources=servers,
            host=host,
            scale=scale,
            suppressed=suppressed,
            say=say,
        )
        stack.callback(running.stop)
        running.start_host()
        running.start_relay()
        yield running


def _remove(folder: Path) -> None:
    """Delete an earlier run. Raises PermanentError if the folder holds anything else, because it may be a mistake."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "logs").is_dir():
        raise PermanentError(f"start the system in {folder}: it holds something else; choose a new or empty folder")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; the operating system releases the lock when the process ends.

    Raises PermanentError if another process has the lock.
    """
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PermanentError(f"use {folder}: another system runs there; stop it first") from exc
        yield


@contextmanager
def _server(scheme: Scheme, folder: Path, name: str) -> Iterator[Server]:
    home, root = folder / "servers" / name, folder / "outgoing" / name
    root.mkdir(parents=True, exist_ok=True)
    if scheme == "sftp":
        with sftp_server(home, root) as server:
            yield server
    else:
        tls: Mapping[Scheme, Literal["explicit", "implicit"]] = {"ftpes": "explicit", "ftps": "implicit"}
        with ftp_server(home, root, tls=tls.get(scheme)) as server:
            yield server


def _settings(connection: str, servers: Mapping[str, Server]) -> dict[str, str]:
    schedules = Schedules()
    settings = {
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsStorage": connection,
        "DATA_STORAGE": connection,
        # The host reads these two for the triggers, so the app's defaults do not apply.
        "POLL_SCHEDULE": schedules.poll,
        "RECONCILE_SCHEDULE": schedules.reconcile,
    }
    for name, server in servers.items():
        settings |= server.app_settings(name)
    return settings


def _app_folder(folder: Path, settings: Mapping[str, str]) -> Path:
    """Link the app into `folder` with its own settings; the project's local.settings.json belongs to the developer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in PROJECT.iterdir():
        if not part.name.startswith(".") and part.name != "local.settings.json":
            (folder / part.name).symlink_to(part)
    _write_settings(folder, settings)
    return folder


def _write_settings(app: Path, settings: Mapping[str, str]) -> None:
    file = app / "local.settings.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"IsEncrypted": False, "Values": dict(settings)}, indent=2), encoding="utf-8")


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without settings of this app, and with this Python first on PATH."""
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
    }


def _choose(host: Host) -> Literal["func", "local"]:
    if host == "auto":
        return "func" if shutil.which("func") else "local"
    return host


def _host_command(kind: Literal["func", "local"], app: Path, port: int, scale: float) -> list[str]:
    if kind == "func":
        return ["func", "start", "--port", str(port)]
    return [sys.executable, "-m", "local.host", "--app", str(app), "--port", str(port), "--scale", str(scale)]


def _relay_command(host: str, state: Path, suppressed: str | None) -> list[str]:
    to = f"{host}/runtime/webhooks/EventGrid?functionName=on_raw_archive"
    watched = ["--container", RAW_CONTAINER, "--suffix", ".zip", "--to", to, "--dead-letter", DEAD_LETTER_CONTAINER]
    return [
        sys.executable,
        "-m",
        "local.relay",
        *watched,
        *(["--without", suppressed] if suppressed else []),
        "--state",
        str(state),
        "--interval",
        "0.25",
        "--scale",
        "0.1",
    ]


def _disabled_functions(host: str) -> list[str]:
    """Return a line for each function that the host has disabled because it cannot run, with the reason."""
    functions = list_functions(FunctionsHost(host))
    problems = [f"{function.name}: {error}" for function in functions for error in function.errors]
    return problems if functions else ["no function was found; see the host's log"]
