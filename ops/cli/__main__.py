"""`python -m ops.cli`: the command `imagefeed` with the operator's verbs beside the reader's."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bootstrap import open_clients
from imagefeed import cli
from imagefeed.arguments import add_json, add_verb, duration, moment, positive

if TYPE_CHECKING:
    from imagefeed.arguments import Subparsers
    from storage.clients import Clients

_FINDINGS = "exit status: 0 all is well; 1 {}; 2 it could not be done, and standard error says why; 130 interrupted"
_REPLAY = """\
The running app does it, over its queue. Results have the names of their archives and are written over, so nothing is
ever doubled. History (--source with --since) passes over what is done, so stop it whenever you like and type it again:
it goes on. Type it again also to see that all is done, and to redrive what stopped half way: reconcile does so by
itself, but only for the archives of the last hours (PIPELINE_WINDOW).

Give it the app settings that make the pipeline: PREPROCESS_… and PIPELINE_…, and DATA_STORAGE. It asks for nothing if
the app has not run with them. Blobs in the archive tier are named, and make the exit status 2: rehydrate them first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    return cli.main(arguments, (add_verbs,))


def add_verbs(verbs: "Subparsers") -> None:
    """Add the operator's verbs to the reader's. They find storage by the app settings alone."""
    add_verb(verbs, "init", _init, "make containers, tables and queues that are missing", {"init": "may run again"})
    _add_status(verbs)
    _add_refused(verbs)
    _add_replay(verbs)
    _add_audit(verbs)
    examples = {"rebuild": "of all sources", "rebuild radar": "of one"}
    rebuild = add_verb(verbs, "rebuild", _rebuild, "make a lost ledger again from raw blobs and results", examples)
    rebuild.add_argument("source", nargs="?", help="of this source only")
    _add_pipeline(verbs)
    _add_doctor(verbs)


def _add_status(verbs: "Subparsers") -> None:
    examples = {"status": "all sources, once", "status radar --watch": "one source, again and again"}
    status = add_verb(
        verbs,
        "status",
        _status,
        "show how every source is: what is here, late and missing, errors of servers",
        examples,
    )
    status.add_argument("source", nargs="?", help="of this source only")
    either = status.add_mutually_exclusive_group()
    either.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")
    add_json(either)


def _add_refused(verbs: "Subparsers") -> None:
    examples = {"refused radar": "in the last 48 hours", "refused radar --since 7d --json": "in a week, for machines"}
    summary = "show members that could not be preprocessed, with the reasons"
    refused = add_verb(verbs, "refused", _refused, summary, examples)
    refused.add_argument("source")
    refused.add_argument("--since", type=moment, default="48h", metavar="T", help="from then on (default: %(default)s)")
    refused.add_argument("--pipeline", help="by this pipeline (default: the one that came last to each archive)")
    add_json(refused)


def _add_replay(verbs: "Subparsers") -> None:
    examples = {
        "replay --archive radar/0123abcd": "this one, whatever became of it",
        "replay --refused --failed --since 6h": "all that ended so, after you removed the cause",
        "replay --method 'tiff<2' --since 30d": "what the decoder of TIFF made before its version 2",
        "replay --source radar --since 30d": "what the app's pipeline has not made yet, newest first",
        "replay --poison --dead-letters": "given-up messages and events",
    }
    summary = "have archives preprocessed again: single ones, what was refused, history by new settings"
    replay = add_verb(verbs, "replay", _replay, summary, examples, about=_REPLAY)
    add = replay.add_argument
    add("--archive", action="append", default=[], metavar="NAME", help="<source>/<version>, or its raw blob's name")
    add("--refused", action="store_true", help="archives that were refused")
    add("--failed", action="store_true", help="archives that failed")
    add("--method", metavar="FORMAT<N", help="archives with results of a decoder before its version N: 'tiff<2'")
    add("--poison", action="store_true", help="messages that the functions host gave up")
    add("--dead-letters", action="store_true", help="events that Event Grid gave up")
    add("--source", help="archives of this source only")
    add("--since", type=moment, metavar="T", help="archives with a stamp from then on: 6h, 30d or 2026-03-01T12:00")
    add("--until", type=moment, metavar="T", help="archives with a stamp before (default: all)")
    add("--pipeline", help="insist that the settings make this pipeline")
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
        "audit --json": "for machines",
    }
    statuses = _FINDINGS.format("something is missing")
    audit = add_verb(
        verbs, "audit", _audit, "report what is missing and how to recover it", examples, statuses=statuses
    )
    audit.add_argument("source", nargs="?", help="of this source only")
    audit.add_argument("--since", type=duration, default="48h", metavar="T", help="how far back (default: %(default)s)")
    audit.add_argument("--deep", action="store_true", help="read every byte, and compare it with its checksum")
    audit.add_argument("--pipeline", help="what this pipeline made (default: the one that processed last)")
    add_json(audit)


def _add_pipeline(verbs: "Subparsers") -> None:
    examples = {
        "pipeline ls": "each with counts, range and bytes",
        "pipeline use p-0123abcd": "export and ranges read this one, whatever the app runs under",
        "pipeline use --auto": "the app goes over to its own again",
    }
    pipeline = add_verb(verbs, "pipeline", _pipeline, "show pipelines, and choose whose results are read", examples)
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
    statuses = _FINDINGS.format("something is wrong")
    doctor = add_verb(verbs, "doctor", _doctor, summary, examples, statuses=statuses)
    doctor.add_argument("--app", metavar="NAME", help="use the settings of this function app in Azure (needs az)")
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


# What a verb needs is imported when it runs: `imagefeed ls` must not wait for what `doctor` needs.


@contextmanager
def _clients() -> "Iterator[Clients]":
    clients = open_clients()
    try:
        yield clients
    finally:
        clients.close()


def _init(_: argparse.Namespace) -> None:
    from imagefeed.terminal import write
    from storage.clients import prepare

    with _clients() as clients:
        prepare(clients)
    write("all containers, tables and queues exist")


def _status(options: argparse.Namespace) -> None:
    from ops.cli.status import show_status

    with _clients() as clients:
        show_status(options, clients)


def _refused(options: argparse.Namespace) -> None:
    from ops.cli.refused import show_refused

    with _clients() as clients:
        show_refused(options, clients)


def _replay(options: argparse.Namespace) -> None:
    from ops.cli.replay import run

    with _clients() as clients:
        run(options, clients)


def _audit(options: argparse.Namespace) -> int:
    from ops.cli.audit import audit_sources

    with _clients() as clients:
        return audit_sources(clients, options)


def _pipeline(options: argparse.Namespace) -> None:
    from ops.cli.pipeline import list_pipelines, use_pipeline

    with _clients() as clients:
        (use_pipeline if options.action == "use" else list_pipelines)(options, clients)


def _rebuild(options: argparse.Namespace) -> None:
    from ops.cli.rebuild import rebuild_ledger

    with _clients() as clients:
        rebuild_ledger(clients, options.source)


def _doctor(options: argparse.Namespace) -> int:
    from ops.cli.doctor import run, run_smoke

    # It opens storage itself: that it cannot be opened is what the doctor is asked about.
    return run_smoke(options) if options.smoke else run(options)


if __name__ == "__main__":
    sys.exit(main())
