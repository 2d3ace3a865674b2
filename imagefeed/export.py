"""Writes images as files, each with its metadata beside it as JSON."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Literal

from imagefeed.codec import encode
from imagefeed.errors import MemberRefusedError, PermanentError
from imagefeed.layout import format_stamp, image_stem
from imagefeed.ledger import require_source
from imagefeed.stores import Stores
from imagefeed.tables import Reader, StoredImage
from imagefeed.terminal import progress
from imagefeed.versions import Versions, is_readable, list_versions

Form = Literal["png", "npy"]
_AHEAD = timedelta(days=2)
"""How far past the present a range without an end reaches, because stamps may be ahead of the clock."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def export(
    stores: Stores,
    reader: Reader,
    source: str,
    since: datetime,
    to: Path,
    form: Form,
    until: datetime | None = None,
    versions: Versions = "newest",
) -> int:
    """Write the images of archives with `since` <= stamp < `until` into the folder `to`; return their number.

    `versions` selects the newest version of each file or all. Raises PermanentError if there are no images, or a file
    cannot be written.
    """
    end = until or datetime.now(UTC) + _AHEAD
    listed = list_versions(stores, source, pipeline=reader.pipeline(source), start=since, end=end)
    total = sum(entry.counts.images for entry, newer in listed if is_readable(entry, newer, versions) and entry.counts)
    if not total:
        require_source(stores, source, "export source")
        before = f" and before {until:%Y-%m-%d %H:%M} UTC" if until else ""
        raise PermanentError(
            f"export source {source}: no archive since {since:%Y-%m-%d %H:%M} UTC{before} has images; give --since"
        )
    written = 0
    with progress(f"export {source}", total) as advance:
        for image in reader.shards(source, since, end, versions=versions):
            try:
                _write_files(image, to, form)
            except OSError as exc:
                raise PermanentError(f"export source {source}: write {exc.filename or to}: {exc.strerror}") from exc
            advance(1, "")
            written += 1
    return written


def _write_files(image: StoredImage, to: Path, form: Form) -> None:
    metadata = image.metadata
    folder = to / f"{format_stamp(metadata.stamp)}.{image.version}"
    folder.mkdir(parents=True, exist_ok=True)
    # The member's name is untrusted: it must not decide where we write.
    label = _UNSAFE.sub("_", PurePosixPath(metadata.name).stem)[:80].strip("._")
    stem = "-".join(filter(None, (image_stem(metadata.member, metadata.frame), label)))
    suffix, payload = _encode(image, form)
    (folder / f"{stem}.{suffix}").write_bytes(payload)
    described = {**asdict(metadata), "pipeline": image.pipeline, "version": image.version}
    (folder / f"{stem}.json").write_text(json.dumps(described, default=datetime.isoformat, indent=1) + "\n")


def _encode(image: StoredImage, form: Form) -> tuple[Form, bytes]:
    """Return the format and bytes of an image's file: npy if PNG cannot hold the image, else as requested."""
    try:
        return form, encode(image.pixels, form)
    except MemberRefusedError:
        return "npy", encode(image.pixels, "npy")
