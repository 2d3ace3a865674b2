"""The plot of scale that the README shows: what passes, and how long it takes, over sources and workers."""

from math import inf, nan
from pathlib import Path

from benchmarks.drawing import AMBER, BLUE, INK, figure, save, tidy
from benchmarks.scaling import Load, Service, most_sources, outlook

_LINES = {1: "#a5d6ff", 2: "#79c0ff", 4: BLUE, 8: "#1158c7", 16: AMBER}
_SOURCES = range(1, 501)


def draw(service: Service, file: Path) -> None:
    """Draw it."""
    drawn = figure(9, 3.2)
    passing, lag = drawn.subplots(1, 2)
    for workers, colour in _LINES.items():
        looks = [outlook(service, Load(sources=sources, workers=workers)) for sources in _SOURCES]
        end = most_sources(service, workers)
        narrowest = outlook(service, Load(sources=end + 1, workers=workers)).narrowest
        name = f"{workers} worker{'s' if workers > 1 else ''}, up to {end:,}: {narrowest}"
        passing.plot(_SOURCES, [look.archives * 60 for look in looks], color=colour, label=name)
        lag.plot(_SOURCES, [nan if look.lag == inf else look.lag for look in looks], color=colour, label=name)
    passing.set_ylabel("archives a minute", color=INK)
    passing.set_ylim(bottom=0)
    lag.set_ylabel("mean lag, seconds", color=INK)
    lag.set_ylim(0, 90)
    passing.legend(frameon=False, labelcolor=INK, loc="upper left")
    for axes in (passing, lag):
        axes.set_xlim(0, _SOURCES[-1])
        axes.set_xlabel("sources, each with an archive every ten minutes", color=INK)
        tidy(axes, "left", "bottom")
    save(drawn, file)
