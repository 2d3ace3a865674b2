"""`python -m ops.cli`: the command `imagefeed` with the operator's verbs beside the reader's."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagefeed import cli
from imagefeed.arguments import add_json, add_pipeline, add_range, add_verb, duration, positive

if TYPE_CHECKING:
    from imagefeed.arguments import Subparsers
    from storage.clients import Clients

_FINDINGS = "exit status: 0 no problem found; 1 {}; 2 the command failed, see standard error; 130 interrupted"
_REPLAY = """\
The running app does the work, over its queue. Results are named after their archives and overwritten, so nothing is
stored twice. A replay of history (--source with --since) skips archives that are done: you can stop it at any time, and
the same command continues. Run it again also to check that all are done, and to redrive archives that stopped half way:
reconcile does that by itself, but only for the archives of the last hours (PIPELINE_WINDOW).

It needs the app settings that make the pipeline: PREPROCESS_…, PIPELINE_… and DATA_STORAGE; or name the app with --app.
No hook runs here, but its source is part of the pipeline: have the app's own version on the import path. replay queues
nothing if the app has never run with these settings. Blobs in the archive tier are listed, and make the exit status 2:
rehydrate them first."""
_NOT_LISTENING = (
    "; start it (`make run`). After a restart of `make run`, load the settings of the new run into this shell: `. {}`"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    settings = Path(__file__).absolute().parents[2] / ".local" / "env"
    return cli.main(arguments, (add_verbs,), _NOT_LISTENING.format(settings) if settings.exists() else "")


def add_verbs(verbs: "Subparsers") -> None:
    """Add the operator's verbs to the reader's. They take the address of storage from the app settings alone."""
    init = _with_app(
        add_verb(verbs, "init", _init, "create missing containers, tables and queues", {"init": "safe to run again"})
    )
    add_json(init)
    _add_status(verbs)
    _add_refused(verbs)
    _add_replay(verbs)
    _add_audit(verbs)
    examples = {"rebuild": "all sources", "rebuild radar": "one source"}
    rebuild = _with_app(
        add_verb(verbs, "rebuild", _rebuild, "restore a lost ledger from raw blobs and results", examples)
    )
    rebuild.add_argument("source", nargs="?", help="only this source")
    add_json(rebuild)
    _add_pipeline(verbs)
    _add_doctor(verbs)


def _with_app(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that take a verb's settings from an app in Azure."""
    about = "use the settings of this function app in Azure (needs az), not this shell's"
    parser.add_argument("--app", metavar="NAME", help=about)
    parser.add_argument(
        "--resource-group", metavar="NAME", help="resource group of the app; without --app: of the only app in it"
    )
    return parser


def _add_status(verbs: "Subparsers") -> None:
    examples = {
        "status": "all sources, once",
        "status radar --watch": "one source, refreshed every few seconds",
        "status --app images-1a2b3c4d": "an app in Azure (needs az)",
    }
    summary = "show the state of every source: what is here, late or missing, and server errors"
    status = _with_app(add_verb(verbs, "status", _status, summary, examples))
    status.add_argument("source", nargs="?", help="only this source")
    either = status.add_mutually_exclusive_group()
    either.add_argument("--watch", action="store_true", help="refresh every few seconds until Ctrl-C")
    add_json(either)


def _add_refused(verbs: "Subparsers") -> None:
    examples = {
        "refused radar": "in the last 48 hours",
        "refused radar --since 7d --json": "in the last 7 days, as JSON",
    }
    summary = "show members that could not be preprocessed, with the reasons"
    refused = _with_app(add_verb(verbs, "refused", _refused, summary, examples))
    refused.add_argument("source")
    add_range(refused, "48h")
    add_pipeline(refused, "of this pipeline (default: for each archive, the last one that processed it)")
    add_json(refused)


def _add_replay(verbs: "Subparsers") -> None:
    examples = {
        "replay --archive radar/0123abcd": "this archive, in any state",
        "replay --failed": "all that failed within PIPELINE_WINDOW, after you removed the cause",
        "replay --refused --failed --since 6h": "all that were refused or failed in the last 6 hours",
        "replay --method 'tiff<2' --since 30d": "archives with results of the TIFF decoder before its version 2",
        "replay --source radar --since 30d": "archives that the app's pipeline has not done yet, newest first",
        "replay --poison --dead-letters": "poison messages and dead letters",
    }
    summary = "have archives preprocessed again: single, refused or failed ones, or history under new settings"
    replay = _with_app(add_verb(verbs, "replay", _replay, summary, examples, about=_REPLAY))
    add = replay.add_argument
    add("--archive", action="append", default=[], metavar="NAME", help="<source>/<version>, or its raw blob's name")
    add("--refused", action="store_true", help="archives that were refused")
    add("--failed", action="store_true", help="archives that failed")
    add("--method", metavar="FORMAT<N", help="archives with results of a decoder before its version N: 'tiff<2'")
    add("--poison", action="store_true", help="poison messages: the functions host gave them up after several calls")
    add("--dead-letters", action="store_true", help="events that Event Grid gave up")
    add("--source", help="archives of this source only")
    add_range(replay, None, "with --refused or --failed the whole of PIPELINE_WINDOW")
    add_pipeline(replay, "stop with an error unless the settings make this pipeline")
    add(
        "--at-most",
        type=positive,
        default=16,
        metavar="N",
        help="wait while the queue holds this many messages (default: %(default)s)",
    )
    add_json(replay)


