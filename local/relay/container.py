"""List the blobs of the watched container."""

from collections.abc import Iterator

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient

from local.relay.events import Blob


class WatchedContainer:
    """A container; one that does not exist yet is treated as empty."""

    def __init__(self, client: ContainerClient) -> None:
        self._client = client
        self.account = client.account_name or ""
        self.name = client.container_name

    def list(self) -> Iterator[Blob]:
        """Yield all committed blobs. Raises AzureError."""
        try:
            for blob in self._client.list_blobs():
                yield _blob(blob)
        except ResourceNotFoundError:
            return

    def blocks(self, blob: Blob) -> tuple[str, ...]:
        """Return the IDs of a blob's blocks; none if it was written by one Put Blob or is gone. Raises AzureError."""
        if blob.type != "BlockBlob":
            return ()
        try:
            committed, _ = self._client.get_blob_client(blob.name).get_block_list("committed")
        except ResourceNotFoundError:
            return ()
        return tuple(block.id for block in committed)

    def url(self, blob: Blob) -> str:
        """Return a blob's URL without a SAS."""
        return self._client.get_blob_client(blob.name).url.partition("?")[0]


def _blob(blob: BlobProperties) -> Blob:
    settings = blob.content_settings
    return Blob(
        name=blob.name,
        created=blob.creation_time,
        modified=blob.last_modified,
        etag=blob.etag,
        size=blob.size,
        content_type=settings.content_type or "application/octet-stream",
        md5=bytes(settings.content_md5 or b"").hex(),
        type=str(getattr(blob.blob_type, "value", blob.blob_type)),
        tier="Default" if blob.blob_tier_inferred or not blob.blob_tier else str(blob.blob_tier),
    )
