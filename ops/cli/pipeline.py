"""The verb `pipeline`: lists pipelines, and selects the one that readers use by default."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from imagefeed.current import CurrentPipeline, current_pipeline, pipeline_of_ranges
from imagefeed.entities import scan
from imagefeed.errors import PermanentError
from imagefeed.ledger import ARCHIVE_COLUMNS, entry_of, group_by_archive, known_sources, newest_pipeline, require_source
from imagefeed.model import State
from imagefeed.pipelines import require_pipeline
from imagefeed.terminal import Column, Table, write, write_json
from preprocess.recipe import Identity
from storage.blobs.current_pipeline import pin, unpin
from storage.blobs.pipelines import pipeline_mismatch
from storage.clients import Clients

REDONE = (
    "The app preprocesses the archives of the last hours (PIPELINE_WINDOW, 72h by default) again by itself; for older "
    "ones run `imagefeed replay --source SOURCE --since 30d`."
)


@dataclass(slots=True, kw_only=True)
class _Sums:
    """Totals of a pipeline's results for one source."""

    archives: int = 0
    images: int = 0
    refused: int = 0
    """Archives that were refused or failed."""
    first: datetime | None = None
    last: datetime | None = None
    bytes: int = 0
    """Total size of its shards."""


def list_pipelines(options: argparse.Namespace, clients: Clients) -> None:
    """Print each source's pipelines with counts, time range and bytes. Raises PipelineError."""
    if options.name is not None or options.auto:
        raise PermanentError("pipeline ls: takes no NAME and no --auto; for one source: pipeline ls --source SOURCE")
    if options.source:
        require_source(clients, options.source, "list pipelines of source")
    names = [options.source] if options.source else sorted(known_sources(clients))
    listed = {name: (_sums(clients, name), current_pipeline(clients, name)) for name in names}
    if options.json:
        write_json({"sources": {name: _as_json(*found) for name, found in listed.items()}})
        return
    titles = ("source", "pipeline", "read", "archives", "images", "refused", "MB", "first (UTC)", "last (UTC)")
    table = Table(columns=[Column(title=title, right=title in titles[3:7]) for title in titles])
    for name, (pipelines, current) in listed.items():
        newest = newest_pipeline(clients, name)
        for pipeline, sums in sorted(pipelines.items(), key=lambda pair: pair[0]):
            numbers = (str(sums.archives), str(sums.images), str(sums.refused), f"{sums.bytes / 1e6:.1f}")
            stamps = (f"{stamp:%Y-%m-%d %H:%M:%S}" if stamp else "" for stamp in (sums.first, sums.last))
            table.add(name, pipeline, _marks(pipeline, current, newest), *numbers, *stamps)
    write(table)


def use_pipeline(options: argparse.Namespace, clients: Clients) -> None:
    """Pin a pipeline for readers, or remove the pin so that the app chooses. Raises PipelineError."""
    if (options.name is None) != options.auto:
        raise PermanentError("pipeline use: give either NAME, the pipeline to read, or --auto, so that the app chooses")
    if options.source:
        require_source(clients, options.source, "pipeline use: source")
    if options.name is not None:
        require_pipeline(clients, options.name)
    chosen = [options.source] if options.source else sorted(known_sources(clients))
    for source in chosen:
        if options.auto:
            unpin(clients, source)
        else:
            pin(clients, source, options.name, datetime.now(UTC))
    if options.json:
        write_json({"sources": chosen, "pipeline": options.name})
        return
    for source in chosen:
        if options.auto:
            write(f"{source}: the app chooses, and switches to its own pipeline once that has all of PIPELINE_WINDOW")
        else:
            write(f"{source}: ranges are read from {options.name} until `imagefeed pipeline use --auto`")
    write(REDONE)


def pipeline_notes(clients: Clients, sources: Iterable[str], identity: Identity) -> Iterator[str]:
    """Yield notes for an app start whose settings make another pipeline than that of the stored results."""
    mismatch = pipeline_mismatch(clients, identity.pipeline, identity.fingerprint)
    if mismatch is not None:
        yield f"error: nothing is preprocessed: {mismatch}"
        return
    others = {name: pipeline_of_ranges(clients, name) for name in sources}
    changed = {name: other for name, other in others.items() if other not in (None, identity.pipeline)}
    for source, other in changed.items():
        yield f"{source}: the settings make the pipeline {identity.pipeline}; ranges are still read from {other}"
    if changed:
        yield REDONE


def _sums(clients: Clients, source: str) -> dict[str, _Sums]:
    found: dict[str, _Sums] = {}
    for group in group_by_archive(scan(clients.archives, source, select=ARCHIVE_COLUMNS)):
        for pipeline in {row["pipeline"] for row in group if row.get("pipeline") is not None}:
            sums, entry = found.setdefault(pipeline, _Sums()), entry_of(source, group, pipeline)
            sums.refused += entry.state in (State.REFUSED, State.FAILED)
            if entry.state is State.PROCESSED and entry.counts is not None:
                sums.archives += 1
                sums.images += entry.counts.images
                sums.bytes += entry.counts.bytes_out
                # Archives are listed newest first, so the last one seen is the earliest.
                sums.first, sums.last = entry.archive.stamp, sums.last or entry.archive.stamp
    return found


def _marks(pipeline: str, current: CurrentPipeline | None, newest: str | None) -> str:
    read = current is not None and current.pipeline == pipeline
    marks = ("current" if read else "", "pinned" if read and current and current.pinned else "")
    return ", ".join(filter(None, (*marks, "newest" if pipeline == newest else "")))


def _as_json(pipelines: Mapping[str, _Sums], current: CurrentPipeline | None) -> Mapping[str, object]:
    record = current and {name: value for name, value in asdict(current).items() if name != "etag"}
    return {"pipelines": {name: asdict(sums) for name, sums in pipelines.items()}, "current": record}
