"""The containers and tables that readers need."""

from typing import Protocol

from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient


class Stores(Protocol):
    """Where results and the ledger lie. No read writes to any of them."""

    @property
    def processed(self) -> ContainerClient:
        """Shards."""

    @property
    def state(self) -> ContainerClient:
        """What is known of each source."""

    @property
    def archives(self) -> TableClient:
        """The ledger."""

    @property
    def batches(self) -> TableClient:
        """The batches of each archive."""

    @property
    def images(self) -> TableClient:
        """Rows of images and refusals."""
