"""Specifications of sample archives; each fixes every picture and, with its seed, every byte."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.random import default_rng

from local import formats, photos


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """Specification of one image file of a sample."""

    photograph: str
    size: tuple[int, int]
    format: str = "jpeg"
    frames: int = 1
    damage: str = ""
    """`cut`: the file ends half way. `flip`: one byte in the zip is wrong, so the checksum does not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """Specification of one sample archive."""

    seed: int
    images: tuple[ImageSpec, ...]
    others: Mapping[str, bytes] = field(default_factory=dict)
    """Content of members that are not images, by name; a name that ends in a slash is a folder."""
    folder: str = ""


def small(seed: int, images: int = 10) -> SampleSpec:
    """Return a sample of a few megabytes: camera JPEGs, and every fifth image a PNG."""
    rng = default_rng(seed)
    names = rng.permutation(photos.COLOUR)
    specs = [
        ImageSpec(
            photograph=str(names[i % len(names)]),
            size=(1280, 960) if rng.random() < 0.7 else (900, 1200),
            format="png" if i % 5 == 4 else "jpeg",
        )
        for i in range(images)
    ]
    return SampleSpec(seed=seed, images=tuple(specs))


def large(seed: int = 50) -> SampleSpec:
    """Return a sample of well over 50 MB: twenty pictures of up to 12 megapixels."""
    special = {3: "tiff", 11: "png", 17: "jpeg-turned"}
    specs = [
        ImageSpec(
            photograph=photos.COLOUR[i % len(photos.COLOUR)],
            size=(2000, 1500) if special.get(i) == "png" else (4000, 3000),
            format=special.get(i, "jpeg"),
        )
        for i in range(20)
    ]
    return SampleSpec(seed=seed, images=tuple(specs), folder="DCIM/100/")


def all_formats(seed: int = 70) -> SampleSpec:
    """Return a sample with every format that the pipeline accepts; two of the files hold several frames."""
    specs = [
        ImageSpec(
            photograph=(photos.GREY if name in formats.GREY_FORMATS else photos.COLOUR)[i % 7],
            size=(640, 480),
            format=name,
            frames=3 if name in {"gif", "tiff-lzw"} else 1,
        )
        for i, name in enumerate(formats.FORMATS)
    ]
    return SampleSpec(seed=seed, images=tuple(specs))


def broken(seed: int = 90) -> SampleSpec:
    """Return a sample with valid images, damaged images and members that are not images."""
    damage = {1: "cut", 4: "flip"}
    specs = [
        ImageSpec(photograph=photos.COLOUR[i], size=(1200, 900), damage=damage.get(i, ""), format="jpeg")
        for i in range(8)
    ]
    others = {
        "notes.txt": b"Lens cleaned at noon.\n",
        "thumbnails/": b"",
        "__MACOSX/._IMG_0000.jpg": b"\x00\x05\x16\x07",
        ".hidden.jpg": b"not for us",
    }
    return SampleSpec(seed=seed, images=tuple(specs), others=others)
