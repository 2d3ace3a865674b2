"""The command `python -m storage doctor`: looks at everything, says in plain words what is wrong and what to do."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from doctor.app import look_at_pipeline, look_at_polling, look_at_reconcile, look_at_storage, whose_rights
from doctor.azure_cli import app_settings, find_azure_cli
from doctor.events import look_at_events
from doctor.findings import Finding, Sign, line, ok, secrets_of, summary, unknown, wrong
from doctor.sources import CALL_WITHIN, look_at_sources
from errors import PermanentError, SettingsError
from settings import Settings, Storage, environment, read_settings, read_storage
from status.words import count
from storage.clients import connect

_NO_SETTINGS = (
    "doctor: this shell has no settings of the app. Locally: `make run`, then `. .local/env` in another terminal. "
    "For an app in Azure: `az login`, then `python -m storage doctor --app NAME`"
)
_MEND = "the settings must be right first"


def run(app: str | None, tell: Callable[[str], object]) -> int:
    """Look at everything; 0 if all is well, 1 if anything is wrong. Raises PermanentError if it cannot begin."""
    told, problems = _told(app)
    chosen, found = _settings(told)
    secrets = secrets_of(chosen) if chosen else ()
    findings: list[Finding] = []
    for finding in chain(problems, found, _look(told, chosen)):
        findings.append(finding)
        tell(line(finding, secrets))
    tell(f" {summary(findings)}")
    return int(any(finding.sign is Sign.WRONG for finding in findings))


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
        yield from look_at_sources(chosen.sources, now)
    try:
        storage = read_storage(told)
    except SettingsError:
        yield unknown("storage", _MEND)
        return
    yield from _look_into(storage, chosen, now)
    yield from look_at_events(storage, find_azure_cli())


def _look_into(where: Storage, chosen: Settings | None, now: datetime) -> Iterator[Finding]:
    try:
        # A person waits: no second try, and no long one.
        clients = connect(
            where.connection,
            blob=where.blob,
            queue=where.queue,
            table=where.table,
            client_id=where.client_id,
            retries=0,
            read_timeout=CALL_WITHIN,
        )
    except SettingsError as exc:
        yield wrong("settings", str(exc))
        return
    try:
        there = list(look_at_storage(clients))
        yield from there
        yield from whose_rights(where)
        if chosen is None:
            yield unknown("app", _MEND)
        elif all(finding.sign is Sign.WRONG for finding in there):
            yield unknown("app", "storage must answer first: the app's marks are there")
        else:
            yield from look_at_pipeline(clients, chosen)
            yield from look_at_polling(clients, chosen, now)
            yield from look_at_reconcile(clients, now)
    finally:
        clients.close()
