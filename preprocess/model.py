"""Value types of preprocessing."""

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
    """Settings of preprocessing that decide the results. The pipeline's name is a hash of them.

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
    """Limits of preprocessing. An error caused by one of them names its setting, `LIMIT_<NAME>`."""

    archive_members: int = 100_000
    """Members of an archive. An archive with more is refused."""
    batch_bytes: int = 4 * 2**30
    """Inflated bytes of all members of one batch."""
    member_bytes: int = 512 * 2**20
    """Inflated bytes of one member."""
    ratio: int = 1_100
    """Inflated bytes per compressed byte of a member, judged from 1 MiB inflated on. Deflate cannot exceed 1,032, which
    black images reach; other methods can."""
    pixels: int = 100_000_000
    """Width × height of a frame, judged before it is decoded. JPEG 2000 and WebP count twice, 16-bit colour four times:
    decoding takes at most 12 bytes for each of these pixels. A PPM with numbers as text counts twenty times, because
    it takes that long."""
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
    """Sizes of batches, and of what runs inline."""

    members: int = 64
    """Most members that one call preprocesses."""
    bytes: int = 64 * 2**20
    """Most compressed bytes that one call preprocesses."""
    inflated_bytes: int = 512 * 2**20
    """Most inflated bytes that one call preprocesses, as the zip's directory gives them."""
    inline_bytes: int = 64 * 2**20
    """An archive's first batches, of up to this many compressed bytes together, run one after the other in the Event
    Grid call. The others go to the queue, as do all batches of an archive that has more than 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Members `first` to `end` (exclusive) of an archive's directory, which one call preprocesses."""

    archive: RawArchive
    pipeline: str
    number: int
    first: int
    end: int
    plan: str = field(default="", compare=False)
    """Name of its plan, empty if not read from the ledger. The ledger ignores results of a plan that was reset."""
    batches: int = field(default=0, compare=False)
    """Number of batches in the archive's plan; 0 if not known."""


type Hook = Callable[[Pixels, ImageMetadata], Pixels | None]
"""A user's own last step, which returns an array, or None to skip the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One decoded and preprocessed image."""

    metadata: ImageMetadata
    pixels: Pixels
    source_pixels: int = 0
    """Width x height of the stored frame; counts against LIMIT_BATCH_PIXELS."""
    near: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Used shares of the limits that it nearly reached, by setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Information for people, recorded with a batch's counts. No code decides by it."""

    reason: str | None = None
    """The most common reason why its members were refused."""
    near: Mapping[str, float] = field(default_factory=dict)
    """Used shares of the limits that were nearly reached, by setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """One row of the batches table."""

    batch: Batch
    done_at: datetime | None
    attempts: int
    """Number of redrives after failures. Redrives of a batch that only waited do not count."""
    next_drive: datetime
    counts: Counts | None
    etag: str
    error: str | None = None
    """The last failure."""
    failures: int = 0
    """Number of failures since it was planned or last redriven; `MOST_DEQUEUES` if its message was given up."""
    put_at: datetime | None = None
    """When its message was put on the queue, or will be visible there again; None if none was put."""
    claim: Claim = NOBODY
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenArchive:
    """An archive that is being processed under a pipeline, and is not terminal there."""

    archive: RawArchive
    opened_at: datetime
    """When it became raw, or when its planning last began."""
    put_at: datetime | None
    """When a message was put that asks for its plan; None if none was put."""
    asked: int
    """How often such a message was put again because the one before seemed lost."""
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Results of a processed archive that no longer exist."""

    archive: RawArchive
    missing: Sequence[str]
    """Descriptions of the missing results, for the log."""
