"""Print the results of the demo."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.text import Text

from local.demo.progress import Line
from local.demo.view import megabytes

_PROBLEM_LIMIT = 20


def print_summary(console: Console, lines: Sequence[Line], problems: Sequence[str], deaths: Sequence[str]) -> None:
    """Print totals, kills of the host, and problems or that there are none."""
    metadata = _metadata(lines)
    if deaths:
        metadata.append(("host killed", ", and ".join(deaths)))
    console.print()
    for title, value in metadata:
        console.print(Text.assemble((f" {title:<16} ", "dim"), value), soft_wrap=True)
    console.print()
    print_problems(console, problems)


def print_problems(console: Console, problems: Sequence[str]) -> None:
    """Print the first 20 problems, or that there are none."""
    if not problems:
        console.print(Text("Every uploaded image was read back exactly once.", "bold green"))
        return
    console.print(Text(f"Problems ({len(problems)}):", "bold red"))
    for problem in problems[:_PROBLEM_LIMIT]:
        console.print(Text(f"  {problem}"), soft_wrap=True)
    if len(problems) > _PROBLEM_LIMIT:
        console.print(f"  … and {len(problems) - _PROBLEM_LIMIT} more")


def where_to_look(console: Console, logs: Path) -> None:
    """Print where the logs are."""
    console.print(Text(f"Logs of the functions host and the relay: {logs}"), soft_wrap=True)


def _metadata(lines: Sequence[Line]) -> list[tuple[str, str]]:
    lags = sorted(line.lag for line in lines if line.lag is not None)
    metadata = [
        ("archives", f"{len(lines)}, {megabytes(sum(line.arrival.drop.sample.size for line in lines))}"),
        ("images", f"{sum(line.progress.images for line in lines)} read back from rows"),
        ("members refused", f"{sum(line.progress.refused for line in lines)}"),
        ("members skipped", f"{sum(line.progress.skipped for line in lines)}"),
    ]
    if lags:
        metadata.append(("readable after", f"{median(lags):.1f} s (median), {lags[-1]:.1f} s (longest)"))
    if lines:
        largest = max(lines, key=lambda line: line.arrival.drop.sample.size).arrival.drop
        metadata.append(
            ("largest", f"{largest.name}, {megabytes(largest.sample.size)}, SHA-256 {largest.sample.sha256}")
        )
    return metadata
