"""A value kept as one JSON blob."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient, ContentSettings
from pydantic import TypeAdapter

from imagefeed.azure_errors import azure_errors, error_code

JSON = ContentSettings(content_type="application/json")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class JsonBlob[T]:
    """A blob that holds a `T` as JSON, or does not exist. Raises StoreUnavailableError, StoreRefusedError."""

    def __init__(self, container: ContainerClient, name: str, kind: type[T]) -> None:
        self.blob = container.get_blob_client(name)
        self._adapter: TypeAdapter[T] = _adapter(kind)
        self._place = f"{name} in the {container.container_name} container"

    def read(self) -> T | None:
        """Return the value; None if the blob does not exist. Raises ValueError if it holds anything but a `T`."""
        with azure_errors(f"read {self._place}"):
            try:
                content = self.blob.download_blob().readall()
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                return None
        return self._adapter.validate_python(json.loads(content))

    def write(self, value: T) -> None:
        """Write the value, whatever was there before."""
        with azure_errors(f"write {self._place}"):
            self.blob.upload_blob(self.encode(value), overwrite=True, content_settings=JSON)

    def create(self, value: T) -> bool:
        """Write the value unless the blob exists; False if it does."""
        with azure_errors(f"write {self._place}"):
            try:
                self.blob.upload_blob(self.encode(value), overwrite=False, content_settings=JSON)
            except ResourceExistsError:
                return False
        return True

    def encode(self, value: T) -> bytes:
        """Return the value as JSON in ASCII."""
        # Not dump_json: it fails at names that were no UTF-8, which arrive with surrogates; here they are escaped.
        return json.dumps(self._adapter.dump_python(value, mode="json")).encode("ascii")
