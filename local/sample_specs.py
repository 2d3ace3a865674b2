"""What goes into sample archives: orders that fix every picture, and by their seed every byte."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.random import default_rng

from local import formats, photos


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One image file of a sample, before it is made."""

    photograph: str
    size: tuple[int, int]
    format: str = "jpeg"
    frames: int = 1
    damage: str = ""
    """`cut`: the file ends half way. `flip`: one byte in the zip is wrong, so its checksum does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """What goes into one sample."""

    seed: int
    images: tuple[ImageSpec, ...]
    others: Mapping[str, bytes] = field(default_factory=dict)
    """Members that are no images; a name that ends in a slash is a folder."""
    folder: str = ""


def small(seed: int, images: int = 10) -> SampleSpec:
    """A few megabytes of camera JPEGs, every fifth one a PNG."""
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
    """Twenty pictures of 12 megapixels, well over 50 MB."""
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
    """Every way to write an image that the pipeline accepts; two of the files hold several frames."""
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
    """Good pictures among members that are damaged and members that are no pictures."""
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
