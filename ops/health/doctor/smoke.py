"""Sends a small archive through the app and reports the first step that fails, with its likely cause."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from config.errors import LeaseLostError
from imagefeed.durations import format_duration
from imagefeed.errors import PipelineError
from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE, RAW_CONTAINER
from imagefeed.ledger import TERMINAL, polled_sources
from imagefeed.model import Pixels, RawArchive, State
from imagefeed.tables import Reader, Result, StoredImage
from imagefeed.terminal import count
from ops.health.doctor.findings import Finding, ok, wrong
from ops.health.doctor.smoke_archive import SmokeArchive
from ops.health.listening import account_of, is_polled, unheard
from ops.health.smoke_storage import Location, PollRequest, Progress, find_messages, lock, progress_of, refusals, upload
from storage.clients import Clients

ABOUT = "smoke"
WITHIN = timedelta(minutes=5)
"""Timeout of each step. A new subscription takes minutes; a failed first delivery is repeated after some minutes."""
_EVERY = 0.5


def run_smoke_test(
    clients: Clients, sample: SmokeArchive, pipeline: str, *, has_hook: bool, within: timedelta = WITHIN
) -> Iterator[Finding]:
    """Upload an archive to the raw container, yield a finding for each step, and remove all its data.

    `has_hook`: do not compare pixels, since a hook may change them. The hook is not run here because its dependencies
    may be missing.
    """
    try:
        with lock(clients):
            test = _SmokeTest(clients, sample, pipeline, has_hook=has_hook, within=within)
            try:
                yield from test.steps()
            except PipelineError as exc:
                yield wrong(ABOUT, str(exc))
            finally:
                test.reset()
    except LeaseLostError:
        yield wrong(ABOUT, "another smoke test is running, which may take minutes: try again after it has ended")
    except PipelineError as exc:
        yield wrong(ABOUT, f"{exc}. Its remaining data is under the source smoke; the next smoke test removes it")
    else:
        yield ok(ABOUT, "all its data was removed")


@dataclass(slots=True)
class _SmokeTest:
    """Run of one archive through the app."""

    clients: Clients
    sample: SmokeArchive
    pipeline: str
    has_hook: bool
    within: timedelta
    began: float = field(default_factory=time.monotonic)
    request: PollRequest | None = None
    polled_after: float | None = None

    def steps(self) -> Iterator[Finding]:
        """Yield a finding for each step until one fails."""
        request = self.request = PollRequest(self.clients)
        archive = upload(self.clients, self.sample.content)
        self.began = time.monotonic()
        pictures = count(len(self.sample.outcomes), "picture")
        yield ok(ABOUT, f"uploaded {RAW_CONTAINER}/{archive.blob}: {pictures}, {archive.size} bytes; timing starts")
        yield from self._follow_archive(archive)
        yield self._check_polling(request)

    def reset(self) -> None:
        """Delete the poll request if it was not received."""
        if self.request is not None:
            self.request.reset()

    def _follow_archive(self, archive: RawArchive) -> Iterator[Finding]:
        progress = self._wait(archive, lambda progress: progress.pipeline is not None)
        if progress.pipeline is None:
            yield self._unplanned(progress)
            return
        if progress.pipeline != self.pipeline:
            yield wrong(
                ABOUT,
                f"the app planned it under the pipeline {progress.pipeline}, but the settings and the code here give "
                f"{self.pipeline}: the app's code or settings differ. Publish this folder, or run the "
                "doctor from the published one",
            )
            return
        yield from self._follow_batches(archive, progress)

    def _follow_batches(self, archive: RawArchive, progress: Progress) -> Iterator[Finding]:
        batches, expected = len(progress.batches), len(self.sample.outcomes)
        if progress.state in (State.REFUSED, State.FAILED) and not batches:
            yield wrong(ABOUT, f"on_raw_archive settled it as {progress.state}: {progress.reason}")
            return
        if batches != expected:
            yield wrong(
                ABOUT,
                f"it was planned as {count(batches, 'batch', 'batches')} instead of {expected}, so that perhaps "
                "nothing of it went over the queue: the app is older than this command. Publish it and try again",
            )
            return
        yield self._step(
            f"event received and archive planned by on_raw_archive: {batches} batches, all for the queue {BATCH_QUEUE}"
        )
        progress = self._wait(archive, lambda progress: progress.started)
        if not progress.started:
            yield self._untaken()
            return
        yield self._step("first batch taken from the queue by process_batch")
        progress = self._wait(archive, lambda progress: progress.state in TERMINAL)
        if progress.state not in TERMINAL:
            yield self._unfinished(progress)
            return
        yield from self._check_results(archive, progress)

    def _check_results(self, archive: RawArchive, progress: Progress) -> Iterator[Finding]:
        refused = refusals(self.clients, archive, self.pipeline)
        if progress.state is State.FAILED or (progress.state is State.REFUSED and not refused):
            yield wrong(ABOUT, f"it ended as {progress.state}: {progress.reason}")
            return
        yield self._step(f"all batches done: {progress.state}")
        result = Result(pipeline=self.pipeline, archive=archive)
        reader = Reader(self.clients, self.pipeline)
        by_rows = _by_member(reader.of_rows(result))
        by_shards = _by_member(reader.of_shards(result))
        problems = [*self._problems("rows", by_rows, refused), *self._problems("shards", by_shards, refused)]
        yield from (wrong(ABOUT, problem) for problem in problems)
        if not problems:
            yield self._step(self._read_back_message(len(by_rows), refused))

    def _problems(self, where: str, images: Mapping[int, Pixels], refused: Mapping[int, str]) -> Iterator[str]:
        """Yield the differences between the images that were read back and the expected ones."""
        for member, outcome in enumerate(self.sample.outcomes):
            image, reason = images.get(member), refused.get(member)
            if isinstance(outcome, str):
                if reason is None:
                    yield f"{where}: member {member} was not refused, though these settings ask for it: {outcome}"
            elif self.has_hook:
                # A hook may change, skip or refuse the picture.
                continue
            elif reason is not None:
                yield f"{where}: member {member} was refused: {reason}"
            elif image is None:
                yield f"{where}: the image of member {member} cannot be read back, although its batch is done"
            elif not _equal(image, outcome):
                yield (
                    f"{where}: the image of member {member} is {image.dtype} {image.shape}, and is not what these "
                    f"settings make of it, {outcome.dtype} {outcome.shape}: does the app run other code or libraries?"
                )

    def _read_back_message(self, images: int, refused: Mapping[int, str]) -> str:
        if not self.sample.images:
            return f"read back: its pictures were refused, as these settings ask for: {next(iter(refused.values()))}"
        if not self.has_hook:
            return f"read back by rows and by shards: {count(images, 'image')}, equal to what these settings make"
        skipped = self.sample.images - images - len(refused)
        parts = [f"read back by rows and by shards: {count(images, 'image')}"]
        parts += [f"{skipped} skipped by the hook"] if skipped else []
        parts += [f"{len(refused)} refused: {next(iter(refused.values()))}"] if refused else []
        return ", ".join(parts) + "; PREPROCESS_HOOK decides what they are, so the pixels were not compared"

    def _check_polling(self, request: PollRequest) -> Finding:
        """Wait for the poll request to be received and return the finding."""
        while not self._is_poll_taken() and time.monotonic() < self.began + self.within.total_seconds():
            time.sleep(_EVERY)
        if self.polled_after is not None or not request.reset():
            after = self.polled_after or time.monotonic() - self.began
            return ok(ABOUT, f"{after:.1f} s: request to poll taken from the queue {POLL_QUEUE} by poll_source")
        text = f"no function received the request to poll within {self._limit}"
        if is_polled(self.clients, polled_sources(self.clients), datetime.now(UTC)):
            text += "; a source is being polled now, so the request may only have to wait: try again. If it fails again"
        return wrong(ABOUT, f"{text}: {self._silent(POLL_QUEUE)}")

    def _is_poll_taken(self) -> bool:
        """Return whether the poll request was received; record when."""
        if self.polled_after is None and self.request is not None and self.request.is_taken():
            self.polled_after = time.monotonic() - self.began
        return self.polled_after is not None

    def _wait(self, archive: RawArchive, reached: Callable[[Progress], bool]) -> Progress:
        until = time.monotonic() + self.within.total_seconds()
        while True:
            progress = progress_of(self.clients, archive)
            self._is_poll_taken()
            # A terminal archive has passed all earlier steps.
            if reached(progress) or progress.state in TERMINAL or time.monotonic() > until:
                return progress
            time.sleep(_EVERY)

    def _unplanned(self, progress: Progress) -> Finding:
        if progress.arrived:
            return wrong(
                ABOUT,
                f"on_raw_archive received the event, but did not plan the archive within {self._limit}: its log has "
                "the reason",
            )
        return wrong(
            ABOUT,
            f"not planned within {self._limit}: on_raw_archive did not receive the blob's event. Either the event "
            "subscription is missing or has another target: `imagefeed doctor` checks it, infra/deploy.sh creates "
            "it again (locally: the relay of `make run` must run). Or the function does not run: the app is stopped, "
            "its settings are wrong, or AzureWebJobs.on_raw_archive.Disabled is set; see its log",
        )

    def _untaken(self) -> Finding:
        text = f"planned, but no batch was started within {self._limit}: "
        match find_messages(self.clients):
            case Location.WAITING:
                text += (
                    f"they wait on the queue {BATCH_QUEUE}, and no function receives them: {self._silent(BATCH_QUEUE)}"
                )
            case Location.BEHIND_OTHERS:
                text += (
                    f"other messages are before them on the queue {BATCH_QUEUE}. If their number goes down, the app "
                    f"is busy: try again when the queue is short. Else {self._silent(BATCH_QUEUE)}"
                )
            case Location.GIVEN_UP:
                text += (
                    "their messages are on the poison queue after several attempts: process_batch's log has the reason"
                )
            case Location.TAKEN:
                text += (
                    f"their messages are not on the queue {BATCH_QUEUE} (any more), but process_batch has claimed "
                    "none: its log, or that of on_raw_archive, which sends them, has the reason"
                )
        return wrong(ABOUT, text)

    def _unfinished(self, progress: Progress) -> Finding:
        done = sum(batch.done_at is not None for batch in progress.batches)
        why = (
            "; ".join(progress.errors)
            or "no error was recorded: it is slow, or its process died, for example for lack of memory"
        )
        return wrong(ABOUT, f"{done} of {len(progress.batches)} batches were done within {self._limit}: {why}")

    def _silent(self, queue: str) -> str:
        finding = unheard(queue, account_of(self.clients))
        return f"{finding.detail}: {finding.advice}"

    def _step(self, message: str) -> Finding:
        return ok(ABOUT, f"{time.monotonic() - self.began:.1f} s: {message}")

    @property
    def _limit(self) -> str:
        return format_duration(self.within)


def _by_member(images: Iterator[StoredImage]) -> dict[int, Pixels]:
    return {image.metadata.member: image.pixels for image in images}


def _equal(actual: Pixels, expected: Pixels) -> bool:
    floats = expected.dtype.kind == "f"
    return actual.dtype == expected.dtype and np.array_equal(actual, expected, equal_nan=floats)
