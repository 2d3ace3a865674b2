"""Make zips of real photographs from a seed, each with the results that the pipeline must produce from it."""

import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import PIL
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageOps

from local import formats, photos
from local.sample_specs import ImageSpec, SampleSpec

SIDE = 224
"""Width and height of the demo's preprocessed images, in pixels."""
CELLS = 32
"""Cells of a colour grid in each direction."""
_UNUSED = 86_400.0
"""Seconds after which samples of other versions are deleted."""

type ColourGrid = NDArray[np.uint8]
"""Mean colours, uint8 of shape (32, 32, 3). They differ between pictures, rotations and orders of channels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One image that preprocessing must find: its position in the zip and its expected colours."""

    member: int
    frame: int
    name: str
    colours: ColourGrid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A zip and its expected results."""

    path: Path
    size: int
    sha256: str
    pictures: tuple[Picture, ...]
    refused: tuple[int, ...]
    """Indices of damaged members."""
    skipped: int
    """Number of members that are not images."""
    side: int = SIDE
    """Width and height of its preprocessed pictures; the colour grids are computed at this size."""


def colour_grid(pixels: NDArray[np.generic]) -> ColourGrid:
    """Return the mean colours of pixels of shape (side, side, 3); `side` is a multiple of 32."""
    step = len(pixels) // CELLS
    cells = pixels.astype(np.float32).reshape(CELLS, step, CELLS, step, 3)
    return np.rint(cells.mean(axis=(1, 3))).astype(np.uint8)


def make(spec: SampleSpec, cache_folder: Path, side: int = SIDE) -> Sample:
    """Return the sample of `spec`, from the cache if it is there. The same `spec` gives the same bytes.

    `side` is the width and height of its preprocessed pictures, a multiple of 32.
    """
    stem = cache_folder / _recipe_version() / hashlib.sha256(f"{spec} {side}".encode()).hexdigest()[:16]
    archive, manifest = stem.with_suffix(".zip"), stem.with_suffix(".json")
    if not manifest.exists():
        if not stem.parent.is_dir():
            _forget_old(cache_folder)
            stem.parent.mkdir(parents=True, exist_ok=True)
        _write(archive, manifest, spec, side)
    # `_forget_old` reads the folder's age as the time of its last use.
    os.utime(stem.parent)
    return _read(archive, manifest, side)


def _forget_old(cache_folder: Path) -> None:
    """Delete samples of other versions of this code, unused for a day; a running process may use younger ones."""
    for folder in cache_folder.glob("*/"):
        # Another process may delete the folder at the same time.
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _UNUSED:
                shutil.rmtree(folder, ignore_errors=True)


@cache
def _recipe_version() -> str:
    """Return a hash of everything else that the bytes depend on: this code, the photographs, the encoding libraries."""
    code = [Path(module.__file__ or "").read_bytes() for module in (formats, photos)] + [Path(__file__).read_bytes()]
    photographs = [(photos.photographs_folder() / name).read_bytes() for name in (*photos.COLOUR, *photos.GREY)]
    digest = hashlib.sha256(f"{PIL.__version__} {np.__version__}".encode())
    for part in (*code, *photographs):
        digest.update(part)
    return digest.hexdigest()[:12]


def _write(archive: Path, manifest: Path, spec: SampleSpec, side: int) -> None:
    """Write the zip, then its manifest, so that a manifest exists only for a complete zip."""
    # Unique names, because several demos and tests may make the same sample in a shared cache at the same time.
    own = uuid4().hex
    partial = archive.with_suffix(f".{own}.partial")
    pictures: list[dict[str, object]] = []
    with zipfile.ZipFile(partial, "w") as bundle:
        for member, (name, content, grids) in enumerate(_members(spec, side)):
            bundle.writestr(_entry(name), content)
            pictures += [
                {"member": member, "frame": frame, "name": name, "colours": grid.tobytes().hex()}
                for frame, grid in enumerate(grids)
            ]
    damaged = [i for i, image in enumerate(spec.images) if image.damage]
    for member in (i for i, image in enumerate(spec.images) if image.damage == "flip"):
        _flip(partial, member)
    metadata = {
        "size": partial.stat().st_size,
        "sha256": _sha256(partial),
        "pictures": pictures,
        "refused": damaged,
        "skipped": len(spec.others),
    }
    partial.replace(archive)
    unfinished = manifest.with_suffix(f".{own}.unfinished")
    unfinished.write_text(json.dumps(metadata), encoding="utf-8")
    unfinished.replace(manifest)


def _members(spec: SampleSpec, side: int) -> Iterator[tuple[str, bytes, Sequence[ColourGrid]]]:
    rng = default_rng(spec.seed)
    for number, image in enumerate(spec.images):
        suffix, encode = formats.FORMATS[image.format]
        frames = [_frame(rng, image) for _ in range(image.frames)]
        content = encode(frames)
        name = f"{spec.folder}IMG_{number:04}{suffix}"
        if image.damage == "cut":
            content = content[: len(content) // 2]
        yield name, content, [] if image.damage else [_expected(frame, side) for frame in frames]
    for name, content in spec.others.items():
        yield name, content, []


def _frame(rng: Generator, image: ImageSpec) -> Image.Image:
    picture = photos.render(rng, image.photograph, image.size)
    return picture.convert("L").convert("RGB") if image.format in formats.GREY_FORMATS else picture


def _expected(frame: Image.Image, side: int) -> ColourGrid:
    """Return the expected colours of a preprocessed picture, computed with plain Pillow."""
    return colour_grid(np.asarray(ImageOps.fit(frame, (side, side), Image.Resampling.LANCZOS)))


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a member's header, with a fixed time because the same specification must give the same bytes."""
    entry = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 12, 0, 0))
    deflates = name.lower().endswith((".txt", ".bmp", ".pgm", ".ppm", ".tiff"))
    entry.compress_type = zipfile.ZIP_DEFLATED if deflates else zipfile.ZIP_STORED
    entry.external_attr = 0o100644 << 16
    return entry


def _flip(archive: Path, member: int) -> None:
    """Change one byte of a stored member's content, but not its checksum in the directory."""
    with zipfile.ZipFile(archive) as bundle:
        entry = bundle.infolist()[member]
    with archive.open("r+b") as file:
        file.seek(entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2)
        byte = file.read(1)
        file.seek(-1, io.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(archive: Path, manifest: Path, side: int) -> Sample:
    metadata = json.loads(manifest.read_text(encoding="utf-8"))
    pictures = [
        Picture(
            member=picture["member"],
            frame=picture["frame"],
            name=picture["name"],
            colours=np.frombuffer(bytes.fromhex(picture["colours"]), np.uint8).reshape(CELLS, CELLS, 3),
        )
        for picture in metadata["pictures"]
    ]
    return Sample(
        path=archive,
        size=metadata["size"],
        sha256=metadata["sha256"],
        pictures=tuple(pictures),
        refused=tuple(metadata["refused"]),
        skipped=metadata["skipped"],
        side=side,
    )
