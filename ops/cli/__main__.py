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

_FINDINGS = "exit status: 0 all is well; 1 {}; 2 it could not be done, and standard error says why; 130 interrupted"
_REPLAY = """\
The running app does it, over its queue. Results have the names of their archives and are written over, so nothing is
ever doubled. History (--source with --since) skips what is done, so stop it whenever you like and type it again:
it goes on. Type it again also to see that all is done, and to redrive what stopped half way: reconcile does so by
itself, but only for the archives of the last hours (PIPELINE_WINDOW).

Give it the app settings that make the pipeline: PREPROCESS_… and PIPELINE_…, and DATA_STORAGE; or name the app with
--app. A hook is run nowhere here, but its source decides the pipeline: have the app's own on the import path. It asks
for nothing if the app has not run with them. Blobs in the archive tier are named, and make the exit status 2: rehydrate
them first."""
_NOT_LISTENING = (
    "; start it (`make run`); or, if that was started again, this shell has the settings of the run before: `. {}`"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    settings = Path(__file__).absolute().parents[2] / ".local" / "env"
    return cli.main(arguments, (add_verbs,), _NOT_LISTENING.format(settings) if settings.exists() else "")


def add_verbs(verbs: "Subparsers") -> None:
    """Add the operator's verbs to the reader's. They take the address of storage from the app settings alone."""
    init = _with_app(
        add_verb(verbs, "init", _init, "make containers, tables and queues that are missing", {"init": "may run again"})
    )
    add_json(init)
    _add_status(verbs)
    _add_refused(verbs)
    _add_replay(verbs)
    _add_audit(verbs)
    examples = {"rebuild": "of all sources", "rebuild radar": "of one"}
    rebuild = _with_app(
        add_verb(verbs, "rebuild", _rebuild, "make a lost ledger again from raw blobs and results", examples)
    )
    rebuild.add_argument("source", nargs="?", help="of this source only")
    add_json(rebuild)
    _add_pipeline(verbs)
    _add_doctor(verbs)


def _with_app(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that take a verb's settings from an app in Azure."""
    about = "with the settings of this function app in Azure (needs az), not this shell's"
    parser.add_argument("--app", metavar="NAME", help=about)
    parser.add_argument("--resource-group", metavar="NAME", help="of the app; alone: of the only app that it has")
    return parser


def _add_status(verbs: "Subparsers") -> None:
    examples = {
        "status": "all sources, once",
        "status radar --watch": "one source, again and again",
        "status --app images-1a2b3c4d": "of an app in Azure (needs az)",
    }
    summary = "show how every source is: what is here, late and missing, errors of servers"
    status = _with_app(add_verb(verbs, "status", _status, summary, examples))
    status.add_argument("source", nargs="?", help="of this source only")
    either = status.add_mutually_exclusive_group()
    either.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")
    add_json(either)


def _add_refused(verbs: "Subparsers") -> None:
    examples = {"refused radar": "in the last 48 hours", "refused radar --since 7d --json": "in a week, for machines"}
    summary = "show members that could not be preprocessed, with the reasons"
    refused = _with_app(add_verb(verbs, "refused", _refused, summary, examples))
    refused.add_argument("source")
    add_range(refused, "48h")
    add_pipeline(refused, "by this pipeline (default: the one that came last to each archive)")
    add_json(refused)


def _add_replay(verbs: "Subparsers") -> None:
    examples = {
        "replay --archive radar/0123abcd": "this one, whatever became of it",
        "replay --failed": "all that failed in PIPELINE_WINDOW, after you removed the cause",
        "replay --refused --failed --since 6h": "and what was refused, of the last 6 hours",
        "replay --method 'tiff<2' --since 30d": "what the decoder of TIFF made before its version 2",
        "replay --source radar --since 30d": "what the app's pipeline has not made yet, newest first",
        "replay --poison --dead-letters": "poison messages and dead letters",
    }
    summary = "have archives preprocessed again: single ones, what was refused, history by new settings"
    replay = _with_app(add_verb(verbs, "replay", _replay, summary, examples, about=_REPLAY))
    add = replay.add_argument
    add("--archive", action="append", default=[], metavar="NAME", help="<source>/<version>, or its raw blob's name")
    add("--refused", action="store_true", help="archives that were refused")
    add("--failed", action="store_true", help="archives that failed")
    add("--method", metavar="FORMAT<N", help="archives with results of a decoder before its version N: 'tiff<2'")
    add("--poison", action="store_true", help="poison messages: given up by the functions host after several calls")
    add("--dead-letters", action="store_true", help="events that Event Grid gave up")
    add("--source", help="archives of this source only")
    add_range(replay, None, "with --refused or --failed the whole of PIPELINE_WINDOW")
    add_pipeline(replay, "insist that the settings make this pipeline")
    add(
        "--at-most",
        type=positive,
        default=16,
        metavar="N",
        help="messages on the queue; then wait (default: %(default)s)",
    )
    add_json(replay)


def _add_audit(verbs: "Subparsers") -> None:
    examples = {
        "audit": "all sources, the last 48 hours",
        "audit radar --since 7d --deep": "reads every byte too, and holds it against its checksum",
        "audit --since 2026-03-01 --until 2026-03-02": "of one day",
        "audit --json": "for machines",
    }
    statuses = _FINDINGS.format("something is missing; 3 nothing is, but a source could not be judged")
    summary = "report what is missing and how to recover it"
    audit = _with_app(add_verb(verbs, "audit", _audit, summary, examples, statuses=statuses))
    audit.add_argument("source", nargs="?", help="of this source only")
    add_range(audit, "48h")
    audit.add_argument("--deep", action="store_true", help="read every byte, and compare it with its checksum")
    add_pipeline(audit, "what this pipeline made (default: the one that processed last)")
    add_json(audit)


def _add_pipeline(verbs: "Subparsers") -> None:
    examples = {
        "pipeline ls": "each with counts, range and bytes",
        "pipeline use p-0123abcd": "export and ranges read this one, whatever the app runs under",
        "pipeline use --auto": "the app goes over to its own again",
    }
    pipeline = _with_app(
        add_verb(verbs, "pipeline", _pipeline, "show pipelines, and choose whose results are read", examples)
    )
    pipeline.add_argument("action", choices=("ls", "use"))
    pipeline.add_argument("name", nargs="?", metavar="NAME", help="for use: this pipeline")
    pipeline.add_argument("--auto", action="store_true", help="for use: let the app choose")
    pipeline.add_argument("--source", help="of this source only")
    add_json(pipeline)


def _add_doctor(verbs: "Subparsers") -> None:
    examples = {
        "doctor": "with the settings of this shell",
        "doctor --app images-1a2b3c4d": "of an app in Azure (needs az)",
        "doctor --app images-1a2b3c4d --smoke": "send a small archive through it",
    }
    summary = "check settings, sources, storage and app, and say what to do"
    doctor = _with_app(
        add_verb(verbs, "doctor", _doctor, summary, examples, statuses=_FINDINGS.format("something is wrong"))
    )
    doctor.add_argument("--host", metavar="URL", help="ask this functions host too, as http://127.0.0.1:7071")
    doctor.add_argument(
        "--smoke",
        action="store_true",
        help="instead of looking, send a small archive through the app and both queues, and remove it again",
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
