"""The plot that the README shows: every ratio as a bar, its goal as a mark; readable on white and on black."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.results import Number, Run

_INK = "#7d8590"
_BAR = "#2f81f7"
_BEHIND = "#d29922"


def draw(run: "Run", file: Path) -> None:
    """Draw how many times as fast ours is; without anything to draw, no plot."""
    bars = [(row.name, number) for row in run.rows for number in row.numbers if _is_speed(number) and not row.missing]
    if not bars:
        return
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text, and the same numbers make the same file.
    matplotlib.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "speed",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    figure = Figure(figsize=(9, 0.8 + 0.3 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(bars))
    values = [number.value for _, number in bars]
    axes.barh(places, values, height=0.62, color=[_BAR if number.met is not False else _BEHIND for _, number in bars])
    for place, (_, number) in enumerate(bars):
        goal = float(number.goal.split()[-1]) if number.goal else None
        if goal is not None:
            axes.plot([goal, goal], [place - 0.42, place + 0.42], color=_INK, linewidth=2)
        axes.text(max(number.value, goal or 0) * 1.06, place, f"{number.value:.1f}×", va="center", color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(0.25, max(*values, 10) * 1.6)
    axes.set_xticks([0.25, 0.5, 1, 2, 5, 10], labels=["¼", "½", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.set_yticks(places, labels=[f"{name}{number.figure.removeprefix('speed')}" for name, number in bars])
    axes.invert_yaxis()
    axes.axvline(1, color=_INK, linewidth=0.8)
    axes.set_xlabel("times as fast as its peer; the mark is the goal", color=_INK)
    axes.tick_params(colors=_INK, length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})


def _is_speed(number: "Number") -> bool:
    return number.figure.startswith("speed") and number.unit == "×"
