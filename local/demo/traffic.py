"""Put zips on the servers over time, in the ways that uploads do."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ingest.model import RemoteFile, version_of
from local.samples import Sample

_SLICES = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drop:
    """One planned upload of a zip: where, under which name, when and how."""

    source: str
    name: str
    sample: Sample
    after: float
    """Seconds from the beginning."""
    how: Literal["renamed", "growing"] = "renamed"
    """`renamed`: written under another name first. `growing`: written under the final name."""
    lasts: float = 0.5
    """Seconds from the first byte to the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A zip that is completely on a server."""

    drop: Drop
    arrived: datetime
    """Time when it was complete under its own name."""
    version: str
    """Version that storage must use for it."""


def upload(drop: Drop, root: Path, stop: threading.Event) -> Arrival | None:
    """Write a zip into a server's folder, slice by slice. Return None if stopped before the end."""
    final = root / drop.name
    written = final if drop.how == "growing" else final.with_name(f"{final.name}.part")
    with drop.sample.path.open("rb") as content, written.open("wb") as file:
        size = -(-drop.sample.size // _SLICES)
        while part := content.read(size):
            # Wait before each slice, not after the last one, because the zip is complete then.
            if stop.wait(drop.lasts / _SLICES):
                return None
            file.write(part)
            file.flush()
    written.replace(final)
    metadata = final.stat()
    modified = datetime.fromtimestamp(int(metadata.st_mtime), UTC)
    known = RemoteFile(path=drop.name, size=metadata.st_size, modified=modified)
    return Arrival(drop=drop, arrived=datetime.now(UTC), version=version_of(known))


@contextmanager
def uploads(
    drops: Sequence[Drop], roots: Callable[[str], Path], on_arrival: Callable[[Arrival], None]
) -> Iterator[None]:
    """Upload in the background, each drop at its time. Leaving the block stops unfinished uploads."""
    stop = threading.Event()

    def work(drop: Drop) -> None:
        if not stop.wait(drop.after) and (arrival := upload(drop, roots(drop.source), stop)):
            on_arrival(arrival)

    workers = [threading.Thread(target=work, args=(drop,), name=f"upload {drop.name}") for drop in drops]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()
