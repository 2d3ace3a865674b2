"""The raw container as written by copying: blocks are staged, then published whole by one conditional commit."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContainerClient, ContentSettings

from config import telemetry
from imagefeed.azure_errors import azure_errors, each, error_code
from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import encode_path, format_stamp
from imagefeed.model import Origin
from ingest.model import Archive, CommitOutcome, CopyMetadata, Published, Span
from storage.clients import Clients

_EXISTS = ("BlobAlreadyExists", "ConditionNotMet")
"""Error codes of a commit if the blob exists; other conflicts are temporary and must not be taken for it."""
_LONGEST_PATH = 2_000
"""Bytes of a path; each may take three characters of metadata."""
_BLOCK_ID = re.compile(r"([0-9a-f]{14})-([0-9a-f]{8})")


class BlobArchives:
    """Whole archives as blobs of the raw container; an ArchiveStore."""

    def __init__(self, clients: Clients) -> None:
        self._raw = clients.raw

    def find(self, archive: Archive) -> Published | None:
        """Return the metadata of an archive that is already published; None if it is not."""
        properties = stat_blob(self._raw, archive.key.raw_blob(archive.file.path))
        if properties is None:
            return None
        if "sha256" not in properties.metadata:
            return Published(None)
        return Published(
            CopyMetadata(
                sha256=properties.metadata["sha256"],
                md5=bytes(properties.content_settings.content_md5 or b""),
                complete=properties.metadata.get("complete") != "false",
            )
        )

    def upload(self, archive: Archive) -> "BlobUpload":
        """Return an upload that begins or resumes an archive."""
        return BlobUpload(self._raw.get_blob_client(archive.key.raw_blob(archive.file.path)), archive)


class BlobUpload:
    """An upload of one raw blob; an Upload."""

    def __init__(self, blob: BlobClient, archive: Archive) -> None:
        self._blob = blob
        self._archive = archive

    def staged(self) -> Sequence[Span]:
        """Return the staged, uncommitted blocks in the order of their offsets."""
        with azure_errors(f"list the staged blocks of {self._blob.blob_name}"):
            try:
                _, uncommitted = self._blob.get_block_list("uncommitted")
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                return ()
        ours = (_BLOCK_ID.fullmatch(block.id) for block in uncommitted)
        spans = (Span(int(match[1], 16), int(match[2], 16)) for match in ours if match)
        return sorted(spans, key=lambda span: (span.offset, span.length))

    def stage(self, offset: int, block: memoryview) -> None:
        """Stage one block; the same one again replaces it. Safe from several threads."""
        name = _block_id(Span(offset, block.nbytes))
        with azure_errors(f"stage {block.nbytes} bytes at {offset} of {self._blob.blob_name}"):
            # With an MD5 the service refuses a block that was damaged on its way. The SDK's own way to it takes `bytes`
            # alone, so that every block would have to be copied first.
            md5 = b64encode(hashlib.md5(block, usedforsecurity=False).digest()).decode()
            self._blob.stage_block(name, block, length=block.nbytes, headers={"Content-MD5": md5})  # type: ignore[arg-type]  # sockets take any buffer

    def commit(self, spans: Sequence[Span], metadata: CopyMetadata | None) -> CommitOutcome:
        """Publish `spans` atomically under the archive's name, unless the blob exists."""
        _check_gapless(spans, self._blob.blob_name)
        with azure_errors(f"commit {self._blob.blob_name}"):
            try:
                self._blob.commit_block_list(
                    [BlobBlock(_block_id(span)) for span in spans],
                    content_settings=_content(metadata),
                    metadata=_metadata(self._archive, metadata),
                    match_condition=MatchConditions.IfMissing,
                )
            except HttpResponseError as exc:
                if error_code(exc) in _EXISTS:
                    return CommitOutcome.ALREADY_THERE
                if error_code(exc) != "InvalidBlockList":
                    raise
                return self._without_blocks(exc)
        return CommitOutcome.STORED

    def _without_blocks(self, exc: HttpResponseError) -> CommitOutcome:
        """Return the outcome if blocks are gone: another commit discarded them, or they expired after a week."""
        if self._blob.exists():
            return CommitOutcome.ALREADY_THERE
        raise StoreUnavailableError(
            f"commit {self._blob.blob_name}: staged blocks are gone; the file is copied again"
        ) from exc

    def read_back(self) -> Iterator[bytes]:
        """Yield the committed blob's bytes in chunks."""
        doing = f"read back {self._blob.blob_name}"
        with azure_errors(doing):
            chunks = self._blob.download_blob().chunks()
        yield from each(chunks, doing)

    def amend(self, metadata: CopyMetadata) -> None:
        """Set the hashes of a committed blob."""
        with azure_errors(f"set the hashes of {self._blob.blob_name}"):
            # The metadata is set last, because its hash marks the blob as complete.
            self._blob.set_http_headers(_content(metadata))
            self._blob.set_blob_metadata(_metadata(self._archive, metadata))


def stat_blob(container: ContainerClient, name: str) -> BlobProperties | None:
    """Return a blob's properties; None if it does not exist."""
    with azure_errors(f"read the properties of {container.container_name}/{name}"):
        try:
            return container.get_blob_client(name).get_blob_properties()
        except ResourceNotFoundError as exc:
            if error_code(exc) == "ContainerNotFound":
                raise
            return None


def _block_id(span: Span) -> str:
    """Return a block's id, made from its span. All ids of a blob must have the same length."""
    return f"{span.offset:014x}-{span.length:08x}"


def _check_gapless(spans: Sequence[Span], name: str) -> None:
    end = 0
    for span in spans:
        if span.offset != end:
            raise ValueError(f"commit {name}: a block begins at {span.offset}, but the one before it ends at {end}")
        end += span.length


def _content(metadata: CopyMetadata | None) -> ContentSettings:
    return ContentSettings(content_type="application/zip", content_md5=bytearray(metadata.md5) if metadata else None)


def _fitting_path(path: str) -> str:
    """Return the encoded path, cut at the front to fit: metadata may have 8 KiB, and the file's name is at the end."""
    raw = path.encode("utf-8", "surrogateescape")
    return encode_path(path if len(raw) <= _LONGEST_PATH else raw[-_LONGEST_PATH:].decode("utf-8", "surrogateescape"))


def _metadata(archive: Archive, metadata: CopyMetadata | None) -> dict[str, str]:
    fields = {
        "origin": Origin.COPIED,
        "source": archive.source,
        "path": _fitting_path(archive.file.path),
        "size": str(archive.file.size),
        "modified": format_stamp(archive.file.modified),
        "stamp": format_stamp(archive.stamp),
        "stamp_replaced": str(archive.stamp_replaced).lower(),
        "replaces": archive.replaces,
        "version": archive.version,
    }
    if trace := telemetry.traceparent():
        fields[telemetry.TRACEPARENT] = trace
    if metadata is not None:
        fields |= {"sha256": metadata.sha256, "complete": str(metadata.complete).lower()}
    return fields
