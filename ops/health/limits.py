"""Limits with an early warning: defaults, consequences and cures."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from config.settings import Table
from imagefeed.rows import ROW_BYTES
from ingest.model import SourceSpec
from ingest.protocols.listing import MAX_BYTES, MAX_FILES
from preprocess.context import Context
from preprocess.model import Limits
from preprocess.notes import BATCH_TIME

BUDGET = "BUDGET"
LISTED_FILES = "files of a listing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit."""

    default: str
    setting: str
    """Name of its setting; empty if it has none."""
    means: str
    beyond: str
    """The effect of exceeding it."""
    reason: str
    """Resource or setting that makes it necessary."""
    cure: str


_MEMBER, _BATCH = "the member is refused, the others are not affected", "the members behind it are refused"
_LIMITS: Mapping[str, tuple[str, str, str]] = {
    "archive_members": ("members of a zip", "the archive is refused", "memory: its whole directory is in memory"),
    "batch_bytes": ("inflated bytes of a batch's members together", _BATCH, "time of a call"),
    "member_bytes": ("inflated bytes of a member", _MEMBER, "memory"),
    "ratio": ("inflated bytes per compressed byte, from 1 MiB on", _MEMBER, "zip bombs"),
    "pixels": ("width x height of a frame, weighted by what decoding takes", _MEMBER, "memory: 12 bytes a pixel"),
    "frames": ("frames of a member", _MEMBER, "time of a call"),
    "member_pixels": ("width x height of a member's frames, or of a JPEG's scans, together", _MEMBER, "time of a call"),
    "batch_pixels": ("width x height of all frames of a batch", _BATCH, "time of a call"),
    "seconds": ("seconds that a member takes", "the batch runs again in a process of its own; there the member is "
                "refused", "images that make a library hang"),
}  # fmt: skip
_BUDGET, _BATCH_TIME = SourceSpec(name="x").budget, Context.batch_time


def _number(value: float) -> str:
    return f"{value:,}" if value < 2**20 or value % 2**20 else f"{value // 2**20:,} MiB"


LIMITS: Mapping[str, Limit] = {
    **{
        f"LIMIT_{each.name.upper()}": Limit(
            default=_number(getattr(Limits(), each.name)),
            setting=f"LIMIT_{each.name.upper()}",
            means=_LIMITS[each.name][0],
            beyond=_LIMITS[each.name][1],
            reason=_LIMITS[each.name][2],
            cure=f"raise LIMIT_{each.name.upper()} in the app's settings, if such data is expected",
        )
        for each in fields(Limits)
    },
    "TABLE_MAX_ROWS_PER_IMAGE": Limit(
        default=f"{Table().max_rows_per_image} rows of {ROW_BYTES >> 10} KiB",
        setting="TABLE_MAX_ROWS_PER_IMAGE",
        means="rows of the images table that an image takes",
        beyond="the image is stored only in its shard and read from there",
        reason="costs of the table",
        cure="raise TABLE_MAX_ROWS_PER_IMAGE in the app's settings, if images are to be read from the table",
    ),
    BATCH_TIME: Limit(
        default=f"{_BATCH_TIME.total_seconds() / 60:.0f} min",
        setting="",
        means="time of a batch of several members",
        beyond="none of its results are published; it is split into two batches, which run again",
        reason="a third of functionTimeout in host.json",
        cure="lower BATCH_MEMBERS or BATCH_INFLATED_BYTES in the app's settings",
    ),
    BUDGET: Limit(
        default=f"{_BUDGET.total_seconds() / 60:.0f} min",
        setting="SOURCES__<NAME>__BUDGET",
        means="time of a poll",
        beyond="it stops between two blocks, and the next poll continues there",
        reason="functionTimeout in host.json",
        cure="raise BUDGET of the source up to functionTimeout, or MAX_CONNECTIONS if its server allows more",
    ),
    LISTED_FILES: Limit(
        default=_number(MAX_FILES),
        setting="",
        means="files of a source's listing; of FTP it may also have "
        f"{MAX_BYTES >> 20} MiB of text a folder",
        beyond="listing fails: nothing more is copied from the source",
        reason="memory: the whole listing is in memory",
        cure="name a folder with fewer files in the source's URL, or have old files removed",
    ),
}  # fmt: skip


def cure_of_limit(name: str) -> str:
    """Return what to do before a limit is reached; `name` may be a limit that only an older app had."""
    return LIMITS[name].cure if name in LIMITS else f"raise {name} in the app's settings"
