"""The way in for scripts: storage as the app settings tell where it is."""

from config.settings import read_storage
from imagefeed.tables import Reader
from storage.clients import Clients, connect


def open_clients() -> Clients:
    """Connect to where the app settings say. Raises SettingsError."""
    where = read_storage()
    return connect(where.connection, blob=where.blob, queue=where.queue, table=where.table, client_id=where.client_id)


def open_reader(pipeline: str | None = None) -> Reader:
    """Read what `pipeline` made, or the one that processed last. Raises SettingsError."""
    return Reader(open_clients(), pipeline)
