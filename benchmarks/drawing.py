"""Style of plots: readable on white and black, text as text, and the same file for the same numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Only `make bench` installs matplotlib.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7d8590"
BLUE = "#2f81f7"
AMBER = "#d29922"


def figure(width: float, height: float) -> "Figure":
    """Return a new figure; width and height are in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: "Axes", *sides: str) -> None:
    """Remove ticks and the frame, except the given sides."""
    axes.tick_params(colors=INK, length=0)
    axes.minorticks_off()
    axes.spines[:].set_visible(False)
    if sides:
        axes.spines[list(sides)].set(visible=True, color=INK)


def save(drawn: "Figure", file: Path) -> None:
    """Write a figure as SVG."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = file.stem
    drawn.savefig(file, format="svg", transparent=True, metadata={"Date": None})
