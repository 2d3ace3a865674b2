"""A value stored as one JSON blob."""

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
        """Return the value; None if the blob does not exist. Raises ValueError if the content is not a `T`."""
        with azure_errors(f"read {self._place}"):
            try:
                content = self.blob.download_blob().readall()
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                return None
        return self._adapter.validate_python(json.loads(content))

    def write(self, value: T) -> None:
        """Write the value, replacing any earlier one."""
        with azure_errors(f"write {self._place}"):
            self.blob.upload_blob(self.encode(value), overwrite=True, content_settings=JSON)

    def create(self, value: T) -> bool:
        """Write the value if the blob does not exist; return False if it does."""
        with azure_errors(f"write {self._place}"):
            try:
                self.blob.upload_blob(self.encode(value), overwrite=False, content_settings=JSON)
            except ResourceExistsError:
                return False
        return True

    def encode(self, value: T) -> bytes:
        """Return the value as JSON, encoded in ASCII."""
        # File names that are not UTF-8 contain surrogates: dump_json fails on them, json.dumps escapes them.
        return json.dumps(self._adapter.dump_python(value, mode="json")).encode("ascii")
