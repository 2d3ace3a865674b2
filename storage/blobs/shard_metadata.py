"""What a shard's metadata tells of its batch: enough to make the ledger again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from azure.storage.blob import BlobProperties

from imagefeed.layout import parse_stamp
from imagefeed.model import ArchiveKey, Counts, RawArchive
from preprocess.model import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMetadata:
    """A shard, as its listing tells it."""

    name: str
    size: int
    written_at: datetime
    key: ArchiveKey
    pipeline: str
    number: int
    images: int
    plan: tuple[int, int, int] | None
    """First member, end and number of the plan's batches; None where an older release wrote the shard."""
    counts: Counts | None

    def batch(self, archive: RawArchive) -> Batch | None:
        """Make the batch again; None where too little is known of it."""
        if self.plan is None:
            return None
        first, end, batches = self.plan
        return Batch(archive=archive, pipeline=self.pipeline, number=self.number, first=first, end=end, batches=batches)


def read_shard(found: BlobProperties) -> ShardMetadata | None:
    """Read a shard's facts from its listing; None where it is no shard of ours."""
    told = found.metadata or {}
    try:
        return ShardMetadata(
            name=str(found.name),
            size=found.size,
            written_at=found.last_modified,
            key=ArchiveKey(told["source"], parse_stamp(told["stamp"]), told["version"]),
            pipeline=told["pipeline"],
            number=int(told["batch"]),
            images=int(told["images"]),
            plan=_plan(told),
            counts=_counts(told),
        )
    except (KeyError, ValueError):
        return None


def _plan(told: Mapping[str, str]) -> tuple[int, int, int] | None:
    batches = int(told.get("batches", 0))
    return (int(told["first"]), int(told["end"]), batches) if batches else None


def _counts(told: Mapping[str, str]) -> Counts | None:
    try:
        return Counts(**json.loads(told["counts"])) if "counts" in told else None
    except (TypeError, ValueError):
        return None
