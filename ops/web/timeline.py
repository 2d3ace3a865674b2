"""Positions of marks, gaps, ticks and the lag line in a source's SVG timeline, in units of its viewBox. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import log10, sqrt

from ingest.gaps import Gap
from ops.web.model import ArchiveMark, SourceStatus

WIDTH, HEIGHT = 1200, 150
_LEFT, _RIGHT = 6, 1194
BASE = 92
"""y of the bottom of the bars."""
_LEAST, _MOST = 7, 58
"""Least and greatest height of a bar."""
_SYMBOL = 8
LAG_TOP, LAG_BOTTOM = 102, 132
_LEAST_LAG, _LEAST_TOP = 1.0, 60.0
"""Seconds at the bottom of the lag line, and the fewest at its top."""
_STEPS = [timedelta(minutes=m) for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400)]
_MAX_TICKS = 9
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """Position of a mark: `x` is its centre, `top` the top of its bar, `symbol` the centre of the shape above it."""

    mark: ArchiveMark
    x: float
    left: float
    width: float
    top: float
    height: float
    symbol: float
    hit_left: float
    hit_width: float


@dataclass(frozen=True, slots=True)
class GapBar:
    """Position of a gap."""

    gap: Gap
    x: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis; `strong` at the start of a day."""

    x: float
    label: str
    strong: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """Positions of everything in one source's timeline."""

    bars: Sequence[Bar]
    gaps: Sequence[GapBar]
    ticks: Sequence[Tick]
    lags: str
    """SVG path; empty if no lag is known."""
    p50: float | None
    p95: float | None
    top_lag: float
    """Seconds at the top of the lag line."""
    largest: int
    """Size in bytes of the archive with the highest bar."""


def draw(source: SourceStatus, now: datetime) -> Timeline:
    """Return the layout of a source's timeline, the newest at the right."""
    # Whole minutes, so that an unchanged timeline is rendered the same within a minute.
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    scale = _Scale(source.start, end)
    largest = max((mark.size for mark in source.marks), default=0)
    lags = [mark.lag for mark in source.marks if mark.lag is not None]
    top_lag = max(_LEAST_TOP, *lags) if lags else _LEAST_TOP
    xs = [scale.x(mark.stamp) for mark in source.marks]
    return Timeline(
        bars=list(_bars(source.marks, xs, largest)),
        gaps=[_gap_bar(gap, scale) for gap in source.gaps],
        ticks=list(_ticks(source.start, end, scale)),
        lags=_path(source.marks, xs, source.gaps, top_lag),
        p50=_lag_y(source.lag.p50, top_lag) if source.lag else None,
        p95=_lag_y(source.lag.p95, top_lag) if source.lag else None,
        top_lag=top_lag,
        largest=largest,
    )


class _Scale:
    def __init__(self, start: datetime, end: datetime) -> None:
        self._start = start
        self._length = (end - start).total_seconds()

    def x(self, time: datetime) -> float:
        share = (time - self._start).total_seconds() / self._length
        return round(_LEFT + (_RIGHT - _LEFT) * min(max(share, 0), 1), 1)


def _bars(marks: Sequence[ArchiveMark], xs: Sequence[float], largest: int) -> Iterator[Bar]:
    # The median distance, not the least: two marks close together must not make all bars thin.
    distances = sorted(later - earlier for earlier, later in pairwise(sorted(xs)))
    usual = distances[len(distances) // 2] if distances else 20
    # Bars may overlap a little, because thinner ones could not be seen.
    least = min(max(300 / max(len(xs), 1), 1.6), 5)
    width = round(min(max(usual * 0.7, least), 12), 1)
    hit = round(min(max(usual, 4), 24), 1)
    heights = [_height(mark, largest) for mark in marks]
    for mark, x, height in zip(marks, xs, heights, strict=True):
        # A symbol is placed above the neighbouring bars too, so that no high bar hides it.
        highest = max(height, *heights[bisect_left(xs, x - width) : bisect_right(xs, x + width)])
        yield Bar(
            mark=mark,
            x=x,
            left=round(x - width / 2, 1),
            width=width,
            top=round(BASE - height, 1),
            height=height,
            symbol=round(BASE - highest - _SYMBOL, 1),
            hit_left=round(x - hit / 2, 1),
            hit_width=hit,
        )


def _height(mark: ArchiveMark, largest: int) -> float:
    """Return the height of a bar. It grows with the square root of the size, so that small archives stay visible."""
    return round(_LEAST + (_MOST - _LEAST) * sqrt(mark.size / largest if largest else 0), 1)


def _gap_bar(gap: Gap, scale: _Scale) -> GapBar:
    left, right = scale.x(gap.start), scale.x(gap.end)
    pad = min(3.0, (right - left) / 4)
    width = round(max(right - left - (pad if gap.open else 2 * pad), 3), 1)
    label = f"{gap.missing} missing" if width > 56 else f"{gap.missing}" if width > 14 else ""
    return GapBar(gap=gap, x=round(left + pad, 1), width=width, label=label)


def _ticks(start: datetime, end: datetime, scale: _Scale) -> Iterator[Tick]:
    step = next((step for step in _STEPS if (end - start) / step <= _MAX_TICKS), _STEPS[-1])
    midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * ((start - midnight) // step + 1)
    while at < end:
        x = scale.x(at)
        # A label near the ends would be cut off, or would cover the label "now".
        if _LEFT + 18 < x < _RIGHT - 58:
            strong = (at - midnight) % _DAY == timedelta(0)
            yield Tick(x=x, label=f"{at:%d %b}" if strong else f"{at:%H:%M}", strong=strong)
        at += step


def _path(marks: Sequence[ArchiveMark], xs: Sequence[float], gaps: Sequence[Gap], top: float) -> str:
    """Return the SVG path through the lags of successive marks, interrupted at gaps."""
    points = [(mark.stamp, x, mark.lag) for mark, x in zip(marks, xs, strict=True) if mark.lag is not None]
    path, before = [], datetime.max.replace(tzinfo=UTC)
    for stamp, x, lag in points:
        joined = before <= stamp and not any(before < gap.end <= stamp for gap in gaps)
        path.append(f"{'L' if joined else 'M'}{x:g} {_lag_y(lag, top):g}")
        before = stamp
    return "".join(path) + ("h0.1" if len(path) == 1 else "")


def _lag_y(lag: float, top: float) -> float:
    share = log10(max(lag, _LEAST_LAG) / _LEAST_LAG) / log10(top / _LEAST_LAG)
    return round(LAG_BOTTOM - (LAG_BOTTOM - LAG_TOP) * min(share, 1), 1)
