"""Notes on a batch for people: why members were refused, and which limits were nearly reached."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from config.near import highest, nearly
from preprocess.model import Image, Limits, Notes
from preprocess.zip.directory import Member

BATCH_TIME = "batch time"
"""Name of the time limit of a batch of several members. It has no setting."""

_DEFLATE, _DEFLATE_MOST = 8, 1032
"""Method of a member, and the most bytes that it makes of one."""


class NoteTaker:
    """Collects the notes of one batch while it runs."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._near: Mapping[str, float] = {}
        self._quoted: dict[str, str] = {}
        self._pixels = self._bytes = 0
        self.reasons = Counter[str]()
        """Number of refused members by kind of error, or by the limit that they exceed."""

    @property
    def notes(self) -> Notes:
        """Return the notes so far."""
        commonest = self.reasons.most_common(1)
        return Notes(reason=self._quoted[commonest[0][0]] if commonest else None, near=self._near)

    def refuse(self, kind: str, reason: str) -> None:
        """Record a refused member."""
        self.reasons[kind] += 1
        self._quoted.setdefault(kind, reason)

    def note(self, limit: str, used: float) -> None:
        """Record how much of one of `Limits` was used, by its field name."""
        self.merge({f"LIMIT_{limit.upper()}": used / getattr(self._limits, limit)})

    def merge(self, shares: Mapping[str, float]) -> None:
        """Record shares of limits, by their settings, and keep those that are nearly reached."""
        if near := nearly(shares):
            self._near = highest(self._near, near)

    def passing(self, member: Member, images: Iterable[Image]) -> Iterator[Image]:
        """Yield a member's images, and record how much of the limits they used."""
        self._bytes += member.size
        self.note("member_bytes", member.size)
        self.note("batch_bytes", self._bytes)
        # Deflate cannot reach a limit above what it can do, however near it comes.
        reachable = member.method != _DEFLATE or self._limits.ratio <= _DEFLATE_MOST
        if reachable and member.size > 2**20 and member.compressed:
            self.note("ratio", member.size / member.compressed)
        for image in images:
            self._pixels += image.source_pixels
            self.merge(image.near)
            yield image
        self.note("batch_pixels", self._pixels)
