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
    """Width of the results in pixels."""
    height: int = 224
    """Height of the results in pixels."""
    fit: Fit = "cover"
    """`cover` fills the size and crops the middle, `contain` pads with zeros, `stretch` ignores the aspect ratio,
    `none` keeps the size."""
    crop: tuple[int, int, int, int] | None = None
    """Box `left,upper,right,lower` in source pixels, cut out after EXIF orientation and before resizing."""
    colour: Colour = "RGB"
    """`RGB`, `L` (grey) or `keep`. `L` and `RGB` lay transparent pixels over black. `keep` leaves grey grey and alpha
    as the last channel; palettes and CMYK become RGB."""
    dtype: DType = "uint8"
    """`uint8`, `uint16`, `float16`, `float32` or `keep`. 16-bit values become 8-bit ones by division by 257. A member
    with values that the type cannot hold is refused, unless they are scaled or normalised: then integers are rounded
    and clipped, and `keep` gives float32."""
    scale: float = 1.0
    """Values are multiplied by this first, for example by `0.00392156862745098` to get 0 to 1."""
    mean: tuple[float, ...] = ()
    """Subtracted after `SCALE`: one number, or one per channel with commas."""
    std: tuple[float, ...] = ()
    """Values are divided by this last: one number, or one per channel with commas."""
    resample: Resample = "lanczos"
    """`nearest`, `box`, `bilinear`, `hamming`, `bicubic` or `lanczos`."""
    codec: Codec = "npy"
    """How images are stored: `npy` (any dtype, fastest) or `png` (uint8 and uint16)."""
    hook: str | None = None
    """Your own last step as `package.module:function`, called with each array and its `ImageMetadata`. It returns an
    array, or None to skip the image: [your own step](../README.md#your-own-step)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What preprocessing accepts. Every error that one of these causes names its setting, `LIMIT_<NAME>`."""

    archive_members: int = 100_000
    """Members of an archive. An archive with more is refused."""
    batch_bytes: int = 4 * 2**30
    """Inflated bytes of all members of one batch."""
    member_bytes: int = 512 * 2**20
    """Inflated bytes of one member."""
    ratio: int = 200
    """Inflated bytes per compressed byte of a member, judged from 1 MiB inflated on."""
    pixels: int = 100_000_000
    """Width × height of a frame, judged before it is decoded. JPEG 2000 and WebP count twice, 16-bit colour four times:
    decoding takes at most 12 bytes for each of these pixels. A PPM of written-out numbers counts twenty times, for its
    time."""
    frames: int = 1_000
    """Frames of one member."""
    member_pixels: int = 2_000_000_000
    """Width × height of all frames of one member together. The scans of a progressive JPEG count like frames."""
    batch_pixels: int = 20_000_000_000
    """Width × height of all frames of one batch together, so that a batch ends before its call's time does. Members
    beyond it are refused."""
    seconds: MemberSeconds = 180
    """Seconds that one member may take, alone in a process of its own: twice what the other limits allow, so that only
    a member that hangs is ended. At most 540, since a batch is divided after ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """How an archive's members are divided, and what runs inline."""

    members: int = 64
    """Most members that one call preprocesses."""
    bytes: int = 64 * 2**20
    """Most compressed bytes that one call preprocesses."""
    inflated_bytes: int = 512 * 2**20
    """Most inflated bytes that one call preprocesses, as the zip's directory gives them."""
    inline_bytes: int = 64 * 2**20
    """An archive's first batches, of up to this many compressed bytes together, run one after the other in the Event
    Grid call; all others go to the queue."""


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
