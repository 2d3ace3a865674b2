"""The command `python -m ops.cli doctor`: looks at everything, says in plain words what is wrong and what to do."""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from config.errors import SettingsError
from config.settings import Settings, Storage, environment, read_limits, read_pipeline, read_settings, read_storage
from imagefeed.errors import PermanentError, PipelineError
from ops.health.doctor.app import (
    check_identity,
    check_listeners,
    check_pipeline,
    check_polling,
    check_reconcile,
    check_storage,
    other_settings,
)
from ops.health.doctor.azure_cli import app_settings, find_azure_cli
from ops.health.doctor.events import check_events
from ops.health.doctor.findings import CheckStatus, Finding, line, ok, secrets_of, summary, unknown, wrong
from ops.health.doctor.sources import CALL_WITHIN, check_sources
from ops.text import count
from preprocess.recipe import identify
from storage.blobs.pipelines import known_fingerprint
from storage.clients import Clients, connect

_NO_SETTINGS = (
    "doctor: this shell has no settings of the app. Locally: `make run`, then `. .local/env` in another terminal. "
    "For an app in Azure: `az login`, then `python -m ops.cli doctor --app NAME`"
)
_MEND = "the settings must be right first"


def run(app: str | None, tell: Callable[[str], object]) -> int:
    """Look at everything; 0 if all is well, 1 if anything is wrong. Raises PermanentError if it cannot begin."""
    told, problems = _told(app)
    chosen, found = _settings(told)
    return _tell(chain(problems, found, _look(told, chosen)), secrets_of(chosen) if chosen else (), tell)


def run_smoke(app: str | None, within: timedelta, tell: Callable[[str], object]) -> int:
    """Send a small archive through the app, and remove it again; returns and raises as `run` does."""
    told, unread = _told(app)
    # Passwords of servers are not needed, and whoever deploys may lack the right to read them.
    chosen, found = (None, [unknown(one.about, one.message) for one in unread]) if unread else _settings(told)
    secrets = secrets_of(chosen) if chosen else [text for name, text in told.items() if name.upper() == "DATA_STORAGE"]
    if chosen is None and not unread:
        # The app itself cannot run with them.
        return _tell(chain(found, [unknown("smoke", _MEND)]), secrets, tell)
    with _terminable(), closing(_send(told, within)) as sent:
        return _tell(chain(found, sent), secrets, tell)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, with which pipelines are cancelled, end this in order, as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(findings: Iterable[Finding], secrets: Iterable[str], tell: Callable[[str], object]) -> int:
    told: list[Finding] = []
    for finding in findings:
        told.append(finding)
        tell(line(finding, secrets))
    tell(f" {summary(told)}")
    return int(any(finding.status is CheckStatus.WRONG for finding in told))


def _told(app: str | None) -> tuple[Mapping[str, str], Sequence[Finding]]:
    """Give the settings as text: this shell's, or those of an app in Azure."""
    if app is None:
        told = environment()
        if not told:
            raise PermanentError(_NO_SETTINGS)
        return told, ()
    cli = find_azure_cli()
    if cli is None:
        raise PermanentError("doctor --app: Azure CLI (az) is not on PATH; install it, then `az login`")
    return app_settings(cli, app)


def _settings(told: Mapping[str, str]) -> tuple[Settings | None, Iterable[Finding]]:
    try:
        chosen = read_settings(told)
    except SettingsError as exc:
        return None, [wrong("settings", problem) for problem in exc.problems]
    return chosen, [ok("settings", f"right, with {count(len(chosen.sources), 'source')}: {', '.join(chosen.sources)}")]


def _look(told: Mapping[str, str], chosen: Settings | None) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if chosen is None:
        yield unknown("sources", _MEND)
    else:
        yield from check_sources(chosen.sources, now)
    try:
        storage = read_storage(told)
    except SettingsError:
        yield unknown("storage", _MEND)
        return
    yield from _look_into(storage, chosen, now)
    yield from check_events(storage, find_azure_cli())


def _send(told: Mapping[str, str], within: timedelta) -> Generator[Finding]:
    # Imported here: what decodes pictures takes its time, and no other command needs it.
    from ops.health.doctor.smoke import run_smoke_test
    from ops.health.doctor.smoke_archive import make

    try:
        where, (recipe, pipeline), limits = read_storage(told), read_pipeline(told), read_limits(told)
        identity, made = identify(recipe, pipeline.name), make(recipe, limits)
        clients = _connect(where)
    except SettingsError as exc:
        yield from (wrong("settings", problem) for problem in exc.problems)
        return
    try:
        first = known_fingerprint(clients, identity.pipeline)
        if first not in (None, identity.fingerprint):
            yield wrong("pipeline", other_settings(identity.pipeline))
            return
        hooked = identity.hook is not None
        yield from run_smoke_test(clients, made, identity.pipeline, has_hook=hooked, within=within)
    except PipelineError as exc:
        yield wrong("smoke", str(exc))
    finally:
        clients.close()


def _connect(where: Storage, **options: Any) -> Clients:
    """Connect to where the settings say. Raises SettingsError."""
    return connect(
        where.connection, blob=where.blob, queue=where.queue, table=where.table, client_id=where.client_id, **options
    )


def _look_into(where: Storage, chosen: Settings | None, now: datetime) -> Iterator[Finding]:
    try:
        # A person waits: no second try, and no long one.
        clients = _connect(where, retries=0, read_timeout=CALL_WITHIN)
    except SettingsError as exc:
        yield wrong("settings", str(exc))
        return
    try:
        there = list(check_storage(clients))
        yield from there
        yield from check_identity(where)
        if chosen is None:
            yield unknown("app", _MEND)
        elif all(finding.status is CheckStatus.WRONG for finding in there):
            yield unknown("app", "storage must answer first: the app's marks are there")
        else:
            yield from check_pipeline(clients, chosen)
            yield from check_polling(clients, chosen, now)
            yield from check_reconcile(clients, now)
            yield from check_listeners(clients, chosen, now)
    finally:
        clients.close()
