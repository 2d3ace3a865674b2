"""The verb `doctor`: checks settings, sources, storage and app, and reports what is wrong and what to do."""

import argparse
import signal
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain

from bootstrap import open_clients
from config.errors import SettingsError
from config.settings import Settings, Storage, environment, read_limits, read_pipeline, read_settings, read_storage
from imagefeed.errors import PermanentError, PipelineError
from imagefeed.terminal import count, write_json
from ops.cli.app import app_in_azure
from ops.health.doctor.app import (
    check_identity,
    check_listeners,
    check_pipeline,
    check_polling,
    check_runs,
    check_storage,
    other_settings,
)
from ops.health.doctor.azure_cli import App, AzureCli, app_settings, find_azure_cli
from ops.health.doctor.events import check_events
from ops.health.doctor.findings import CheckStatus, Finding, line, ok, redacted, secrets_of, summary, unknown, wrong
from ops.health.doctor.functions import FunctionsHost, check_functions, host_in_azure
from ops.health.doctor.sources import CALL_WITHIN, check_sources
from preprocess.recipe import identify
from storage.blobs.pipelines import known_fingerprint

_NO_SETTINGS = (
    "doctor: this shell has no settings of the app. Locally: `make run`, then `. .local/env` in another terminal. "
    "For an app in Azure: `az login`, then `imagefeed doctor --app NAME`"
)
_MEND = "correct the settings first"


def run(options: argparse.Namespace) -> int:
    """Run all checks; return 0 if nothing is wrong, else 1. Raises PermanentError if there are no settings to check."""
    found = app_in_azure(options)
    texts, problems = _read_texts(found)
    settings, findings = _settings(texts)
    checks = chain(problems, findings, _look_at_host(found, options.host), _look(texts, settings))
    return _report(checks, secrets_of(settings) if settings else (), as_json=options.json)


def _look_at_host(found: tuple[AzureCli, App] | None, url: str | None) -> Iterator[Finding]:
    try:
        host = host_in_azure(*found) if found else url and FunctionsHost(url.rstrip("/"))
    except PermanentError as exc:
        yield unknown(
            "functions", f"{exc}; this needs a role that may list the app's keys, such as Website Contributor"
        )
        return
    if host:
        yield from check_functions(host)
    else:
        yield unknown(
            "functions", "to check for disabled functions, name the app with --app, or a local host with --host"
        )


def run_smoke(options: argparse.Namespace) -> int:
    """Send a small archive through the app and remove it again; returns and raises as `run` does."""
    texts, unread = _read_texts(app_in_azure(options))
    # The smoke test uses no server passwords, and the role that deploys may lack the right to read them.
    settings, findings = (None, [unknown(one.about, one.message) for one in unread]) if unread else _settings(texts)
    storage = [text for name, text in texts.items() if name.upper() == "DATA_STORAGE"]
    secrets = secrets_of(settings) if settings else storage
    if settings is None and not unread:
        # The app itself cannot run with wrong settings, so a smoke test would only time out.
        return _report(chain(findings, [unknown("smoke", _MEND)]), secrets, as_json=options.json)
    with _terminable(), closing(_send(texts, options.within)) as sent:
        return _report(chain(findings, sent), secrets, as_json=options.json)


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, which CI systems send to cancel a job, so that cleanup runs as on Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(findings: Iterable[Finding], secrets: Collection[str], *, as_json: bool) -> int:
    seen: list[Finding] = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            print(line(finding, secrets), flush=True)
    if as_json:
        write_json({"checks": [_as_json(finding, secrets) for finding in seen]})
    else:
        print(f" {summary(seen)}")
    return int(any(finding.status is CheckStatus.WRONG for finding in seen))


def _as_json(finding: Finding, secrets: Collection[str]) -> Mapping[str, str]:
    status = finding.status.name.lower()
    return {"status": status, "about": finding.about, "message": redacted(finding, secrets)}


def _read_texts(found: tuple[AzureCli, App] | None) -> tuple[Mapping[str, str], Sequence[Finding]]:
    """Return the settings as text, of this shell or of an app in Azure, and findings on those that are unreadable."""
    if found is not None:
        return app_settings(*found)
    texts = environment()
    if not texts:
        raise PermanentError(_NO_SETTINGS)
    return texts, ()


def _settings(texts: Mapping[str, str]) -> tuple[Settings | None, Iterable[Finding]]:
    try:
        settings = read_settings(texts)
    except SettingsError as exc:
        return None, [wrong("settings", problem) for problem in exc.problems]
    sources = settings.sources
    return settings, [ok("settings", f"right, with {count(len(sources), 'source')}: {', '.join(sources)}")]


def _look(texts: Mapping[str, str], settings: Settings | None) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if settings is None:
        yield unknown("sources", _MEND)
    else:
        yield from check_sources(settings.sources, now)
    try:
        storage = read_storage(texts)
    except SettingsError:
        yield unknown("storage", _MEND)
        return
    yield from _look_into(storage, settings, now)
    yield from check_events(storage, find_azure_cli())


def _send(texts: Mapping[str, str], within: timedelta) -> Generator[Finding]:
    # Imported here because the image decoders are slow to import and only the smoke test needs them.
    from ops.health.doctor.smoke import run_smoke_test
    from ops.health.doctor.smoke_archive import make

    try:
        where, (recipe, pipeline), limits = read_storage(texts), read_pipeline(texts), read_limits(texts)
        identity, made = identify(recipe, pipeline.name), make(recipe, limits)
        clients = open_clients(where)
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


def _look_into(where: Storage, settings: Settings | None, now: datetime) -> Iterator[Finding]:
    try:
        # A person waits for the answer, so requests are not retried and time out early.
        clients = open_clients(where, retries=0, read_timeout=CALL_WITHIN)
    except SettingsError as exc:
        yield wrong("settings", str(exc))
        return
    try:
        checks = list(check_storage(clients))
        yield from checks
        yield from check_identity(where)
        if settings is None:
            yield unknown("app", _MEND)
        elif all(finding.status is CheckStatus.WRONG for finding in checks):
            yield unknown("app", "storage must answer first, because it holds the state of the app")
        else:
            yield from check_pipeline(clients, settings)
            yield from check_polling(clients, settings, now)
            yield from check_runs(clients, now)
            yield from check_listeners(clients, settings, now)
    finally:
        clients.close()
