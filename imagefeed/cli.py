"""The command `imagefeed`: list archives, show and export images.

Who installs this package alone has the reader's verbs. Others are added by `extensions` of `main`, and by installed
distributions with entry points in the group `imagefeed.commands`: each is a function that takes argparse's subparsers.
"""

import argparse
import json
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from imagefeed.errors import MemberRefusedError, PermanentError, PipelineError
from imagefeed.layout import format_stamp, image_stem
from imagefeed.model import State
from imagefeed.terminal import Column, Table, clean, count, progress, width, write

if TYPE_CHECKING:
    from imagefeed.ledger import Entry
    from imagefeed.stores import ReaderStores, Stores
    from imagefeed.tables import Reader, StoredImage

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Form = Literal["png", "npy"]

GROUP = "imagefeed.commands"
STATUSES = "exit status: 0 done; 2 it could not be done, and standard error says why; 130 interrupted"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_LONGEST = timedelta(days=3_650)
_AHEAD = timedelta(days=2)
"""Stamps may be ahead of the clock."""
_STYLES = {State.PROCESSED: "green", State.REFUSED: "yellow", State.FAILED: "red", State.EXPIRED: "red"}
_ROOMY = 140
"""Columns of a terminal from which there is room for what matters least."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def build_parser(extensions: "Iterable[Callable[[Subparsers], object]]" = ()) -> argparse.ArgumentParser:
    """Return the parser of all verbs: the reader's, those of `extensions`, and those of installed distributions."""
    parser = argparse.ArgumentParser(
        prog="imagefeed",
        description="See what is stored, and take images out.",
        epilog=f"imagefeed VERB --help shows examples.\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for extend in (_add_reader_verbs, *extensions, *_installed()):
        extend(verbs)
    return parser


def main(arguments: Sequence[str] | None = None, extensions: "Iterable[Callable[[Subparsers], object]]" = ()) -> int:
    """Run one command; return its exit status."""
    options = build_parser(extensions).parse_args(arguments)
    # The SDK warns of every retry; what matters ends in an error of ours.
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        return options.run(options) or 0
    except PipelineError as exc:
        # Settings that are wrong have a line each. Else an error may repeat a stranger's text, line breaks and all.
        lines = str(exc).split("\n") if hasattr(exc, "problems") else [str(exc)]
        print("error: " + "\n".join(map(clean, lines)), file=sys.stderr)
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
    except ImportError as exc:
        # Ours have no name, and say what to install. Any other missing module is a defect, and keeps its traceback.
        if exc.name is not None and exc.name.split(".")[0] not in ("azure", "pybase64"):
            raise
        advice = f"{exc.name} is missing: `pip install 'imagefeed[tables]'`" if exc.name else str(exc)
        print(f"error: {advice}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


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
    """Add a verb, which `run` carries out and returns the exit status of (None: 0); its arguments are the caller's."""
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
    parser.add_argument("--json", action="store_true", help="write JSON instead, for machines")


def write_json(value: Mapping[str, Any]) -> None:
    """Write one line; times as ISO 8601."""
    print(json.dumps(value, default=datetime.isoformat))


def positive(text: str) -> int:
    """Read a number of 1 or more."""
    try:
        number = int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from exc
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: it must be 1 or more")
    return number


def duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `48h` or `7d`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: it must be like 90s, 10m, 48h or 7d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise argparse.ArgumentTypeError(f"{text!r} is too long: it must be {_LONGEST.days}d at most")
    return timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """Read a duration as that long ago, or a date and time (UTC unless it names its zone)."""
    if _DURATION.fullmatch(text):
        return datetime.now(UTC) - duration(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither like 90s, 10m, 48h or 7d nor like 2026-03-01T12:00"
        ) from exc
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _installed() -> "Iterator[Callable[[Subparsers], object]]":
    for point in entry_points(group=GROUP):
        try:
            yield point.load()
        except ImportError as exc:
            print(f"warning: the verbs of {point.value} are left out: {exc}", file=sys.stderr)


def _add_reader_verbs(verbs: "Subparsers") -> None:
    examples = {"ls": "20 archives of each source", "ls radar --limit 100": "more, of one source"}
    ls = add_verb(verbs, "ls", _list, "list archives with state, times and counts, newest first", examples)
    ls.add_argument("source", nargs="?", help="of this source only")
    ls.add_argument("--limit", type=positive, default=20, help="so many of each source (default: %(default)s)")

    examples = {"latest radar": "images of the newest archive", "latest radar --archives 3": "of the newest three"}
    latest = add_verb(verbs, "latest", _show_latest, "show the images of a source's newest processed archive", examples)
    latest.add_argument("source")
    latest.add_argument("--archives", type=positive, default=1, help="of so many archives (default: %(default)s)")

    examples = {
        "export radar --since 6h --to images": "PNG where PNG can hold it",
        "export radar --since 2026-03-01 --to images --as npy": "arrays as they are",
    }
    export = add_verb(
        verbs, "export", _export, "write a source's images as files, with their metadata as JSON", examples
    )
    export.add_argument("source")
    export.add_argument("--since", type=moment, required=True, metavar="T", help="from 6h or 7d ago, or 2026-03-01 on")
    export.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write to")
    export.add_argument(
        "--as", dest="form", choices=("png", "npy"), default="png", help="what PNG cannot hold is npy anyway"
    )

    for parser in (ls, latest, export):
        parser.add_argument(
            "--pipeline",
            help="what this pipeline made (default: ls, latest: the one that processed last; export: the current one)",
        )
        parser.add_argument(
            "--account",
            metavar="WHERE",
            help="the storage account: https://NAME.blob.core.windows.net, read with your own identity, or a "
            "connection string (default: the environment's DATA_STORAGE or DATA_STORAGE__blobServiceUri)",
        )
    for parser in (ls, latest):
        add_json(parser)


def connect(environ: Mapping[str, str]) -> "ReaderStores":
    """Reach storage where the environment says that it is, as the app's settings do. Raises PermanentError."""
    from imagefeed.stores import connect_stores

    settings = {name.upper(): value.strip() for name, value in environ.items()}
    where = settings.get("DATA_STORAGE") or settings.get("DATA_STORAGE__BLOBSERVICEURI")
    if not where:
        raise PermanentError(
            "DATA_STORAGE is missing: give --account, or set DATA_STORAGE to a connection string, or "
            "DATA_STORAGE__blobServiceUri to https://NAME.blob.core.windows.net"
        )
    table, client_id = (settings.get(f"DATA_STORAGE__{name}") for name in ("TABLESERVICEURI", "CLIENTID"))
    return connect_stores(where, table=table, client_id=client_id)


@contextmanager
def _opened(options: argparse.Namespace) -> "Iterator[Stores]":
    # The SDKs are imported late, here and below: they take their time, and may not be installed (extra `tables`).
    from imagefeed.pipelines import require_pipeline
    from imagefeed.stores import connect_stores

    stores = connect_stores(options.account) if options.account else connect(os.environ)
    try:
        if options.pipeline is not None:
            require_pipeline(stores, options.pipeline)
        yield stores
    finally:
        stores.close()


def _list(options: argparse.Namespace) -> None:
    from imagefeed.ledger import entries, known_sources

    with _opened(options) as stores:
        names = [options.source] if options.source else sorted(known_sources(stores))
        found = [e for name in names for e in islice(entries(stores, name, pipeline=options.pipeline), options.limit)]
        notes = [] if options.pipeline else [*map(partial(_reading_note, stores), names)]
    if not found:
        of_source = f" of source {options.source}" if options.source else ""
        raise PermanentError(f"list archives: the ledger knows none{of_source} yet")
    if options.json:
        write_json({"archives": [_entry_as_json(entry) for entry in found]})
        return
    write(_table(found))
    write(*(f"{e.archive.version} {e.state}: {clean(e.reason)}" for e in found if e.reason))
    write(*filter(None, notes))


def _reading_note(stores: "Stores", source: str) -> str:
    """Say so where ranges are read of another pipeline than the one that makes the newest results."""
    from imagefeed.current import current_pipeline
    from imagefeed.ledger import newest_pipeline

    current = current_pipeline(stores, source)
    newest = newest_pipeline(stores, source)
    if current is None or newest in (None, current.pipeline):
        return ""
    return f"{source}: the newest images are made by the pipeline {newest}; export still reads {current.pipeline}"


def _entry_as_json(entry: "Entry") -> Mapping[str, Any]:
    archive = entry.archive
    return {
        "source": archive.source,
        "stamp": archive.stamp,
        "version": archive.version,
        "state": entry.state,
        "path": archive.path,
        "size": archive.size,
        "blob": archive.blob,
        "origin": archive.origin,
        "complete": archive.complete,
        "sha256": archive.sha256,
        "modified": entry.modified,
        "pipeline": entry.pipeline,
        "times": entry.times,
        "counts": entry.counts and asdict(entry.counts),
        "reason": entry.reason,
    }


def _table(found: "Sequence[Entry]") -> Table:
    # Without a least width a single long path would take the room of all others.
    longest = max(len(entry.archive.source) for entry in found)
    columns = [
        Column(title="source", least=max(6, longest)),
        Column(title="stamp (UTC)", least=19),
        Column(title="version", least=8),
        Column(title="state", least=10),
        Column(title="path", least=8, cut=True),
        *(Column(title=t, right=True, least=len(t)) for t in ("MB", "images", "refused", "raw in", "read in")),
    ]
    if width() >= _ROOMY:
        columns.append(Column(title="pipeline", least=8))
    table = Table(columns=columns)
    for entry in found:
        cells = [*_cells(entry), entry.pipeline or ""]
        table.add(*cells[: len(columns)], style=_STYLES.get(entry.state, ""))
    return table


def _cells(entry: "Entry") -> Iterator[str]:
    archive, counts = entry.archive, entry.counts
    yield from (archive.source, f"{archive.stamp:%Y-%m-%d %H:%M:%S}", archive.version, entry.state)
    yield clean(archive.path)
    yield f"{archive.size / 1e6:.1f}"
    yield str(counts.images) if counts else ""
    yield str(counts.refused) if counts else ""
    # From when it was found stable on the server to the raw blob, and from there to readable images.
    yield _between(entry, State.SEEN, State.RAW)
    yield _between(entry, State.RAW, State.PROCESSED)


def _between(entry: "Entry", earlier: State, later: State) -> str:
    if later not in entry.times or earlier not in entry.times:
        return ""
    return f"{(entry.times[later] - entry.times[earlier]).total_seconds():.1f} s"


def _show_latest(options: argparse.Namespace) -> None:
    from imagefeed.tables import Reader

    with _opened(options) as stores:
        reader = Reader(stores, options.pipeline)
        images = [_image_as_json(image) for image in reader.latest(options.source, options.archives)]
        note = "" if options.pipeline else _reading_note(stores, options.source)
    if not images:
        raise PermanentError(f"read the latest images of source {options.source}: none of its archives has any yet")
    if options.json:
        write_json({"images": images})
        return
    titles = ("stamp", "member", "frame", "name", "format", "captured", "type", "mean")
    table = Table(columns=[Column(title=title) for title in titles])
    for image in images:
        captured = image["captured_at"].isoformat(" ") if image["captured_at"] else ""
        kind = f"{image['dtype']} {'x'.join(map(str, image['shape']))}"
        mean = "" if image["mean"] is None else f"{image['mean']:.4g}"
        numbers = (format_stamp(image["stamp"]), str(image["member"]), str(image["frame"]))
        table.add(*numbers, clean(image["name"]), image["format"], captured, kind, mean)
    write(table, *filter(None, [note]))


def _image_as_json(image: "StoredImage") -> dict[str, Any]:
    import numpy as np

    pixels = image.pixels
    mean = float(pixels.astype(np.float64).mean()) if pixels.size else math.nan
    return {
        **asdict(image.metadata),
        "pipeline": image.pipeline,
        "version": image.version,
        "dtype": pixels.dtype.name,
        "shape": pixels.shape,
        "mean": mean if math.isfinite(mean) else None,
    }


def _export(options: argparse.Namespace) -> None:
    from imagefeed.tables import Reader

    with _opened(options) as stores, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_more: print(f"warning: {message}", file=sys.stderr)
        export(stores, Reader(stores, options.pipeline), options.source, options.since, options.to, options.form)


def export(stores: "Stores", reader: "Reader", source: str, since: datetime, to: Path, form: Form) -> None:
    """Write images as files, each with its metadata beside it as JSON."""
    from imagefeed.ledger import entries

    end = datetime.now(UTC) + _AHEAD
    processed = entries(stores, source, pipeline=reader.pipeline(source), start=since, end=end)
    total = sum(e.counts.images for e in processed if e.state is State.PROCESSED and e.counts is not None)
    if not total:
        raise PermanentError(f"export source {source}: no archive since {since:%Y-%m-%d %H:%M} UTC has images")
    written = 0
    with progress(f"export {source}", total) as advance:
        for image in reader.shards(source, since, end):
            try:
                _write_files(image, to, form)
            except OSError as exc:
                raise PermanentError(f"export source {source}: write {exc.filename or to}: {exc.strerror}") from exc
            advance(1, "")
            written += 1
    write(f"{count(written, 'image')} of source {source} are in {to}")


def _write_files(image: "StoredImage", to: Path, form: Form) -> None:
    metadata = image.metadata
    folder = to / f"{format_stamp(metadata.stamp)}.{image.version}"
    folder.mkdir(parents=True, exist_ok=True)
    # The member's name is a stranger's: it must not choose where we write.
    label = _UNSAFE.sub("_", PurePosixPath(metadata.name).stem)[:80].strip("._")
    stem = "-".join(filter(None, (image_stem(metadata.member, metadata.frame), label)))
    suffix, payload = _encode(image, form)
    (folder / f"{stem}.{suffix}").write_bytes(payload)
    described = {**asdict(metadata), "pipeline": image.pipeline, "version": image.version}
    (folder / f"{stem}.json").write_text(json.dumps(described, default=datetime.isoformat, indent=1) + "\n")


def _encode(image: "StoredImage", form: Form) -> tuple[Form, bytes]:
    """Encode as npy what PNG cannot hold, whatever was asked for."""
    from imagefeed.codec import encode

    try:
        return form, encode(image.pixels, form)
    except MemberRefusedError:
        return "npy", encode(image.pixels, "npy")


if __name__ == "__main__":
    sys.exit(main())
