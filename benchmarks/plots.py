"""The plot of speed that the README shows: every ratio that is to be large, as a bar from 1, its goal as a mark."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.drawing import AMBER, BLUE, INK, figure, save, tidy
from benchmarks.results import Number, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = {0.25: "¼", 0.5: "½", 1: "as fast", 2: "2×", 4: "4×", 8: "8×"}


def draw(run: Run, file: Path) -> None:
    """Draw how many times as fast ours is; without anything to draw, no plot."""
    bars = {_label(row.name, number): number for row in run.rows for number in row.numbers if _is_speed(number)}
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
    axes.set_xlabel("times as fast as what it is held against; blue: the goal (mark) is met, amber: not", color=INK)
    tidy(axes)
    save(drawn, file)


def _bar(axes: "Axes", place: int, number: Number) -> None:
    goal = float(number.goal.split()[-1])
    axes.barh(place, number.value - 1, left=1, height=0.62, color=BLUE if number.met else AMBER)
    axes.plot([goal, goal], [place - 0.4, place + 0.4], color=INK, linewidth=2)
    axes.text(max(number.value, goal, 1) * 1.05, place, f"{number}", va="center", color=INK)


def _label(row: str, number: Number) -> str:
    return f"{row}  {number.figure.removeprefix('speed')}".strip()


def _is_speed(number: Number) -> bool:
    return number.unit == "×" and number.goal.startswith("≥")
