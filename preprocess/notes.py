"""What a batch came upon, for people: why members were refused, and which limits were nearly reached."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from config.near import highest, nearly
from preprocess.model import Image, Limits, Notes
from preprocess.zip.directory import Member

BATCH_TIME = "batch time"
"""The limit of how long a batch of several members may take: it has no setting."""


class NoteTaker:
    """Notes of one batch in the making."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._near: Mapping[str, float] = {}
        self._quoted: dict[str, str] = {}
        self._pixels = self._bytes = 0
        self.reasons = Counter[str]()
        """Why members were refused, in few words, and how many."""

    @property
    def notes(self) -> Notes:
        """Return what was noted so far."""
        commonest = self.reasons.most_common(1)
        return Notes(reason=self._quoted[commonest[0][0]] if commonest else None, near=self._near)

    def refuse(self, kind: str, reason: str) -> None:
        """Note a refused member."""
        self.reasons[kind] += 1
        self._quoted.setdefault(kind, reason)

    def note(self, limit: str, used: float) -> None:
        """Note how much of one of `Limits` was used."""
        self.merge({f"LIMIT_{limit.upper()}": used / getattr(self._limits, limit)})

    def merge(self, shares: Mapping[str, float]) -> None:
        """Note shares of limits."""
        if near := nearly(shares):
            self._near = highest(self._near, near)

    def passing(self, member: Member, images: Iterable[Image]) -> Iterator[Image]:
        """Pass a member's images through, and note how much of the limits they used."""
        self._bytes += member.size
        self.note("member_bytes", member.size)
        self.note("batch_bytes", self._bytes)
        if member.size > 2**20 and member.compressed:
            self.note("ratio", member.size / member.compressed)
        for image in images:
            self._pixels += image.source_pixels
            self.merge(image.near)
            yield image
        self.note("batch_pixels", self._pixels)
