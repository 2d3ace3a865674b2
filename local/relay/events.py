"""Build BlobCreated events in the exact format of Event Grid."""

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

type Event = dict[str, Any]

_TOPIC = "/subscriptions/{id}/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/{account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One entry of a container's listing."""

    name: str
    created: datetime
    modified: datetime
    etag: str
    size: int
    content_type: str
    md5: str
    """Hexadecimal; empty if the service has none."""
    type: str
    tier: str
    """`Default` if none is set."""


def fingerprint(blob: Blob, blocks: Sequence[str]) -> str:
    """Return a hash that changes with new content, but not with new metadata.

    In Azure the creation time would be enough, but Azurite keeps it when a block list overwrites a blob.
    """
    metadata = (blob.created.isoformat(), str(blob.size), blob.md5, *blocks)
    return hashlib.sha256("\n".join(metadata).encode()).hexdigest()[:16]


def blob_created(blob: Blob, *, account: str, container: str, url: str, blocks: Sequence[str]) -> Event:
    """Return the event for a blob. If it has blocks, it was written by Put Block List."""
    identity = str(uuid.uuid4())
    return {
        "topic": _TOPIC.format(id=uuid.UUID(int=0), account=account),
        "subject": f"/blobServices/default/containers/{container}/blobs/{blob.name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": identity,
        "data": {
            "api": "PutBlockList" if blocks else "PutBlob",
            "clientRequestId": str(uuid.uuid4()),
            "requestId": f"{identity[:-12]}{0:012}",
            "eTag": blob.etag.strip('"'),
            "contentType": blob.content_type,
            "contentLength": blob.size,
            "blobType": blob.type,
            "accessTier": blob.tier,
            "url": url,
            "sequencer": f"{time.time_ns():048X}",
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        },
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": blob.modified.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
