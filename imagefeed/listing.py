"""Reads from a source's state which parts of its last listing could not be read."""

import json

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.azure_errors import azure_errors
from imagefeed.layout import source_state_blob
from imagefeed.stores import Stores
from imagefeed.terminal import clean, count


def unread_note(stores: Stores, source: str) -> str:
    """Return a line about the parts of the last listing that could not be read; "" if all of it was.

    Raises StoreUnavailableError, StoreRefusedError.
    """
    name = source_state_blob(source)
    with azure_errors(f"read {name} in the state container"):
        try:
            content = stores.state.get_blob_client(name).download_blob().readall()
        except ResourceNotFoundError:
            return ""
    try:
        unread = json.loads(content)["unread"]
        parts, first = count(unread["count"], "part"), unread["texts"][0]
    except (ValueError, KeyError, TypeError, IndexError):
        # A state that cannot be read begins anew with the next poll, which logs it.
        return ""
    return clean(f"{source}: {parts} of its last listing could not be read, so archives may be missing: {first!r}")
