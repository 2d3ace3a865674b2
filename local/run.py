"""Run the whole system until Ctrl-C, with your own servers or with sample servers that get new archives."""

import argparse
import itertools
import json
import re
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from config.errors import SettingsError
from config.settings import read_settings
from imagefeed.errors import PipelineError, TransientError
from local import sample_specs as orders
from local import samples
from local.completions import Completions
from local.demo.traffic import Drop, upload
from local.emulator import DEVELOPMENT_STORAGE
from local.interrupt import interrupt_once
from local.servers.child import ServerFailedError
from local.source_errors import SourceErrors
from local.system import CACHE, LOCAL, PROJECT, QUICK, SOURCES, System, system
from ops.cli.pipeline import pipeline_notes
from preprocess.recipe import identify
from storage.blobs.source_state import BlobSourceStates
from storage.clients import connected

_STORAGE = re.compile(r"(DATA_STORAGE(__.*)?|AzureWebJobsStorage(__.*)?)$", re.IGNORECASE)
_SAMPLE = {"SOURCES__SAMPLE__URL": "ftp://127.0.0.1/"}
"""Placeholder for the sample servers, which have not been started yet."""
_LOOK_EVERY = 1.0
_SEEDS = 8
"""Number of different archives; after that they repeat under new names."""


def main() -> int:
    """Run until interrupted."""
    chosen = _arguments()
    console = Console()
    interrupt_once()
    try:
        own = own_settings(PROJECT / "local.settings.json")
        with_samples = not any(name.upper().startswith("SOURCES__") for name in own)
        sources, settings = (SOURCES, {**QUICK, **own}) if with_samples else ({}, own)
        folder = chosen.folder or LOCAL / ("run" if with_samples else "own")
        with system(folder, sources=sources, settings=settings, host=chosen.host) as running:
            _explain(console, running, settings)
            with connected(running.connection) as clients:
                read = read_settings(running.settings)
                for line in pipeline_notes(clients, read.sources, identify(read.recipe, read.pipeline.name)):
                    _print(console, line)
                ends = None if chosen.quiet else Completions(clients, read.sources)
                errors = SourceErrors(BlobSourceStates(clients), read.sources)
                _keep_going(console, running, None if chosen.quiet or not sources else chosen.every, ends, errors)
    except KeyboardInterrupt:
        console.print(Text("stopped; the data is kept, and the next run continues with it"))
    except (PipelineError, ServerFailedError) as exc:
        console.print(Text(f"error: {exc}", "red"), soft_wrap=True)
        return 1
    return 0


def own_settings(file: Path) -> dict[str, str]:
    """Return the settings of a developer's local.settings.json, without those of storage, which is the emulator.

    Empty values and a missing file are allowed. If no source is set, the sample servers are used. Raises SettingsError.
    """
    if not file.exists():
        return {}
    try:
        values = {name: str(value) for name, value in json.loads(file.read_text(encoding="utf-8"))["Values"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise SettingsError(f"read {file.name}: it must be JSON with an object `Values`: {exc}") from exc
    own = {name: value for name, value in values.items() if not _STORAGE.match(name)}
    # Checked here, because the host would report wrong settings only in its log, at each call.
    read = read_settings({**_SAMPLE, **own, "DATA_STORAGE": DEVELOPMENT_STORAGE})
    identify(read.recipe, read.pipeline.name)
    return {name: value for name, value in own.items() if value.strip()}


def write_environment(file: Path, settings: Mapping[str, str]) -> None:
    """Write a file for a shell to source: PATH with the command's folder, and settings with valid shell names."""
    file.touch()
    file.chmod(0o600)
    lines = [f'export PATH={shlex.quote(str(PROJECT / "local" / "bin"))}:"$PATH"\n']
    lines += [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items() if name.isidentifier()]
    file.write_text("".join(lines), encoding="utf-8")


def _explain(console: Console, running: System, settings: Mapping[str, str]) -> None:
    environment = LOCAL / "env"
    write_environment(environment, running.settings)
    shown = _short(environment)
    own = [value for name, value in settings.items() if name.upper().endswith("__URL")]
    rows = [
        *((f"source {name}", f"{s.kind}, drop zips into {_short(s.root)}") for name, s in running.sources.items()),
        *(("your source", url) for url in own),
        ("functions host", f"{running.host_kind}, {running.host_url}"),
        ("status page", running.status_url),
        ("settings", f"{_short(running.folder / 'app' / 'local.settings.json')}, and {shown} for a shell"),
        ("logs", _short(running.logs)),
        ("look inside", f". {shown} && imagefeed ls"),
        ("stop", "Ctrl-C"),
    ]
    for title, value in rows:
        console.print(Text.assemble((f"{title:<16} ", "dim"), value), soft_wrap=True)


def _keep_going(
    console: Console, running: System, every: float | None, ends: Completions | None, errors: SourceErrors
) -> None:
    """Upload a zip to the servers in turn every `every` seconds (None: never) and print what ends, until Ctrl-C."""
    for number in itertools.count():
        if every is not None:
            drop = _next_drop(list(running.sources), number)
            upload(drop, running.sources[drop.source].root, threading.Event())
            _print(console, f"{datetime.now(UTC):%H:%M:%S}  {drop.source}: {drop.name} is new")
        _wait(console, running, every or _LOOK_EVERY, ends, errors)


def _next_drop(sources: Sequence[str], number: int) -> Drop:
    source = sources[number % len(sources)]
    sample = samples.make(orders.small(number % _SEEDS + 1, images=4), CACHE)
    return Drop(source=source, name=f"{source}_{datetime.now(UTC):%Y%m%d_%H%M%S}.zip", sample=sample, after=0)


def _wait(console: Console, running: System, seconds: float, ends: Completions | None, errors: SourceErrors) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if event := running.check():
            _print(console, f"{datetime.now(UTC):%H:%M:%S}  {event}")
        # The next call reports what this one could not read.
        with suppress(TransientError):
            for line, colour in errors.news():
                console.print(Text(f"{datetime.now(UTC):%H:%M:%S}  {line}", colour), soft_wrap=True)
            for line in ends.news() if ends else ():
                _print(console, line)
        time.sleep(min(left, _LOOK_EVERY))


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _short(path: Path) -> str:
    """Return a path relative to the project's folder if it lies below."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.run", description="Keep the whole system running.")
    parser.add_argument(
        "--every",
        type=float,
        default=60,
        metavar="SECONDS",
        help="time between two new archives (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="add no sample archives and print no line per archive")
    parser.add_argument("--host", choices=("auto", "func", "local"), default="auto", help="functions host to use")
    parser.add_argument("--folder", type=Path, help="keep data and logs here (default: .local/run, or .local/own)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
