"""The batch as recorded in its shard's blob metadata: enough to rebuild the ledger."""

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
    """A shard as described by its entry in the blob listing."""

    name: str
    size: int
    written_at: datetime
    key: ArchiveKey
    pipeline: str
    number: int
    images: int
    plan: tuple[int, int, int] | None
    """First member, end, and number of batches in the plan; None if an older release wrote the shard."""
    counts: Counts | None

    def batch(self, archive: RawArchive) -> Batch | None:
        """Return the batch; None if the metadata holds no plan."""
        if self.plan is None:
            return None
        first, end, batches = self.plan
        return Batch(archive=archive, pipeline=self.pipeline, number=self.number, first=first, end=end, batches=batches)


def read_shard(blob: BlobProperties) -> ShardMetadata | None:
    """Return the shard's metadata from its listing entry; None if the blob is not a shard of this app."""
    metadata = blob.metadata or {}
    try:
        return ShardMetadata(
            name=str(blob.name),
            size=blob.size,
            written_at=blob.last_modified,
            key=ArchiveKey(metadata["source"], parse_stamp(metadata["stamp"]), metadata["version"]),
            pipeline=metadata["pipeline"],
            number=int(metadata["batch"]),
            images=int(metadata["images"]),
            plan=_plan(metadata),
            counts=_counts(metadata),
        )
    except (KeyError, ValueError):
        return None


def _plan(metadata: Mapping[str, str]) -> tuple[int, int, int] | None:
    batches = int(metadata.get("batches", 0))
    return (int(metadata["first"]), int(metadata["end"]), batches) if batches else None


def _counts(metadata: Mapping[str, str]) -> Counts | None:
    try:
        return Counts(**json.loads(metadata["counts"])) if "counts" in metadata else None
    except (TypeError, ValueError):
        return None
