"""The command `imagefeed`: list archives, show and export images.

This package alone has the reader's verbs. The argument `extensions` of `main` adds others, and so do installed
distributions with entry points in the group `imagefeed.commands`. Each is a function that takes argparse's subparsers.
"""

import argparse
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagefeed.arguments import STATUSES, add_json, add_pipeline, add_range, add_verb, check, positive
from imagefeed.errors import NotListeningError, PermanentError, PipelineError
from imagefeed.model import State, by_kind
from imagefeed.terminal import Column, Table, clean, count, write, write_json

if TYPE_CHECKING:
    from imagefeed.arguments import Subparsers
    from imagefeed.ledger import Entry
    from imagefeed.stores import ReaderStores, Stores
    from imagefeed.tables import StoredImage

GROUP = "imagefeed.commands"
_NEWEST = 20
"""Archives of each source that `ls` lists if neither --limit nor --since is given."""
_STYLES = {
    State.PROCESSED: "green",
    **dict.fromkeys((State.REFUSED, State.EMPTY), "yellow"),
    **dict.fromkeys((State.FAILED, State.EXPIRED), "red"),
}


def build_parser(extensions: "Iterable[Callable[[Subparsers], object]]" = ()) -> argparse.ArgumentParser:
    """Return the parser of all verbs: the reader's, those of `extensions`, and those of installed distributions."""
    parser = argparse.ArgumentParser(
        prog="imagefeed",
        description="List stored archives, and read or export their images.",
        epilog=f"imagefeed VERB --help shows examples.\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--pipeline", metavar="NAME", help="the pipeline, for verbs that take one; it may also follow the verb"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for extend in (_add_reader_verbs, *extensions, *_installed()):
        extend(verbs)
    return parser


def main(
    arguments: Sequence[str] | None = None,
    extensions: "Iterable[Callable[[Subparsers], object]]" = (),
    not_listening: str = "",
) -> int:
    """Run one command and return its exit status.

    `not_listening` is the advice that is added to the error if no storage service listens at its address.
    """
    parser = build_parser(extensions)
    options = check(parser, parser.parse_args(arguments))
    # The SDK logs a warning for every retry; if the retries fail, one of our errors is raised.
    logging.getLogger("azure").setLevel(logging.ERROR)
    try:
        return options.run(options) or 0
    except PipelineError as exc:
        # A settings error has one line for each setting. Other errors may contain untrusted text with line breaks.
        lines = str(exc).split("\n") if hasattr(exc, "problems") else [str(exc)]
        lines[-1] += not_listening if isinstance(exc, NotListeningError) else ""
        print("error: " + "\n".join(map(clean, lines)), file=sys.stderr)
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
    except ImportError as exc:
        # Our ImportErrors have no name and say what to install. Any other missing module is a defect: raise it again.
        if exc.name is not None and exc.name.split(".")[0] not in ("azure", "pybase64"):
            raise
        advice = f"{exc.name} is missing: `pip install 'imagefeed[tables]'`" if exc.name else str(exc)
        print(f"error: {advice}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def _installed() -> "Iterator[Callable[[Subparsers], object]]":
    for point in entry_points(group=GROUP):
        try:
            yield point.load()
        except ImportError as exc:
            print(f"warning: cannot load the verbs of {point.value}: {exc}", file=sys.stderr)


def _add_reader_verbs(verbs: "Subparsers") -> None:
    examples = {
        "ls": "20 archives of each source",
        "ls radar --limit 100": "more, of one source",
        "ls --since 24h --state failed": "all that failed since yesterday",
    }
    ls = add_verb(verbs, "ls", _list, "list archives with state, times and counts, newest first", examples)
    ls.add_argument("source", nargs="?", help="of this source only")
    ls.add_argument("--state", choices=list(State), help="in this state only")
    ls.add_argument("--limit", type=positive, help=f"this many of each source (default: {_NEWEST}; with --since: all)")
    add_range(ls, None, "all")

    examples = {"latest radar": "images of the newest archive", "latest radar --archives 3": "of the newest three"}
    latest = add_verb(verbs, "latest", _show_latest, "show the images of a source's newest processed archive", examples)
    latest.add_argument("source")
    latest.add_argument("--archives", type=positive, default=1, help="how many archives (default: %(default)s)")

    examples = {
        "export radar": "of the last 48 hours, into the folder radar",
        "export radar --since 6h --to images": "PNG, or npy for arrays that PNG cannot hold",
        "export radar --since 2026-03-01 --until 2026-03-02 --as npy": "of one day, as numpy arrays",
    }
    export = add_verb(
        verbs, "export", _export, "write a source's images as files, with their metadata as JSON", examples
    )
    export.add_argument("source")
    add_range(export, "48h")
    export.add_argument("--to", type=Path, metavar="DIR", help="folder to write to (default: the source's name)")
    export.add_argument(
        "--as",
        dest="form",
        choices=("png", "npy"),
        default="png",
        help="file format; arrays that PNG cannot hold are always written as npy",
    )

    for parser in (latest, export):
        parser.add_argument(
            "--versions",
            choices=("newest", "all"),
            default="newest",
            help="of a file that was corrected under its old name: all versions, or the newest processed one (default)",
        )
    for parser in (ls, latest, export):
        add_pipeline(
            parser,
            "results of this pipeline (default: ls, latest: the one that processed last; export: the current one)",
        )
        parser.add_argument(
            "--account",
            metavar="WHERE",
            help="the storage account: https://NAME.blob.core.windows.net, read with your own identity, or a "
            "connection string (default: the environment's DATA_STORAGE or DATA_STORAGE__blobServiceUri)",
        )
        add_json(parser)


def connect(environ: Mapping[str, str]) -> "ReaderStores":
    """Connect to the storage account that the environment names, in the app's settings DATA_STORAGE….

    Raises PermanentError if no setting names an account.
    """
    from imagefeed.stores import connect_stores

    settings = {name.upper(): value.strip() for name, value in environ.items()}
    where = settings.get("DATA_STORAGE") or settings.get("DATA_STORAGE__BLOBSERVICEURI")
    if not where:
        raise PermanentError(
            "DATA_STORAGE is missing: give --account, or set DATA_STORAGE to a connection string, or "
            "DATA_STORAGE__blobServiceUri to https://NAME.blob.core.windows.net"
        )
    table, client_id = (settings.get(f"DATA_STORAGE__{name}") for name in ("TABLESERVICEURI", "CLIENTID"))
    return connect_stores(where, table=table, client_id=client_id, patient=False)


@contextmanager
def _opened(options: argparse.Namespace) -> "Iterator[Stores]":
    # The SDKs are imported here and below, because they load slowly and may not be installed (extra `tables`).
    from imagefeed.pipelines import require_pipeline
    from imagefeed.stores import connect_stores

    stores = connect_stores(options.account, patient=False) if options.account else connect(os.environ)
    try:
        if options.pipeline is not None:
            require_pipeline(stores, options.pipeline)
        yield stores
    finally:
        stores.close()


def _list(options: argparse.Namespace) -> None:
    from imagefeed.ledger import known_sources, require_source
    from imagefeed.listing import unread_note
    from imagefeed.versions import list_versions

    limit = options.limit or (None if options.since else _NEWEST)
    with _opened(options) as stores:
        found: list[tuple[Entry, Entry | None]] = []
        names = [options.source] if options.source else sorted(known_sources(stores))
        for name in names:
            listed = list_versions(stores, name, pipeline=options.pipeline, start=options.since, end=options.until)
            found += islice((pair for pair in listed if options.state in (None, pair[0].state)), limit)
        notes = [unread_note(stores, name) for name in names]
        notes += [] if options.pipeline else [_reading_note(stores, name) for name in names]
        if not found and options.source:
            require_source(stores, options.source, "list archives of source")
    if options.json:
        write_json({"archives": [_entry_as_json(*pair) for pair in found], "notes": [*filter(None, notes)]})
        return
    among = [f"of source {options.source}"] * bool(options.source) + [f"in state {options.state}"] * bool(options.state)
    among += ["in that time"] * bool(options.since or options.until)
    write(_table(found) if found else f"there is no archive {' '.join(among) or 'yet'}", *filter(None, notes))


def _reading_note(stores: "Stores", source: str) -> str:
    """Return a note if ranges are read from another pipeline than the one that makes the newest results, else ""."""
    from imagefeed.current import current_pipeline
    from imagefeed.ledger import newest_pipeline

    current = current_pipeline(stores, source)
    newest = newest_pipeline(stores, source)
    if current is None or newest in (None, current.pipeline):
        return ""
    return f"{source}: the newest images are made by the pipeline {newest}; export still reads {current.pipeline}"


def _entry_as_json(entry: "Entry", newer: "Entry | None") -> Mapping[str, Any]:
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
        "replaced_by": newer.archive.version if newer else None,
    }


def _table(found: "Sequence[tuple[Entry, Entry | None]]") -> Table:
    titles = ("source", "stamp (UTC)", "version", "state")
    numbers = ("MB", "raw in (s)", "read in (s)")
    columns = [
        *(Column(title=title) for title in titles),
        Column(title="images", right=True),
        *(Column(title=title) for title in ("refused", "skipped")),
        *(Column(title=title, right=True) for title in numbers),
        *(Column(title=title) for title in ("path", "pipeline")),
        Column(title="reason", own=True),
    ]
    table = Table(columns=columns)
    for entry, newer in found:
        table.add(*_cells(entry, newer), style="dim" if newer else _STYLES.get(entry.state, ""))
    return table


def _cells(entry: "Entry", newer: "Entry | None") -> Iterator[str]:
    from imagefeed.versions import why_left_out

    archive, counts = entry.archive, entry.counts
    yield from (archive.source, f"{archive.stamp:%Y-%m-%d %H:%M:%S}", archive.version, entry.state)
    yield str(counts.images) if counts else ""
    yield (by_kind(counts.refused_kinds) or str(counts.refused)) if counts else ""
    yield (by_kind(counts.skipped) or "0") if counts else ""
    yield f"{archive.size / 1e6:.1f}"
    # Seconds from "found stable on the server" to the raw blob, and from there to readable images.
    yield _between(entry, State.SEEN, State.RAW)
    yield _between(entry, State.RAW, State.PROCESSED)
    yield from (clean(archive.path), entry.pipeline or "", clean(why_left_out(entry, newer)))


def _between(entry: "Entry", earlier: State, later: State) -> str:
    if later not in entry.times or earlier not in entry.times:
        return ""
    return f"{(entry.times[later] - entry.times[earlier]).total_seconds():.1f}"


def _show_latest(options: argparse.Namespace) -> None:
    from imagefeed.tables import Reader

    with _opened(options) as stores:
        reader = Reader(stores, options.pipeline)
        latest = reader.latest(options.source, options.archives, versions=options.versions)
        images = [_image_as_json(image) for image in latest]
        note = "" if options.pipeline else _reading_note(stores, options.source)
    if not images:
        raise PermanentError(f"read the latest images of source {options.source}: none of its archives has images yet")
    if options.json:
        write_json({"images": images})
        return
    titles = ("stamp (UTC)", "member", "frame", "type", "mean", "captured", "format", "name")
    table = Table(columns=[Column(title=title) for title in titles])
    for image in images:
        captured = f"{image['captured_at']:%Y-%m-%d %H:%M:%S}" if image["captured_at"] else ""
        kind = f"{image['dtype']} {'x'.join(map(str, image['shape']))}"
        mean = "" if image["mean"] is None else f"{image['mean']:.4g}"
        numbers = (f"{image['stamp']:%Y-%m-%d %H:%M:%S}", str(image["member"]), str(image["frame"]))
        table.add(*numbers, kind, mean, captured, image["format"], clean(image["name"]))
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
    from imagefeed.export import export
    from imagefeed.tables import Reader

    to = options.to or Path(options.source)
    with _opened(options) as stores, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_more: print(f"warning: {message}", file=sys.stderr)
        reader = Reader(stores, options.pipeline)
        number = export(
            stores, reader, options.source, options.since, to, options.form, options.until, options.versions
        )
    if options.json:
        write_json({"source": options.source, "folder": to, "images": number})
    else:
        write(f"{count(number, 'image')} of source {options.source} are in {to}")


if __name__ == "__main__":
    sys.exit(main())
