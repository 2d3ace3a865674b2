"""Selection of the Event Grid BlobCreated events that announce an archive."""

import re

COMPLETE = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
"""Operations after which a blob may be complete. `CreateFile` and `SftpCreate` announce an empty blob.

With a hierarchical namespace the event of `CopyBlob` is sent when the copy begins, and that of an append blob when it
is created, before anything is appended (https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage). The
blob's own properties therefore decide whether it is complete.
"""

# Blob names contain no lone surrogates or zero bytes; a request for such a name would fail.
_SUBJECT = re.compile(
    r"/blobServices/default/containers/(?P<container>[^/]+)/blobs/(?P<name>[^\ud800-\udfff\0]{1,1024})"
)


def archive_blob(event_type: str, subject: str, api: str, container: str) -> str | None:
    """Return the blob name of the archive that an event announces; None if it announces none.

    The name comes from the subject, because `data.url` has another format in events of the dfs endpoint.
    """
    match = _SUBJECT.fullmatch(subject)
    if match is None or match["container"] != container or not match["name"].lower().endswith(".zip"):
        return None
    return match["name"] if event_type == "Microsoft.Storage.BlobCreated" and api in COMPLETE else None
