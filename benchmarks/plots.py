"""Draw the plot of speed for docs/performance.md: ratios with a lower limit as bars from 1, their goals as marks."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawing import AMBER, BLUE, INK, figure, save, tidy
from benchmarks.results import Number, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = {0.25: "¼", 0.5: "½", 1: "as fast", 2: "2×", 4: "4×", 8: "8×"}
_IN_THE_WAY = 1.3


def draw(run: Run, file: Path) -> None:
    """Write a plot of the speed ratios; nothing if there are none."""
    bars = {_label(each.name, number): number for each in run.results for number in each.numbers if _is_speed(number)}
    if not bars:
        return
    drawn = figure(9, 0.9 + 0.25 * len(bars))
    axes = drawn.add_subplot()
    for place, number in enumerate(bars.values()):
        _bar(axes, place, number)
    axes.set_xscale("log")
    axes.set_xlim(0.25, 12)
    axes.set_xticks(list(_TICKS), labels=list(_TICKS.values()))
    axes.set_yticks(range(len(bars)), labels=list(bars))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlabel("times as fast as the alternative; blue: the goal (mark) is met, amber: not", color=INK)
    tidy(axes)
    save(drawn, file)


def _bar(axes: "Axes", place: int, number: Number) -> None:
    goal = float(number.goal.split()[-1])
    axes.barh(place, number.value - 1, left=1, height=0.62, color=BLUE if number.met else AMBER)
    axes.plot([goal, goal], [place - 0.4, place + 0.4], color=INK, linewidth=2)
    behind = number.value < 1
    # The text goes beside the end of the bar, or beside the mark if they would overlap.
    end = number.value if behind or not 1 < goal / number.value < _IN_THE_WAY else goal
    axes.text(
        end / 1.04 if behind else end * 1.04,
        place,
        str(number),
        ha="right" if behind else "left",
        va="center",
        color=INK,
    )


def _label(benchmark: str, number: Number) -> str:
    figure = number.figure.removeprefix("speed").strip()
    return f"{benchmark}: {figure}" if figure else benchmark


def _is_speed(number: Number) -> bool:
    return number.unit == "×" and number.goal.startswith("≥")
