"""Run the whole system under injected faults, and verify that nothing is lost, duplicated or stuck."""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from imagefeed.errors import PipelineError
from local.demo.summary import print_problems, where_to_look
from local.demo.view import megabytes
from local.interrupt import interrupt_once
from local.servers.child import ServerFailedError
from local.soak.audit import Audit, audit
from local.soak.memory import Role
from local.soak.picture import draw_memory
from local.soak.soak import SCALE, SOURCES, Lags, Soak, settings
from local.soak.workload import SUPPRESSED, make_workload
from local.system import CACHE, LOCAL, system
from storage.clients import connected


def main() -> int:
    """Run the soak. Return 0 if there is no problem, 1 if there is one, 130 if interrupted."""
    options = _arguments()
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    interrupt_once()
    try:
        return _run(console, options)
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130
    except (PipelineError, ServerFailedError) as exc:
        console.print(Text(f"error: {exc}", "red"))
        where_to_look(console, options.folder / "logs")
        return 1


def _run(console: Console, options: argparse.Namespace) -> int:
    console.print(f"soak of {options.minutes:g} minutes, --seed {options.seed}")
    workload = make_workload(CACHE)
    with ExitStack() as stack:
        # Always `local.host`, because `func` cannot shorten its intervals.
        running = stack.enter_context(
            system(
                options.folder,
                sources=SOURCES,
                settings=settings(options.scale),
                host="local",
                scale=options.scale,
                suppressed=SUPPRESSED,
                fresh=True,
            )
        )
        clients = stack.enter_context(connected(running.connection, retries=8))
        began = time.monotonic()

        def say(text: str) -> None:
            console.print(f"{time.monotonic() - began:6.1f} s  {text}")

        soak = Soak(system=running, clients=clients, say=say, workload=workload, seed=options.seed, scale=options.scale)
        soak.run(options.minutes * 60)
        picture = options.folder / "memory.svg"
        picture.write_text(draw_memory(soak.memory, soak.faults.ends, time.monotonic() - soak.began), encoding="utf-8")
        say("reading everything back")
        audited = audit(clients, running.sources, soak.arrivals)
        lags = soak.lags()
        seconds = time.monotonic() - began
    problems = [*audited.problems, *soak.never(), *soak.memory.problems()]
    _print_summary(console, soak, audited, lags, seconds)
    console.print(f" memory over time: {picture}")
    print_problems(console, problems)
    if problems:
        where_to_look(console, options.folder / "logs")
    return 1 if problems else 0


def _print_summary(console: Console, soak: Soak, audited: Audit, lags: Lags, seconds: float) -> None:
    sizes = [arrival.drop.sample.size for arrival in soak.arrivals]
    suppressed = sum(SUPPRESSED in arrival.drop.name for arrival in soak.arrivals)
    injected = {
        **soak.faults.injected,
        **soak.data_loss.injected,
        "events doubled": soak.duplicate_events.delivered,
        "events withheld": suppressed,
    }
    metadata = {
        "time": f"{seconds:.0f} s, seed {soak.seed}",
        "archives": f"{len(sizes)}, {megabytes(sum(sizes))}, on {len(soak.system.sources)} servers",
        "images": f"{audited.images} read back from rows",
        "refused": f"{audited.archives_refused} archives and {audited.members_refused} members, each with its reason",
        "faults": ", ".join(f"{kind} {times}" for kind, times in sorted(injected.items())),
        "restarts": f"{soak.faults.restarts}, and {soak.system.host_ends} of a host that ended by itself",
        "lag": f"{lag(lags.quiet)}; interrupted by an end of the host {lag(lags.killed)}; with a deleted message "
        f"or deleted results {lag(lags.robbed)}",
        "given up": "; ".join(audited.given_up) or "none",
        "lost": str(audited.lost),
        "doubled": str(audited.doubled),
        "memory": f"peak {megabytes(soak.memory.peak)}; once warm the host grew by "
        f"{megabytes(soak.memory.growth(Role.HOST))}, the worker by {megabytes(soak.memory.growth(Role.WORKER))}",
    }
    console.print()
    for title, value in metadata.items():
        console.print(Text.assemble((f" {title:<10} ", "dim"), value))
    console.print()


def lag(seconds: Sequence[float]) -> str:
    """Return the median, 95th percentile and number of lags as text."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2]:.1f} s, p95 {ordered[int(len(ordered) * 0.95)]:.1f} s ({len(ordered)})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.soak",
        description="Copy and preprocess archives that keep arriving on three servers, while the functions host, the "
        "servers and storage are killed and connections are cut; then compare every byte and image with the uploads.",
    )
    parser.add_argument("--minutes", type=float, default=5, help="how long archives arrive (default: %(default)g)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10_000), help="determines archives and faults (default: random)"  # noqa: S311 - no secret
    )  # fmt: skip
    parser.add_argument(
        "--scale",
        type=float,
        default=SCALE,
        help="divide Azure's intervals by this factor, 1 to %(default)g (default: %(default)g)",
    )
    parser.add_argument(
        "--folder", type=Path, default=LOCAL / "soak", help="keep data and logs here; earlier content is deleted"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
