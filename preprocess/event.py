"""Event Grid's BlobCreated events: which of them announce an archive."""

import re

COMPLETE = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
"""Operations after which a blob may be whole; `CreateFile` and `SftpCreate` announce an empty one.

With a hierarchical namespace `CopyBlob` is announced when the copy begins, and an append blob when it is made, before
anything is appended (https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage): the blob itself is asked.
"""

# A lone surrogate or a zero byte is in no blob's name, and nothing that holds one could be asked for.
_SUBJECT = re.compile(
    r"/blobServices/default/containers/(?P<container>[^/]+)/blobs/(?P<name>[^\ud800-\udfff\0]{1,1024})"
)


def archive_blob(event_type: str, subject: str, api: str, container: str) -> str | None:
    """Name the archive that an event announces; None if it announces none.

    The subject is used because `data.url` has another shape for events of the dfs endpoint.
    """
    match = _SUBJECT.fullmatch(subject)
    if match is None or match["container"] != container or not match["name"].lower().endswith(".zip"):
        return None
    return match["name"] if event_type == "Microsoft.Storage.BlobCreated" and api in COMPLETE else None
