"""Script of the demo: which archives appear on which server, when, and under which names."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local import sample_specs, samples
from local.demo.traffic import Drop
from local.sample_specs import SampleSpec
from local.samples import SIDE, Sample
from local.system import QUICK

SETTINGS: Mapping[str, str] = {
    **QUICK,
    "PREPROCESS_WIDTH": str(SIDE),
    "PREPROCESS_HEIGHT": str(SIDE),
    "BATCH_MEMBERS": "8",
    "SOURCES__NORTH__STAMP": "north_%Y%m%d_%H%M%S",
    "SOURCES__NORTH__STABLE_FOR": "1s",
    "SOURCES__SOUTH__STABLE_FOR": "1s",
}
"""The time of a north archive comes from its name, that of a south archive from its modification time."""

CHAOS: Mapping[str, str] = {**SETTINGS, "SOURCES__NORTH__BLOCK_SIZE": str(2**20)}
"""Small blocks make the large copy long enough for a kill in the middle of it."""
CHAOS_SCALE = 4
"""After a kill, timers pause for a minute in Azure and in the local host; this divides that pause for the demo."""

REPLACED = "harbour.zip"


_SPECS: Mapping[str, SampleSpec] = {
    "first": sample_specs.small(1),
    "formats": sample_specs.all_formats(),
    "large": sample_specs.large(),
    "second": sample_specs.small(2),
    "broken": sample_specs.broken(),
    "third": sample_specs.small(3),
    "fourth": sample_specs.small(4, images=6),
    "fifth": sample_specs.small(5, images=4),
    "replacement": sample_specs.small(6, images=5),
}


def make_samples(cache: Path) -> dict[str, Sample]:
    """Return all archives of the demo, from the cache if they are there."""
    return {name: samples.make(spec, cache) for name, spec in _SPECS.items()}


def drops(cache: Path, now: datetime) -> list[Drop]:
    """Return the demo's archives in the order in which they appear."""
    made = make_samples(cache)
    times = (now.astimezone(UTC) - timedelta(minutes=10 * back) for back in (3, 2, 1, 0))
    first, large, broken, fourth = (f"north_{time:%Y%m%d_%H%M%S}.zip" for time in times)
    return [
        Drop(source="north", name=first, sample=made["first"], after=0),
        Drop(source="south", name="Südkai (Probe) Nr. 3, 100 %.zip", sample=made["formats"], after=1),
        Drop(source="north", name=large, sample=made["large"], after=4, lasts=2),
        Drop(source="south", name=REPLACED, sample=made["second"], after=8, how="growing", lasts=5),
        Drop(source="north", name=broken, sample=made["broken"], after=13),
        Drop(source="south", name="UPPER-CASE.ZIP", sample=made["third"], after=18),
        Drop(source="north", name=fourth, sample=made["fourth"], after=24),
        Drop(source="south", name="harbour 2.zip", sample=made["fifth"], after=29, how="growing", lasts=3),
    ]


def replacement(cache: Path) -> Drop:
    """Return new content under a known name, which counts as a new archive."""
    return Drop(source="south", name=REPLACED, sample=make_samples(cache)["replacement"], after=0)
