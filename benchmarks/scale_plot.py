"""Draw the plot of scale for docs/performance.md: throughput and lag, by sources and workers."""

from math import inf, nan
from pathlib import Path

from benchmarks.drawing import AMBER, BLUE, INK, figure, save, tidy
from benchmarks.scaling import Load, Service, most_sources, outlook

_ENOUGH = "enough for sources;\nbusy then:"
_LINES = {1: "#a5d6ff", 2: "#79c0ff", 4: BLUE, 8: "#1158c7", 16: AMBER}
_WIDTHS = {1: 1.2, 2: 1.6, 4: 2.4, 8: 4, 16: 6.5}
"""Line widths: more workers have wider lines and are drawn first, so that overlapping lines stay visible."""
_SOURCES = range(1, 1_501)


def draw(service: Service, file: Path) -> None:
    """Write the plot."""
    drawn = figure(9, 3.2)
    passing, lag = drawn.subplots(1, 2)
    for workers, colour in reversed(_LINES.items()):
        style = {"color": colour, "linewidth": _WIDTHS[workers]}
        looks = [outlook(service, Load(sources=sources, workers=workers)) for sources in _SOURCES]
        end = most_sources(service, workers)
        narrowest = outlook(service, Load(sources=end + 1, workers=workers)).narrowest
        name = f"{workers} worker{'s' if workers > 1 else ''}: {end:,}, {narrowest}"
        passing.plot(_SOURCES, [look.archives * 60 for look in looks], label=name, **style)
        lag.plot(_SOURCES, [nan if look.lag == inf else look.lag for look in looks], **style)
    passing.set_ylabel("archives a minute", color=INK)
    passing.set_ylim(bottom=0)
    lag.set_ylabel("mean lag, seconds", color=INK)
    lag.set_ylim(0, 90)
    names = [*passing.get_lines()][::-1]
    legend = drawn.legend(handles=names, loc="outside right upper", frameon=False, labelcolor=INK, title=_ENOUGH)
    legend.get_title().set(color=INK, fontsize=9)
    for axes in (passing, lag):
        axes.set_xlim(0, _SOURCES[-1])
        axes.set_xlabel("sources, each with an archive every ten minutes", color=INK)
        tidy(axes, "left", "bottom")
    save(drawn, file)
