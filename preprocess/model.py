"""Values of preprocessing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from config.types import MemberSeconds
from imagefeed.model import Codec, Counts, ImageMetadata, Pixels, RawArchive
from preprocess.claim import NOBODY, Claim

Fit = Literal["stretch", "contain", "cover", "none"]
Colour = Literal["keep", "L", "RGB"]
DType = Literal["keep", "uint8", "uint16", "float16", "float32"]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


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
    """`package.module:function`, called with each array and its ImageMetadata; returns an array, or None to drop it."""


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
    seconds: MemberSeconds = 180
    """Of one member, alone in a process of its own: twice what the other limits allow, so that it ends only what hangs.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """How an archive's members are divided, and what runs inline."""

    members: int = 64
    bytes: int = 64 * 2**20
    """Compressed bytes of a batch."""
    inflated_bytes: int = 512 * 2**20
    """Inflated bytes of a batch, as the zip's directory has them."""
    inline_bytes: int = 64 * 2**20
    """An archive's first batches, of at most so many compressed bytes together, may run in the Event Grid call."""


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


type Hook = Callable[[Pixels, ImageMetadata], Pixels | None]
"""A user's own last step; None leaves the image out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One decoded, preprocessed picture."""

    metadata: ImageMetadata
    pixels: Pixels
    source_pixels: int = 0
    """Width x height of the frame as it was stored; counts against LIMIT_BATCH_PIXELS."""
    near: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Shares of the limits that it nearly reached, by the limits' settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is recorded beside a batch's counts, for people. It decides nothing."""

    reason: str | None = None
    """Why most of its refused members were refused."""
    near: Mapping[str, float] = field(default_factory=dict)
    """Shares of the limits that were nearly reached, by the limits' settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """One row of the batches table."""

    batch: Batch
    done_at: datetime | None
    attempts: int
    """How often it was driven again after it had failed; one that only waits has spent none."""
    next_drive: datetime
    counts: Counts | None
    etag: str
    error: str | None = None
    """Why it failed the last time."""
    failures: int = 0
    """How often it has failed, or its message was given up, since it was planned or driven the last time."""
    put_at: datetime | None = None
    """When its message was put on the queue, or is known to come back to it; None: nobody has put one."""
    claim: Claim = NOBODY
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenArchive:
    """An archive that somebody has begun with under a pipeline, and that is not at its end there."""

    archive: RawArchive
    opened_at: datetime
    """When it became raw, or its planning began the last time."""
    put_at: datetime | None
    """When a message was put that asks for its plan; None: nobody has put one."""
    asked: int
    """How often such a message was put because the one before seemed lost."""
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Results of a processed archive that are not there any more."""

    archive: RawArchive
    missing: Sequence[str]
    """What is missing, one by one, for a log."""
