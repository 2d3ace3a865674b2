"""Archives that the soak puts on the servers: mixed sizes and contents, some damaged, chosen by a seed."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from local import photos, sample_specs, samples
from local.demo.traffic import Drop
from local.sample_specs import ImageSpec, SampleSpec
from local.samples import Sample

SIDE = 64
"""Width and height of preprocessed images. Small, because Azurite's tables hold 512 MB, some 20,000 such images."""
_SEVERAL_BATCHES = SampleSpec(
    seed=201,
    images=tuple(ImageSpec(photograph=photos.COLOUR[i % len(photos.COLOUR)], size=(320, 240)) for i in range(40)),
)
_HEAVY = SampleSpec(
    seed=202,
    images=tuple(ImageSpec(photograph=name, size=(3000, 2000), format="tiff") for name in photos.COLOUR[:3]),
)
"""54 MB: long to copy, quick to decode."""
_SPECS: Mapping[str, SampleSpec] = {
    "one": sample_specs.small(203, images=1),
    "few": sample_specs.small(204, images=4),
    "several batches": _SEVERAL_BATCHES,
    "all formats": sample_specs.all_formats(),
    "broken members": sample_specs.broken(),
    "heavy": _HEAVY,
}
_CUT = "cut"
_DECK = ("one", "few", "several batches") * 2 + ("one", "all formats", "broken members", "heavy", _CUT)
"""All kinds with their frequencies; the deck is shuffled and used up before it starts again."""
SUPPRESSED = "suppressed"
"""Archives with this in their names get no event, so only `reconcile` can find them."""
_SUPPRESSED_EVERY = 4
_ODD_NAMES = ("Südkai (Probe) {}, 100 %.ZIP", "[red]a&b{} #?.zip", "{} $(id); 'x' \"y\".zip")


def make_workload(cache: Path) -> dict[str, Sample]:
    """Return all samples by kind, from the cache if they are there."""
    made = {kind: samples.make(spec, cache, SIDE) for kind, spec in _SPECS.items()}
    return made | {_CUT: _cut(made["few"])}


def drops(workload: Mapping[str, Sample], sources: tuple[str, ...], rng: Random) -> Iterator[Drop]:
    """Yield uploads without end, each with a new name on a random source, renamed into place or growing."""
    number = 0
    while True:
        for kind in rng.sample(_DECK, len(_DECK)):
            number += 1
            source = rng.choice(sources)
            suppressed = f"_{SUPPRESSED}" if number % _SUPPRESSED_EVERY == 2 else ""
            odd = rng.choice(_ODD_NAMES).format(f"{number}{suppressed}") if rng.random() < 0.2 else None
            yield Drop(
                source=source,
                name=odd or f"{source}_{datetime.now(UTC):%Y%m%d_%H%M%S}_{number:04}{suppressed}.zip",
                sample=workload[kind],
                after=0,
                how=rng.choice(("renamed", "growing")),
                lasts=rng.uniform(0.2, 3),
            )


def _cut(whole: Sample) -> Sample:
    """Return a zip without its last third, as from a broken upload; it is stored as it is and refused as a whole."""
    path = whole.path.with_name(f"{whole.path.stem}-cut.zip")
    content = whole.path.read_bytes()[: whole.size * 2 // 3]
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    sha256 = hashlib.sha256(content).hexdigest()
    return Sample(path=path, size=len(content), sha256=sha256, pictures=(), refused=(), skipped=0, side=SIDE)
