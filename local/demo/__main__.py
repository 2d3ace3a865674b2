"""Run the whole system on real photographs, show its progress, and verify that nothing is lost or duplicated."""

import argparse
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from imagefeed.errors import PipelineError
from local.demo import script
from local.demo.contact_sheet import draw
from local.demo.scenario import DemoOutcome, run_scenario
from local.demo.summary import print_summary, where_to_look
from local.demo.view import view
from local.interrupt import interrupt_once
from local.servers.child import ServerFailedError
from local.system import CACHE, LOCAL, System, system
from storage.clients import connected


def main() -> int:
    """Run the demo. Return 0 if every image of every archive was verified, 1 if not, 130 if interrupted."""
    options = _arguments()
    console = Console()
    interrupt_once()
    try:
        return _run(console, options)
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130
    except (PipelineError, ServerFailedError) as exc:
        console.print(Text(f"error: {exc}", "red"), soft_wrap=True)
        where_to_look(console, options.folder / "logs")
        return 1


def _run(console: Console, options: argparse.Namespace) -> int:
    with console.status("making sample archives of real photographs (once, some 15 seconds)"):
        script.make_samples(CACHE)
    with ExitStack() as stack:
        with console.status("starting Azurite, the servers, the functions host and the event relay"):
            settings = script.CHAOS if options.chaos else script.SETTINGS
            # Fresh, because the verification would also find an earlier run's archives.
            scale = script.CHAOS_SCALE if options.chaos else 1
            running = stack.enter_context(
                system(options.folder, settings=settings, host=options.host, scale=scale, fresh=True)
            )
            clients = stack.enter_context(connected(running.connection))
        _explain(console, running)
        begun = time.monotonic()
        with view(console, lambda: time.monotonic() - begun) as shown:
            outcome = run_scenario(running, clients, shown, CACHE, chaos=options.chaos)
        if not options.stay:
            stack.close()
        failed = _close(console, outcome, options.folder)
        if options.stay:
            _stay(console, running)
        return failed


def _stay(console: Console, running: System) -> None:
    """Keep everything running until Ctrl-C."""
    console.print(Text.assemble("Still running: ", (running.status_url, "bold"), "; Ctrl-C ends it"), soft_wrap=True)
    with suppress(KeyboardInterrupt):
        while True:
            running.check()
            time.sleep(1)


def _close(console: Console, outcome: DemoOutcome, folder: Path) -> int:
    contact_sheet = folder / "contact-sheet.png"
    images = sum(line.progress.images for line in outcome.lines)
    subtitle = f"{len(outcome.tiles)} of {images} images from {len(outcome.lines)} archives that came over SFTP and FTP"
    draw(outcome.tiles, "Read back from table rows", subtitle).save(contact_sheet)
    print_summary(console, outcome.lines, outcome.problems, outcome.deaths)
    if outcome.problems:
        where_to_look(console, folder / "logs")
    console.print(Text(f"Contact sheet: {contact_sheet}"), soft_wrap=True)
    return 1 if outcome.problems else 0


def _explain(console: Console, running: System) -> None:
    for name, server in running.sources.items():
        console.print(Text(f" {name}: {server.scheme} on port {server.port} ({server.kind})", "dim"))
    console.print(Text(f" functions host: {running.host_kind}, {running.host_url}", "dim"))
    console.print(Text.assemble(" see it happen: ", (running.status_url, "bold")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.demo",
        description="Copy and preprocess real photographs from two servers, and compare every byte and image that "
        "storage returns with what was put on the servers.",
    )
    parser.add_argument("--chaos", action="store_true", help="kill the functions host twice, in a copy and in a batch")
    parser.add_argument("--stay", action="store_true", help="keep the system running afterwards, until Ctrl-C")
    parser.add_argument("--host", choices=("auto", "func", "local"), default="auto", help="functions host to use")
    parser.add_argument(
        "--folder", type=Path, default=LOCAL / "demo", help="keep data and logs here; earlier content is deleted"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