def _add_audit(verbs: "Subparsers") -> None:
    examples = {
        "audit": "all sources, the last 48 hours",
        "audit radar --since 7d --deep": "also reads every byte and compares checksums",
        "audit --since 2026-03-01 --until 2026-03-02": "one day",
        "audit --json": "as JSON",
    }
    statuses = _FINDINGS.format(
        "something is missing; 3 nothing is known to be missing, but a source could not be judged"
    )
    summary = "report what is missing and how to recover it"
    audit = _with_app(add_verb(verbs, "audit", _audit, summary, examples, statuses=statuses))
    audit.add_argument("source", nargs="?", help="only this source")
    add_range(audit, "48h")
    audit.add_argument("--deep", action="store_true", help="also read every byte and compare checksums")
    add_pipeline(audit, "results of this pipeline (default: the one that processed last)")
    add_json(audit)


def _add_pipeline(verbs: "Subparsers") -> None:
    examples = {
        "pipeline ls": "all pipelines, with counts, time range and bytes",
        "pipeline use p-0123abcd": "export and ranges read this one, whichever the app runs",
        "pipeline use --auto": "the app switches to its own pipeline again",
    }
    pipeline = _with_app(
        add_verb(
            verbs,
            "pipeline",
            _pipeline,
            "list pipelines, and choose the one whose results are read by default",
            examples,
        )
    )
    pipeline.add_argument("action", choices=("ls", "use"))
    pipeline.add_argument("name", nargs="?", metavar="NAME", help="with use: the pipeline to read")
    pipeline.add_argument("--auto", action="store_true", help="with use: let the app choose")
    pipeline.add_argument("--source", help="only this source")
    add_json(pipeline)


def _add_doctor(verbs: "Subparsers") -> None:
    examples = {
        "doctor": "with the settings of this shell",
        "doctor --app images-1a2b3c4d": "an app in Azure (needs az)",
        "doctor --app images-1a2b3c4d --smoke": "send a small archive through it",
    }
    summary = "check settings, sources, storage and app, and report what to do"
    doctor = _with_app(
        add_verb(verbs, "doctor", _doctor, summary, examples, statuses=_FINDINGS.format("something is wrong"))
    )
    doctor.add_argument("--host", metavar="URL", help="also check this functions host, such as http://127.0.0.1:7071")
    doctor.add_argument(
        "--smoke",
        action="store_true",
        help="instead of these checks, send a small archive through the app and both queues, then remove it",
    )
    doctor.add_argument(
        "--within",
        type=duration,
        default="5m",
        metavar="T",
        help="how long --smoke waits for each step (default: %(default)s)",
    )
    add_json(doctor)


# Each verb imports its modules when it runs, so that `imagefeed ls` does not wait for the imports of `doctor`.


@contextmanager
def _opened(options: argparse.Namespace) -> "Iterator[tuple[Clients, Mapping[str, str]]]":
    from ops.cli.app import opened

    with opened(options) as found:
        yield found


def _init(options: argparse.Namespace) -> None:
    from imagefeed.terminal import write, write_json
    from storage.clients import prepare

    with _opened(options) as (clients, _):
        made = prepare(clients)
    if options.json:
        write_json(made)
    else:
        write("all containers, tables and queues exist")


def _status(options: argparse.Namespace) -> None:
    from ops.cli.status import show_status

    with _opened(options) as (clients, texts):
        show_status(options, clients, texts)


def _refused(options: argparse.Namespace) -> None:
    from ops.cli.refused import show_refused

    with _opened(options) as (clients, _):
        show_refused(options, clients)


def _replay(options: argparse.Namespace) -> None:
    from ops.cli.replay import run

    with _opened(options) as (clients, texts):
        run(options, clients, texts)


def _audit(options: argparse.Namespace) -> int:
    from ops.cli.audit import audit_sources

    with _opened(options) as (clients, texts):
        return audit_sources(clients, options, texts)


def _pipeline(options: argparse.Namespace) -> None:
    from ops.cli.pipeline import list_pipelines, use_pipeline

    with _opened(options) as (clients, _):
        (use_pipeline if options.action == "use" else list_pipelines)(options, clients)


def _rebuild(options: argparse.Namespace) -> None:
    from ops.cli.rebuild import rebuild_ledger

    with _opened(options) as (clients, texts):
        rebuild_ledger(options, clients, texts)


def _doctor(options: argparse.Namespace) -> int:
    from ops.cli.doctor import run, run_smoke

    # `doctor` opens storage itself, because it reports storage that cannot be opened as a finding.
    return run_smoke(options) if options.smoke else run(options)


if __name__ == "__main__":
    sys.exit(main())
