"""Functions that add verbs and shared arguments to the command line, and check arguments."""

import argparse
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from imagefeed.durations import parse_duration, parse_moment

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

STATUSES = "exit status: 0 done; 2 it could not be done, and standard error says why; 130 interrupted"
_Value = TypeVar("_Value")


def add_verb(
    verbs: "Subparsers",
    name: str,
    run: "Callable[[argparse.Namespace], int | None]",
    summary: str,
    examples: Mapping[str, str],
    *,
    about: str = "",
    statuses: str = STATUSES,
) -> argparse.ArgumentParser:
    """Add a verb and return its parser, to which the caller adds arguments. `run` returns the exit status (None: 0)."""
    longest = max(map(len, examples))
    lines = [f"  imagefeed {example:<{longest}}  {meaning}" for example, meaning in examples.items()]
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.{about and f'{chr(10)}{chr(10)}{about}'}",
        epilog="\n".join(["examples:", *lines, "", statuses]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: "argparse._ActionsContainer") -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="write JSON for programs instead of text")


def add_pipeline(parser: argparse.ArgumentParser, about: str) -> None:
    """Add `--pipeline`, which may also precede the verb."""
    parser.add_argument("--pipeline", default=argparse.SUPPRESS, metavar="NAME", help=about)
    parser.set_defaults(knows_pipelines=True)


def add_range(parser: argparse.ArgumentParser, since: str | None, otherwise: str = "%(default)s") -> None:
    """Add `--since` with the default `since`, which the help text shows as `otherwise`, and `--until`."""
    parser.add_argument(
        "--since",
        type=moment,
        default=since,
        metavar="T",
        help=f"archives with a stamp from then on: 6h, 30d, 2026-03-01 or 2026-03-01T12:00 (default: {otherwise})",
    )
    parser.add_argument("--until", type=moment, metavar="T", help="archives with a stamp before (default: all)")


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.Namespace:
    """Return the options. Ends the program with argparse's error if they contradict each other."""
    since, until = getattr(options, "since", None), getattr(options, "until", None)
    if since is not None and until is not None and since >= until:
        parser.error(f"--until {until:%Y-%m-%dT%H:%M:%SZ} is not after --since {since:%Y-%m-%dT%H:%M:%SZ}")
    if options.pipeline is not None and not hasattr(options, "knows_pipelines"):
        parser.error(f"{options.verb} has no option --pipeline")
    return options


def positive(text: str) -> int:
    """Parse a number of 1 or more."""
    try:
        number = int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from exc
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: it must be 1 or more")
    return number


def duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `10m`, `48h` or `7d`."""
    return _explained(parse_duration, text)


def moment(text: str) -> datetime:
    """Parse a duration (that long ago), a date, or a date and time (UTC unless it names its zone)."""
    return _explained(parse_moment, text)


def _explained(parse: Callable[[str], _Value], text: str) -> _Value:
    # argparse shows the text of its own errors only.
    try:
        return parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
