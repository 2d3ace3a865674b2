"""BlobCreated events, exactly as Event Grid writes them."""

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
    """Hex digits, or empty where the service knows none."""
    type: str
    tier: str
    """`Default` where nobody has set one."""


def fingerprint(blob: Blob, blocks: Sequence[str]) -> str:
    """Sum up what new content changes, and new metadata does not.

    The creation time alone would do in Azure; Azurite keeps it when a block list is committed over a blob.
    """
    metadata = (blob.created.isoformat(), str(blob.size), blob.md5, *blocks)
    return hashlib.sha256("\n".join(metadata).encode()).hexdigest()[:16]


def blob_created(blob: Blob, *, account: str, container: str, url: str, blocks: Sequence[str]) -> Event:
    """Announce a blob. One that has blocks was written by Put Block List."""
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
