"""What `python -m ops.cli` does with images: show them, and write them as files."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from imagefeed.codec import encode
from imagefeed.errors import MemberRefusedError, PermanentError
from imagefeed.layout import format_stamp, image_stem
from imagefeed.ledger import entries
from imagefeed.model import Counts, State
from imagefeed.tables import Reader, StoredImage
from ops.text import clean, count
from storage.clients import Clients, prepare

type As = Literal["png", "npy"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def console(*, stderr: bool = False) -> Console:
    """Write as wide as the terminal is; into a pipe, lines that nothing cuts."""
    # Names are strangers' texts: they are no markup, nor is `:skull:` in them a picture.
    out = Console(markup=False, emoji=False, highlight=False, stderr=stderr)
    return out if out.is_terminal else Console(markup=False, emoji=False, highlight=False, stderr=stderr, width=250)


def initialise(clients: Clients) -> None:
    """Make containers, tables and queues that are missing."""
    prepare(clients)
    console().print("containers, tables and queues are there")


def show_latest(reader: Reader, source: str, archives: int) -> None:
    """Show the images of the newest processed archives."""
    table = Table("stamp", "member", "frame", "name", "format", "captured", "type", "mean", box=None)
    for image in reader.latest(source, archives):
        stored, pixels = image.metadata, image.pixels
        numbers = (format_stamp(stored.stamp), str(stored.member), str(stored.frame))
        shape = "x".join(map(str, pixels.shape))
        captured = stored.captured_at.isoformat(" ") if stored.captured_at else ""
        mean = f"{pixels.astype(np.float64).mean():.4g}" if pixels.size else ""
        table.add_row(*numbers, clean(stored.name), stored.format, captured, f"{pixels.dtype.name} {shape}", mean)
    if not table.row_count:
        raise PermanentError(f"read the latest images of source {source}: none of its archives has any yet")
    console().print(table)


def export(clients: Clients, reader: Reader, source: str, since: datetime, to: Path, form: As) -> None:
    """Write images as files, each with its facts beside it as JSON."""
    end = datetime.now(UTC) + timedelta(days=2)
    total = sum(counts.images for counts in _processed(clients, reader, source, since, end))
    if not total:
        raise PermanentError(f"export source {source}: no archive since {since:%Y-%m-%d %H:%M} UTC has images")
    out = Console(stderr=True)
    written = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out) as progress:
        task = progress.add_task(f"export {source}", total=total)
        for image in reader.shards(source, since, end):
            try:
                _write(image, to, form)
            except OSError as exc:
                raise PermanentError(f"export source {source}: write {exc.filename or to}: {exc.strerror}") from exc
            progress.advance(task)
            written += 1
    console().print(f"{count(written, 'image')} of source {source} are in {to}")


def _processed(clients: Clients, reader: Reader, source: str, start: datetime, end: datetime) -> Iterator[Counts]:
    for entry in entries(clients, source, pipeline=reader.pipeline(source), start=start, end=end):
        if entry.state is State.PROCESSED and entry.counts is not None:
            yield entry.counts


def _write(image: StoredImage, to: Path, form: As) -> None:
    stored = image.metadata
    folder = to / f"{format_stamp(stored.stamp)}.{image.version}"
    folder.mkdir(parents=True, exist_ok=True)
    # The member's name is a stranger's: it must not choose where we write.
    label = _UNSAFE.sub("_", PurePosixPath(stored.name).stem)[:80].strip("._")
    stem = "-".join(filter(None, (image_stem(stored.member, stored.frame), label)))
    suffix, payload = _encoded(image, form)
    (folder / f"{stem}.{suffix}").write_bytes(payload)
    told = {**asdict(stored), "pipeline": image.pipeline, "version": image.version}
    (folder / f"{stem}.json").write_text(json.dumps(told, default=datetime.isoformat, indent=1) + "\n")


def _encoded(image: StoredImage, form: As) -> tuple[As, bytes]:
    """Write what PNG cannot hold as npy, whatever was asked for."""
    try:
        return form, encode(image.pixels, form)
    except MemberRefusedError:
        return "npy", encode(image.pixels, "npy")
