"""The command `python -m ops.cli`: see what is stored, and take images out."""

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bootstrap import open_clients
from config.errors import SettingsError
from config.types import parse_duration
from imagefeed.errors import PipelineError
from imagefeed.tables import Reader
from ops.cli import replay_arguments
from ops.cli.doctor import run as examine
from ops.cli.doctor import run_smoke as send_smoke
from ops.text import clean
from storage.blobs.pipelines import require_pipeline
from storage.clients import Clients

_READING = ("ls", "refused", "latest", "export", "audit")
"""Commands that read what a pipeline made."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    chosen = _parser().parse_args(arguments)
    # The SDK warns of every retry; what matters ends in an error of ours.
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        if chosen.command == "doctor":
            # Before anything is opened: that it cannot be opened is what the doctor is asked about.
            tell = partial(print, flush=True)
            return send_smoke(chosen.app, chosen.within, tell) if chosen.smoke else examine(chosen.app, tell)
        clients = open_clients()
        try:
            return _run(chosen, clients)
        finally:
            clients.close()
    except PipelineError as exc:
        # Settings that are wrong have a line each. Else an error may repeat a stranger's text, line breaks and all.
        lines = str(exc).split("\n") if isinstance(exc, SettingsError) else [str(exc)]
        print(f"error: {'\n'.join(map(clean, lines))}", file=sys.stderr)
        return 2
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(chosen: argparse.Namespace, clients: Clients) -> int:
    try:
        from ops.cli import audit as commands_audit
        from ops.cli import images as commands
        from ops.cli import ls as commands_ls
        from ops.cli import replay as commands_replay
    except ModuleNotFoundError as exc:
        raise PipelineError(f"{exc.name} is missing: install requirements-dev.txt") from exc

    if chosen.pipeline is not None and chosen.command in _READING:
        require_pipeline(clients, chosen.pipeline)
    reader = Reader(clients, chosen.pipeline)
    match chosen.command:
        case "init":
            commands.initialise(clients)
        case "status":
            from ops.cli import status as commands_status

            commands_status.show_status(clients, chosen.source, watch=chosen.watch)
        case "ls":
            commands_ls.list_archives(clients, chosen.source, chosen.pipeline, chosen.limit)
        case "refused":
            commands_ls.list_refused(clients, chosen.source, chosen.pipeline, datetime.now(UTC) - chosen.since)
        case "latest":
            commands.show_latest(reader, chosen.source, chosen.archives)
        case "export":
            since = datetime.now(UTC) - chosen.since
            commands.export(clients, reader, chosen.source, since, chosen.to, chosen.form)
        case "replay":
            commands_replay.run(chosen, clients)
        case "audit":
            return commands_audit.audit_sources(clients, chosen)
        case "rebuild-ledger":
            return commands_audit.rebuild_ledger(clients, chosen.source)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.cli",
        description="See what is stored, and take images out.",
        epilog="Where storage is, the app settings tell: DATA_STORAGE, a connection string, or "
        "DATA_STORAGE__blobServiceUri, DATA_STORAGE__queueServiceUri and DATA_STORAGE__tableServiceUri, with your own "
        "identity.",
    )
    parser.add_argument("--pipeline", help="read what this pipeline made (default: the one that processed last)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("init", help="make containers, tables and queues that are missing")

    status = commands.add_parser("status", help="how every source is at a glance: what is here, late and missing")
    status.add_argument("source", nargs="?", help="of this source only")
    status.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")

    listing = commands.add_parser("ls", help="how sources are; archives with state, times and counts, newest first")
    listing.add_argument("source", nargs="?", help="of this source only")
    listing.add_argument("--limit", type=_count, default=20, help="so many of each source (default: %(default)s)")

    refused = commands.add_parser("refused", help="show members that could not be preprocessed, with the reasons")
    refused.add_argument("source")
    refused.add_argument("--since", type=_duration, default="48h", help="how far back (default: %(default)s)")

    latest = commands.add_parser("latest", help="show the images of a source's newest processed archive")
    latest.add_argument("source")
    latest.add_argument("--archives", type=_count, default=1, help="of so many archives (default: %(default)s)")

    export = commands.add_parser("export", help="write a source's images as files, with their facts as JSON")
    export.add_argument("source")
    export.add_argument("--since", type=_duration, required=True, help="how far back: 90s, 10m, 6h or 7d")
    export.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write to")
    export.add_argument(
        "--as", dest="form", choices=("png", "npy"), default="png", help="what PNG cannot hold is npy anyway"
    )

    audit = commands.add_parser("audit", help="tell what is missing, and what to do; exit status 1 if anything is")
    audit.add_argument("source", nargs="?", help="of this source only")
    audit.add_argument("--since", type=_duration, default="48h", help="how far back (default: %(default)s)")
    audit.add_argument("--deep", action="store_true", help="read every byte, and hold it against its checksum")
    audit.add_argument("--json", action="store_true", help="write JSON for machines")

    doctor = commands.add_parser(
        "doctor", help="tell what is wrong with settings, sources, storage and app, and what to do"
    )
    doctor.add_argument("--app", metavar="NAME", help="look with the settings of this function app in Azure (needs az)")

    doctor.add_argument(
        "--smoke",
        action="store_true",
        help="instead of looking, send a small archive through the app and both queues, and remove it again",
    )
    doctor.add_argument(
        "--within", type=_duration, default="5m", help="how long --smoke waits for each step (default: %(default)s)"
    )

    rebuild = commands.add_parser("rebuild-ledger", help="make a lost ledger again from raw blobs and results")
    rebuild.add_argument("source", nargs="?", help="of this source only")

    replay_arguments.add_parser(commands)
    return parser


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from exc
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: it must be 1 or more")
    return number


def _duration(text: str) -> object:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


if __name__ == "__main__":
    sys.exit(main())
