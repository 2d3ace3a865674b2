"""The container that is watched, as its listing shows it."""

from collections.abc import Iterator

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient

from local.relay.events import Blob


class WatchedContainer:
    """Reads a container; one that does not exist yet is empty."""

    def __init__(self, client: ContainerClient) -> None:
        self._client = client
        self.account = client.account_name or ""
        self.name = client.container_name

    def list(self) -> Iterator[Blob]:
        """List all that is committed. Raises AzureError."""
        try:
            for found in self._client.list_blobs():
                yield _blob(found)
        except ResourceNotFoundError:
            return

    def blocks(self, blob: Blob) -> tuple[str, ...]:
        """Name the blocks that a blob was made of; none if it was written whole, or is gone. Raises AzureError."""
        if blob.type != "BlockBlob":
            return ()
        try:
            committed, _ = self._client.get_blob_client(blob.name).get_block_list("committed")
        except ResourceNotFoundError:
            return ()
        return tuple(block.id for block in committed)

    def url(self, blob: Blob) -> str:
        """Give a blob's address, without any signature."""
        return self._client.get_blob_client(blob.name).url.partition("?")[0]


def _blob(found: BlobProperties) -> Blob:
    settings = found.content_settings
    return Blob(
        name=found.name,
        created=found.creation_time,
        modified=found.last_modified,
        etag=found.etag,
        size=found.size,
        content_type=settings.content_type or "application/octet-stream",
        md5=bytes(settings.content_md5 or b"").hex(),
        type=str(getattr(found.blob_type, "value", found.blob_type)),
        tier="Default" if found.blob_tier_inferred or not found.blob_tier else str(found.blob_tier),
    )
