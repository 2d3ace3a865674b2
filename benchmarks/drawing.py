"""How plots look: readable on white and on black, text as text, and the same numbers make the same file."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Only `make bench` has it.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7d8590"
BLUE = "#2f81f7"
AMBER = "#d29922"


def figure(width: float, height: float) -> "Figure":
    """Begin a plot; inches."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: "Axes", *sides: str) -> None:
    """Take away what says nothing; of the frame these sides stay."""
    axes.tick_params(colors=INK, length=0)
    axes.minorticks_off()
    axes.spines[:].set_visible(False)
    if sides:
        axes.spines[list(sides)].set(visible=True, color=INK)


def save(drawn: "Figure", file: Path) -> None:
    """Write an SVG."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = file.stem
    drawn.savefig(file, format="svg", transparent=True, metadata={"Date": None})
