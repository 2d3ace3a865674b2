"""Sends a small archive through the app, step by step, and says which step does not happen, and what that means."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from config.errors import LeaseLostError
from config.types import format_duration
from imagefeed.errors import PipelineError
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE, RAW_CONTAINER
from imagefeed.ledger import TERMINAL, polled_sources
from imagefeed.model import Pixels, RawArchive, State
from imagefeed.tables import Reader, Result, StoredImage
from ops.health.doctor.findings import Finding, ok, wrong
from ops.health.doctor.smoke_archive import SmokeArchive
from ops.health.listening import FUNCTIONS, account_of, is_polled, not_listening
from ops.health.smoke_storage import Course, Place, PollRequest, alone, course, place_of_messages, put_archive, refusals
from ops.text import count
from storage.clients import Clients

ABOUT = "smoke"
WITHIN = timedelta(minutes=5)
"""For each step. A new subscription takes minutes, and a first delivery that failed is repeated after some."""
_EVERY = 0.5


def send_through(
    clients: Clients, made: SmokeArchive, pipeline: str, *, hooked: bool, within: timedelta = WITHIN
) -> Iterator[Finding]:
    """Put an archive into the raw container as a person would by hand, watch what becomes of it, and remove it all.

    `hooked`: a hook has the last word about each picture. It is not run here, where it might lack what it needs.
    """
    try:
        with alone(clients):
            sent = _Sent(clients, made, pipeline, hooked=hooked, within=within)
            try:
                yield from sent.steps()
            except PipelineError as exc:
                yield wrong(ABOUT, str(exc))
            finally:
                sent.reset()
    except LeaseLostError:
        yield wrong(ABOUT, "another smoke test runs right now, and may do so for minutes: begin again after its end")
    except PipelineError as exc:
        yield wrong(ABOUT, f"{exc}. What is left of it lies under the source smoke; the next smoke test removes it")
    else:
        yield ok(ABOUT, "all that it put there is removed again")


@dataclass(slots=True)
class _Sent:
    """One archive on its way."""

    clients: Clients
    made: SmokeArchive
    pipeline: str
    hooked: bool
    within: timedelta
    began: float = field(default_factory=time.monotonic)
    request: PollRequest | None = None
    polled_after: float | None = None

    def steps(self) -> Iterator[Finding]:
        """Go on until a step does not happen."""
        request = self.request = PollRequest(self.clients, 10 * self.within)
        archive = put_archive(self.clients, self.made.content)
        self.began = time.monotonic()
        pictures = count(len(self.made.outcomes), "picture")
        yield ok(ABOUT, f"uploaded {RAW_CONTAINER}/{archive.blob}: {pictures}, {archive.size} bytes; the clock runs")
        yield from self._archive(archive)
        yield self._poll(request)

    def reset(self) -> None:
        """Take back what nobody took."""
        if self.request is not None:
            self.request.reset()

    def _archive(self, archive: RawArchive) -> Iterator[Finding]:
        now = self._wait(archive, lambda course: course.pipeline is not None)
        if now.pipeline is None:
            yield self._unplanned(now)
            return
        if now.pipeline != self.pipeline:
            yield wrong(
                ABOUT,
                f"it was planned under the pipeline {now.pipeline}, but the settings and the code here make "
                f"{self.pipeline}: the app runs other code, or other settings. Publish this folder, or call the "
                "doctor from the one that was published",
            )
            return
        yield from self._planned(archive, now)

    def _planned(self, archive: RawArchive, now: Course) -> Iterator[Finding]:
        batches, expected = len(now.batches), len(self.made.outcomes)
        if now.state in (State.REFUSED, State.FAILED) and not batches:
            yield wrong(ABOUT, f"on_raw_archive settled it as {now.state}: {now.reason}")
            return
        if batches != expected:
            yield wrong(
                ABOUT,
                f"it was planned as {count(batches, 'batch', 'batches')} instead of {expected}, so that perhaps "
                "nothing of it went over the queue: the app is older than this command. Publish it, and try again",
            )
            return
        yield self._step(
            f"event heard and planned by on_raw_archive: {batches} batches, all for the queue {BATCH_QUEUE}"
        )
        now = self._wait(archive, lambda course: course.taken)
        if not now.taken:
            yield self._untaken()
            return
        yield self._step("first batch taken from the queue by process_batch")
        now = self._wait(archive, lambda course: course.state in TERMINAL)
        if now.state not in TERMINAL:
            yield self._unfinished(now)
            return
        yield from self._settled(archive, now)

    def _settled(self, archive: RawArchive, now: Course) -> Iterator[Finding]:
        told = refusals(self.clients, archive, self.pipeline)
        if now.state is State.FAILED or (now.state is State.REFUSED and not told):
            yield wrong(ABOUT, f"it ended as {now.state}: {now.reason}")
            return
        yield self._step(f"all batches done: {now.state}")
        result = Result(pipeline=self.pipeline, archive=archive)
        reader = Reader(self.clients, self.pipeline)
        by_rows = _by_member(reader.of_rows(result))
        by_shards = _by_member(reader.of_shards(result))
        problems = [*self._problems("rows", by_rows, told), *self._problems("shards", by_shards, told)]
        yield from (wrong(ABOUT, problem) for problem in problems)
        if not problems:
            yield self._step(self._read(len(by_rows), told))

    def _problems(self, where: str, images: Mapping[int, Pixels], told: Mapping[int, str]) -> Iterator[str]:
        """Hold what was read back against what it should be."""
        for member, outcome in enumerate(self.made.outcomes):
            found, reason = images.get(member), told.get(member)
            if isinstance(outcome, str):
                if reason is None:
                    yield f"{where}: member {member} was not refused, though these settings ask for it: {outcome}"
            elif self.hooked:
                # It may change the picture, leave it out, or refuse it.
                continue
            elif reason is not None:
                yield f"{where}: member {member} was refused: {reason}"
            elif found is None:
                yield f"{where}: the image of member {member} cannot be read back, although its batch is done"
            elif not _equal(found, outcome):
                yield (
                    f"{where}: the image of member {member} is {found.dtype} {found.shape}, and is not what these "
                    f"settings make of it, {outcome.dtype} {outcome.shape}: does the app run other code or libraries?"
                )

    def _read(self, images: int, told: Mapping[int, str]) -> str:
        if not self.made.images:
            return f"read back: its pictures were refused, as these settings ask for: {next(iter(told.values()))}"
        if not self.hooked:
            return f"read back by rows and by shards: {count(images, 'image')}, equal to what these settings make"
        left_out = self.made.images - images - len(told)
        parts = [f"read back by rows and by shards: {count(images, 'image')}"]
        parts += [f"{left_out} left out by the hook"] if left_out else []
        parts += [f"{len(told)} refused: {next(iter(told.values()))}"] if told else []
        return ", ".join(parts) + "; PREPROCESS_HOOK decides what they are, so the pixels were not compared"

    def _poll(self, request: PollRequest) -> Finding:
        """Tell whether the queue of polls is listened to."""
        while not self._look_at_poll() and time.monotonic() < self.began + self.within.total_seconds():
            time.sleep(_EVERY)
        if self.polled_after is not None or not request.reset():
            after = self.polled_after or time.monotonic() - self.began
            return ok(ABOUT, f"{after:.1f} s: request to poll taken from the queue {POLL_QUEUE} by poll_source")
        told = f"nobody took a request to poll within {self._patience}"
        if is_polled(self.clients, polled_sources(self.clients), datetime.now(UTC)):
            told += "; a source is polled right now, so perhaps it only has to wait its turn: try again. If it stays so"
        return wrong(ABOUT, f"{told}: {self._deaf(POLL_QUEUE)}")

    def _look_at_poll(self) -> bool:
        """Note when the request to poll was taken."""
        if self.polled_after is None and self.request is not None and self.request.is_taken():
            self.polled_after = time.monotonic() - self.began
        return self.polled_after is not None

    def _wait(self, archive: RawArchive, reached: Callable[[Course], bool]) -> Course:
        until = time.monotonic() + self.within.total_seconds()
        while True:
            now = course(self.clients, archive)
            self._look_at_poll()
            # What ended needs no step before.
            if reached(now) or now.state in TERMINAL or time.monotonic() > until:
                return now
            time.sleep(_EVERY)

    def _unplanned(self, now: Course) -> Finding:
        if now.arrived:
            return wrong(
                ABOUT,
                f"on_raw_archive heard the event, but made no plan within {self._patience}: its log tells the reason",
            )
        return wrong(
            ABOUT,
            f"not planned within {self._patience}: on_raw_archive has not heard of the blob. Either the event "
            "subscription is missing or leads elsewhere: `imagefeed doctor` looks at it, infra/deploy.sh makes "
            "it again (locally: the relay of `make run` must run). Or the function does not run: the app is stopped, "
            "its settings are wrong, or AzureWebJobs.on_raw_archive.Disabled is set; its log tells",
        )

    def _untaken(self) -> Finding:
        told = f"planned, but no batch was taken within {self._patience}: "
        match place_of_messages(self.clients):
            case Place.WAITING:
                told += f"they wait on the queue {BATCH_QUEUE}, and nobody takes them: {self._deaf(BATCH_QUEUE)}"
            case Place.BEHIND_OTHERS:
                told += (
                    f"other messages stand before them on the queue {BATCH_QUEUE}. If their number goes down, the app "
                    f"is busy: try again when the queue is short. Else {self._deaf(BATCH_QUEUE)}"
                )
            case Place.GIVEN_UP:
                told += "their messages were given up after several tries: the log of process_batch tells why it fails"
            case Place.TAKEN:
                told += (
                    f"their messages are not on the queue {BATCH_QUEUE} (any more), but process_batch has claimed "
                    "none: its log, or that of on_raw_archive, which puts them there, tells why it fails"
                )
        return wrong(ABOUT, told)

    def _unfinished(self, now: Course) -> Finding:
        done = sum(batch.done_at is not None for batch in now.batches)
        why = "; ".join(now.errors) or "no error was noted: it is slow, or its process died, out of memory perhaps"
        return wrong(ABOUT, f"{done} of {len(now.batches)} batches were done within {self._patience}: {why}")

    def _deaf(self, queue: str) -> str:
        return not_listening(FUNCTIONS[queue], account_of(self.clients))

    def _step(self, told: str) -> Finding:
        return ok(ABOUT, f"{time.monotonic() - self.began:.1f} s: {told}")

    @property
    def _patience(self) -> str:
        return format_duration(self.within)


def _by_member(images: Iterator[StoredImage]) -> dict[int, Pixels]:
    return {image.metadata.member: image.pixels for image in images}


def _equal(found: Pixels, expected: Pixels) -> bool:
    floats = expected.dtype.kind == "f"
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=floats)
