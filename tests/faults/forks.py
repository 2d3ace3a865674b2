"""Jobs of preprocessing in processes that really die, each forked from a process that has all modules loaded."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from requests.adapters import HTTPAdapter

import bootstrap
from config.settings import settings
from imagefeed.errors import PermanentError, TransientError
from imagefeed.model import ImageMetadata, Pixels
from preprocess.context import Context
from preprocess.handlers import handle_archive_created, handle_batch_message
from preprocess.model import BatchSizes
from preprocess.recovery.reconcile import reconcile
from storage.queues.messages import parse_batch_message

PROJECT = Path(__file__).parents[2]
ANY_URL = "ftp://nobody@127.0.0.1/"
_MODULES = ["preprocess.recipe", "storage.results", "storage.blobs.pipelines", "storage.tables.batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The task of one process, and when it is killed."""

    do: Literal["event", "message", "reconcile"]
    subject: str = ""
    """The blob of an event, the text of a message."""
    ahead: float = 0
    """Seconds that its clock is ahead, so that no test has to wait."""
    members: int = 64
    """Of a batch."""
    dies_after: int | None = None
    """Changes to storage that are answered before it is killed."""
    dies_in: float | None = None
    """Seconds after which it is killed."""
    dies_at: int | None = None
    """The member that kills it, like one that makes a decoder crash."""
    claims: bool = True
    """Whether it respects the claims of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The outcome of a job."""

    killed: bool = False
    taken: str = ""
    error: str = ""
    """A transient error: the call will be repeated."""
    settled: str = ""
    """A permanent error, which the app logs."""
    broken: bool = False
    """An error that is not ours, which no fault may cause; the log has the details."""
    changes: int = 0
    """Requests that change something in storage: all but those that read."""


class Forks:
    """The process that forks; it reads and writes lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *jobs: Job) -> list[Done]:
        """Run jobs, all of them at the same time."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([asdict(job) for job in jobs]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return [Done(**done) for done in json.loads(line)]


@contextmanager
def forks(connection: str, source: str, log: Path) -> Iterator[Forks]:
    """Run the process that forks; its jobs are wired as the app is."""
    own = {
        "DATA_STORAGE": connection,
        f"SOURCES__{source.upper()}__URL": ANY_URL,
        "PREPROCESS_WIDTH": "8",
        "PREPROCESS_HEIGHT": "6",
        "PIPELINE_NAME": "faults",
        "PIPELINE_REDRIVE_TRIES": "100",
        "OPENBLAS_NUM_THREADS": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATA_STORAGE", "SOURCES__"))}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"],
            cwd=PROJECT, env=kept | own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        yield Forks(process)
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(20)
        assert process.stdout
        process.stdout.close()


def main() -> None:
    """Fork for each job; return the outcomes of all jobs of a line."""
    _load()
    for line in sys.stdin:
        started = [_fork(Job(**job)) for job in json.loads(line)]
        sys.stdout.write(json.dumps([_outcome(*each) for each in started]) + "\n")
        sys.stdout.flush()


def _load() -> None:
    """Load once the modules that every job would load."""
    for module in _MODULES:
        import_module(module)
    logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(message)s")
    logging.getLogger("azure").setLevel(logging.ERROR)
    Image.init()
    settings()


def _fork(job: Job) -> tuple[int, int]:
    readable, writable = os.pipe()
    child = os.fork()
    if child:
        os.close(writable)
        return child, readable
    try:
        os.write(writable, json.dumps(_work(job)).encode())
    except BaseException:
        logging.getLogger("forks").exception("a job failed as none should")
        raise
    finally:
        os._exit(0)


def _outcome(child: int, readable: int) -> dict[str, Any]:
    with os.fdopen(readable) as pipe:
        outcome = pipe.read()
    _, status = os.waitpid(child, 0)
    # No fault may cause an error that is not ours.
    return json.loads(outcome) if outcome else {"killed": os.WIFSIGNALED(status), "broken": not os.WIFSIGNALED(status)}


def _work(job: Job) -> dict[str, Any]:
    def deadly(pixels: Pixels, metadata: ImageMetadata) -> Pixels:
        if metadata.member == job.dies_at:
            _die()
        return pixels

    changes = _Changes(job.dies_after)
    if job.dies_in is not None:
        timer = threading.Timer(job.dies_in, _die)
        timer.daemon = True
        timer.start()
    try:
        ctx = bootstrap.build_context()
        ctx = replace(
            ctx,
            clock=lambda: datetime.now(UTC) + timedelta(seconds=job.ahead),
            sizes=BatchSizes(members=job.members),
            hook=None if job.dies_at is None else deadly,
            # A child imports this: it dies of the member BAD.
            recipe=ctx.recipe if job.dies_at is None else replace(ctx.recipe, hook="tests.fixtures.hooks:killed"),
        )
        ctx = ctx if job.claims else replace(ctx, claim_for=timedelta(0))
        return {"taken": _taken(job, ctx), "changes": changes.answered}
    except TransientError as exc:
        return {"error": str(exc)}
    except PermanentError as exc:
        return {"settled": str(exc)}


def _taken(job: Job, ctx: Context) -> str:
    if job.do == "event":
        return handle_archive_created(job.subject, ctx)
    if job.do == "message":
        return handle_batch_message(parse_batch_message(job.subject), ctx)
    return str(reconcile(list(settings().sources), ctx, ctx.clock(), timedelta(hours=72)))


class _Changes:
    """Counts the changes that storage answers, and dies after so many."""

    def __init__(self, dies_after: int | None) -> None:
        self.answered = 0
        send = HTTPAdapter.send

        def counted(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
            changes = request.method != "GET"
            if changes and self.answered == dies_after:
                _die()
            answer = send(adapter, request, **options)
            self.answered += changes
            return answer

        HTTPAdapter.send = counted  # type: ignore[assignment,method-assign] # every request of every SDK passes here
        # The SDKs wait before they try again; the tests must not wait for that.
        time.sleep = lambda _: None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    main()
