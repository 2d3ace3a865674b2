"""Preprocessed images as numpy arrays, read from the storage account that they were written to.

with imagefeed.open_reader("https://ACCOUNT.blob.core.windows.net") as reader:
    for image in reader.latest("radar"):
        print(image.metadata.name, image.pixels.shape)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from imagefeed.errors import (
    ImageDamagedError,
    PermanentError,
    PipelineError,
    StoreRefusedError,
    StoreUnavailableError,
    TransientError,
)
from imagefeed.model import ImageMetadata, Pixels

if TYPE_CHECKING:
    from imagefeed.current import OlderResultsWarning
    from imagefeed.dataframe import to_pandas
    from imagefeed.shards import read_images
    from imagefeed.tables import Reader, Result, StoredImage, StoredRow, open_reader

__all__ = [
    "ImageDamagedError",
    "ImageMetadata",
    "OlderResultsWarning",
    "PermanentError",
    "PipelineError",
    "Pixels",
    "Reader",
    "Result",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StoredImage",
    "StoredRow",
    "TransientError",
    "open_reader",
    "read_images",
    "to_pandas",
]


def __getattr__(name: str) -> object:
    """Return a public name, imported on first use because its module needs numpy or the SDKs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "read_images":
        return import_module("imagefeed.shards").read_images
    if name == "to_pandas":
        return _to_pandas()
    try:
        return getattr(import_module("imagefeed.tables"), name)
    except ModuleNotFoundError as exc:
        if exc.name not in ("azure.data", "azure.data.tables", "pybase64"):
            raise
        raise ImportError(
            f"imagefeed.{name} reads tables, and {exc.name} is missing: `pip install 'imagefeed[tables]'`; "
            "without it only imagefeed.read_images works, on the bytes of a shard"
        ) from exc


def _to_pandas() -> object:
    try:
        return import_module("imagefeed.dataframe").to_pandas
    except ModuleNotFoundError as exc:
        if exc.name != "pandas":
            raise
        raise ImportError("imagefeed.to_pandas needs pandas: `pip install 'imagefeed[pandas]'`") from exc
