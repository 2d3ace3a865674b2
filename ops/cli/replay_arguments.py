"""What the command `replay` can be told."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from config.types import parse_duration

if TYPE_CHECKING:
    type Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = """\
Ask for archives to be preprocessed again, by the running app, over its queue:

  replay --archive radar/0123abcd             this one, whatever became of it
  replay --refused --failed --since 6h        all that ended so, after you removed the cause
  replay --source radar --since 30d           what the app's pipeline has not made yet, newest first
  replay --poison --dead-letters              given-up messages and events: back to work

Results have the names of their archives and are written over, so nothing is ever doubled. The last form but one
reprocesses history after a change of settings. It passes over what is done, so stop it whenever you like and type it
again: it goes on. Type it again also to see that all is done, and to drive on what stopped half way: reconcile does
so by itself, but only for the archives of the last hours (PIPELINE_WINDOW)."""
_EPILOG = """\
Give it the app settings that make the pipeline: PREPROCESS_… and PIPELINE_…, and DATA_STORAGE. It asks for nothing if
the app has not run with them. Blobs in the archive tier are named, and make the exit status 2: rehydrate them first."""


def add_parser(commands: "Subparsers") -> None:
    """Describe the command's arguments."""
    parser = commands.add_parser(
        "replay",
        help="have archives preprocessed again: single ones, what was refused, history by new settings",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--archive", action="append", default=[], metavar="NAME", help="<source>/<version>, or its raw blob's name")
    add("--refused", action="store_true", help="archives that were refused")
    add("--failed", action="store_true", help="archives that failed")
    add("--poison", action="store_true", help="messages that the functions host gave up")
    add("--dead-letters", action="store_true", help="events that Event Grid gave up")
    add("--source", help="archives of this source only")
    add("--since", type=_moment, metavar="T", help="archives with a stamp from then on: 6h, 30d or 2026-03-01T12:00")
    add("--until", type=_moment, metavar="T", help="archives with a stamp before (default: all)")
    add("--pipeline", default=argparse.SUPPRESS, help="insist that the settings make this pipeline")
    add("--at-most", type=int, default=16, metavar="N", help="messages on the queue; then wait (default: %(default)s)")


def _moment(text: str) -> datetime:
    """Read a duration as that long ago, or a date and time (UTC unless it tells its zone)."""
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        try:
            told = datetime.fromisoformat(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(f"{text!r} is neither like 6h or 30d nor like 2026-03-01T12:00") from exc
    return told if told.tzinfo else told.replace(tzinfo=UTC)
