"""Values of preprocessing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    # Copying needs some of the values here, but neither numpy's time nor its 17 MB.
    import numpy as np
    from numpy.typing import NDArray

type Pixels = NDArray[np.generic]
"""One picture: height x width, or height x width x channels."""

Fit = Literal["stretch", "contain", "cover", "none"]
Colour = Literal["keep", "L", "RGB"]
DType = Literal["keep", "uint8", "uint16", "float16", "float32"]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Codec = Literal["npy", "png"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How images are preprocessed. Everything here decides the results, so the pipeline's name hashes it.

    Order: EXIF orientation, `crop`, alpha, `fit`, `colour`, `scale`, `mean` and `std`, `dtype`, `hook`.
    """

    width: int = 224
    height: int = 224
    fit: Fit = "cover"
    crop: tuple[int, int, int, int] | None = None
    """Left, upper, right, lower in source pixels, after EXIF orientation and before resizing."""
    colour: Colour = "RGB"
    """`L` and `RGB` lay what is transparent over black, which is also what `contain` pads with, and repeat or weigh
    channels (ITU-R 601). `keep` leaves grey grey, and alpha as the last channel; palettes and CMYK become RGB."""
    dtype: DType = "uint8"
    """Values stay what they are on disk (16-bit colour of PNG and TIFF too; JPEG 2000, AVIF, PPM and animated PNG give
    colour at 8 bits), but 16 bits become 8 by division by 257. A type that cannot hold a value refuses the member,
    unless it was scaled or normalised: then integers are rounded and clipped, and `keep` gives float32."""
    scale: float = 1.0
    """Values are multiplied by this, then `mean` subtracted and divided by `std`, per channel or once for all."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resample: Resample = "lanczos"
    codec: Codec = "npy"
    hook: str | None = None
    """`package.module:function`, called with each array and its MemberFacts; gives an array or None to leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What preprocessing accepts. Every error that one of these causes names its setting, `LIMIT_<NAME>`."""

    archive_members: int = 100_000
    batch_bytes: int = 4 * 2**30
    """Inflated bytes of one batch's members, together."""
    member_bytes: int = 512 * 2**20
    ratio: int = 200
    """Inflated bytes per compressed byte, judged from 1 MiB inflated on."""
    pixels: int = 100_000_000
    """Width x height of one frame, judged before it is decoded. JPEG 2000 and WebP count twice, colour of 16 bits four
    times: so decoding takes at most 12 bytes for each, beside the member's own bytes (measured)."""
    frames: int = 1_000
    member_pixels: int = 2_000_000_000
    """Width x height of all frames of one member, together; the scans of a JPEG count like frames."""
    batch_pixels: int = 20_000_000_000
    """Width x height of all frames of one batch: so it ends before the call's time does, whatever it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """How an archive's members are divided, and what runs inline."""

    members: int = 64
    bytes: int = 64 * 2**20
    """Compressed bytes of a batch."""
    inline_bytes: int = 64 * 2**20
    """An archive's first batches, of at most so many compressed bytes together, may run in the Event Grid call."""


class Origin(StrEnum):
    """How an archive came into the raw container."""

    COPIED = "copied"
    HAND = "hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArchive:
    """An archive that lies in the raw container."""

    source: str
    stamp: datetime
    version: str
    blob: str
    size: int
    path: str
    """Its true name on the server, or the blob's where it was put there by hand."""
    origin: Origin = Origin.COPIED
    sound: bool = True
    sha256: str | None = None
    etag: str
    modified: datetime | None = None
    """By the server's clock; None where it never was there."""
    raw_at: datetime | None = None
    """When it became raw: the blob's last change, or the ledger's time; None if neither is known."""
    offline: bool = False
    """In the archive tier, or on its way back from there: nobody can read its bytes now. The ledger does not know."""
    pending: bool = False
    """A copy into its blob is under way: its bytes are not all there. The ledger does not know."""
    copy_error: str | None = None
    """Why the copy into its blob ended without its bytes; None if it did not."""
    traceparent: str | None = field(default=None, compare=False)
    """The span that its own spans belong to; None if nobody recorded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Members `first` to `end` (exclusive) of an archive's directory, which one call preprocesses."""

    archive: RawArchive
    pipeline: str
    number: int
    first: int
    end: int
    plan: str = field(default="", compare=False)
    """Names the plan that it is of, where the ledger gave it: who works by a plan that was taken back settles nothing.
    """
    batches: int = field(default=0, compare=False)
    """How many the archive's plan has; 0 where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What is known of an image besides its pixels; also what a hook is given."""

    source: str
    archive: str
    """Path of the archive on its server."""
    stamp: datetime
    member: int
    """Index in the zip's directory."""
    frame: int
    name: str
    """The member's name: a label, never a path."""
    format: str
    """Pillow's name of the format, such as JPEG."""
    captured_at: datetime | None
    """From EXIF; UTC, or as the camera's clock had it where EXIF tells no offset."""


type Hook = Callable[[Pixels, MemberFacts], Pixels | None]
"""A user's own last step; None leaves the image out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One decoded, preprocessed picture."""

    facts: MemberFacts
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A member that could not be preprocessed."""

    member: int
    name: str
    reason: str
    error: str
    """Name of the exception's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of a run of members."""

    members: int = 0
    images: int = 0
    refused: int = 0
    """Members, not frames."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Members by kind."""
    bytes_in: int = 0
    """Compressed."""
    bytes_out: int = 0
    """Of the shard."""

    def __add__(self, other: "Counts") -> "Counts":
        kinds = {*self.skipped, *other.skipped}
        return Counts(
            members=self.members + other.members,
            images=self.images + other.images,
            refused=self.refused + other.refused,
            skipped={kind: self.skipped.get(kind, 0) + other.skipped.get(kind, 0) for kind in sorted(kinds)},
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """One row of the batches table."""

    batch: Batch
    done_at: datetime | None
    attempts: int
    """How often it was driven again after somebody had begun with it; one that only waits has spent none."""
    next_drive: datetime
    counts: Counts | None
    etag: str
    error: str | None = None
    """Why it failed the last time."""
    tried: bool = False
    """Somebody has begun with it, or given it up, since it was planned or driven the last time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Results of a processed archive that are not there any more."""

    archive: RawArchive
    found: Sequence[str]
    """What is missing, one by one, for a log."""
