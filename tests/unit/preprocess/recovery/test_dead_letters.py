"""Given-up messages are recorded in the ledger or where a person sees them, and only then removed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from imagefeed.model import RawArchive
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.recovery.dead_letters import DeadLettersOutcome, send_back, settle_dead_letters
from preprocess.recovery.reconcile import ReconcileOutcome, reconcile
from tests.fakes.preprocessing import MemoryRawArchives, Request
from tests.unit.preprocess.test_handlers import ONE_EACH, WINDOW, World, pictures

LONG_AFTER = timedelta(days=30)


@pytest.fixture
def world() -> World:
    return World()


@dataclass
class MemoryDeadLetter:
    """A dead letter in memory."""

    requests: Sequence[Request]
    nonsense: str | None = None
    name: str = "batches-poison/1"
    why: str = "it died"
    done: list[str] = field(default_factory=list)

    def send_back(self) -> None:
        self.done.append("sent back")

    def keep(self, reason: str) -> None:
        self.done.append(f"kept: {reason}")

    def remove(self) -> None:
        self.done.append("removed")


def settle(
    world: World, ctx: Context, *dead_letters: MemoryDeadLetter, sources: tuple[str, ...] = ("radar",)
) -> DeadLettersOutcome:
    return settle_dead_letters(dead_letters, ctx, world.now, sources=sources, window=WINDOW)


def planned(world: World, ctx: Context) -> tuple[RawArchive, Request]:
    """An archive of two batches, whose messages are lost; and the message of the first."""
    archive = world.raw.add(pictures(2))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.QUEUED
    message, _ = world.queue.messages
    world.queue.messages.clear()
    return archive, message


@pytest.mark.parametrize("there", [True, False])
def test_what_the_smoke_test_left_is_removed_without_a_word(world: World, there: bool) -> None:
    ctx = world.process(sizes=ONE_EACH)
    blob = world.raw.add(pictures(2), source="smoke").blob if there else "smoke/a.zip"
    dead_letter = MemoryDeadLetter([Request(blob=blob)])
    assert settle(world, ctx, dead_letter) == DeadLettersOutcome(taken=1)
    assert dead_letter.done == ["removed"]
    assert world.queue.messages == []


def test_a_batch_in_the_window_is_noted_and_left_to_reconcile(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    dead_letter = MemoryDeadLetter([message])
    assert settle(world, ctx, dead_letter) == DeadLettersOutcome(taken=1)
    assert dead_letter.done == ["removed"]
    assert [state.error for state in world.ledger.plan(archive, "p-test") or ()] == ["it died", None]
    assert world.queue.messages == []
    world.now += ctx.redrive_after
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome(redriven=2)


@pytest.mark.parametrize("sources", [("radar",), ("other",)])
def test_a_batch_that_reconcile_does_not_look_at_is_driven_at_once(world: World, sources: tuple[str, ...]) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    if sources == ("radar",):
        world.now += LONG_AFTER
    settle(world, ctx, MemoryDeadLetter([message]), sources=sources)
    assert world.queue.messages == [message]
    state = (world.ledger.plan(archive, "p-test") or ())[0]
    assert (state.attempts, state.error) == (1, "it died")


def test_a_batch_without_tries_left_fails_its_archive_with_the_reason(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    world.now += LONG_AFTER
    for _ in range(ctx.redrive_tries):
        settle(world, ctx, MemoryDeadLetter([message]))
        assert world.ledger.end(archive) is None
    settle(world, ctx, MemoryDeadLetter([message]))
    assert world.ledger.end(archive) == "failed"
    assert "it died" in world.reason(archive)
    assert len(world.queue.messages) == ctx.redrive_tries


def test_the_error_that_the_batch_itself_told_is_kept(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    batch = (world.ledger.plan(archive, "p-test") or ())[0].batch
    world.ledger.given_up(batch, "the disk is full", world.now)
    settle(world, ctx, MemoryDeadLetter([message]))
    assert (world.ledger.plan(archive, "p-test") or ())[0].error == "the disk is full"


def test_a_batch_that_is_done_needs_nothing(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    handle_batch_message(message, ctx)
    world.now += LONG_AFTER
    dead_letter = MemoryDeadLetter([message])
    assert settle(world, ctx, dead_letter) == DeadLettersOutcome(taken=1)
    assert dead_letter.done == ["removed"]
    assert world.queue.messages == []
    assert (world.ledger.plan(archive, "p-test") or ())[0].error is None


def test_an_archive_that_could_not_be_planned_is_asked_for_and_fails_in_the_end(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    dead_letters = [MemoryDeadLetter([Request(blob=archive.blob)]) for _ in range(10)]
    settle(world, ctx, *dead_letters[:9])
    assert world.queue.messages == [Request(blob=archive.blob)] * 9
    assert world.ledger.end(archive) is None, "its time is not over yet"
    world.now += LONG_AFTER
    settle(world, ctx, dead_letters[9])
    assert world.ledger.end(archive) == "failed"
    assert "10 tries: it died" in world.reason(archive)


def test_an_event_that_was_dead_lettered_leads_to_a_plan(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    settle(world, ctx, MemoryDeadLetter([Request(blob=archive.blob)]))
    assert world.work(ctx) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]
    settle(world, ctx, MemoryDeadLetter([Request(blob=archive.blob)]))
    assert world.queue.messages == [], "it is known"
    assert world.ledger.end(archive) == "processed"


def test_what_nobody_can_do_is_kept_with_the_reason(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ctx = world.process()
    offline = world.raw.add(pictures(1))
    world.raw.blobs[offline.blob] = replace(offline, offline=True), b""
    other = world.raw.add(pictures(1), version="11111111")
    dead_letters = [
        MemoryDeadLetter((), nonsense="it is not valid JSON"),
        MemoryDeadLetter([Request(blob="gone.zip")]),
        MemoryDeadLetter([Request(blob=offline.blob)]),
        MemoryDeadLetter([Request(blob=other.blob, pipeline="p-old", batch=0)]),
    ]
    with caplog.at_level(logging.ERROR):
        assert settle(world, ctx, *dead_letters) == DeadLettersOutcome(kept=4)
    reasons = ("not valid JSON", "gone.zip is gone", "archive tier", "p-old")
    for dead_letter, reason in zip(dead_letters, reasons, strict=True):
        kept, removed = dead_letter.done
        assert kept.startswith("kept: ")
        assert reason in kept
        assert removed == "removed"
    assert len(caplog.records) == 4


def test_what_fails_for_now_stays_where_it_is_and_does_not_hold_up_the_others(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    world.queue.fail_next = StoreUnavailableError("the queue is down")
    first, second = MemoryDeadLetter([Request(blob=archive.blob)]), MemoryDeadLetter([Request(blob=archive.blob)])
    assert settle(world, ctx, first, second) == DeadLettersOutcome(taken=1, left=1)
    assert (first.done, second.done) == ([], ["removed"])


def test_what_storage_refuses_does_not_stand_before_all_others_for_ever(world: World) -> None:
    class Refusing(MemoryRawArchives):
        def find(self, blob: str) -> RawArchive | None:
            if blob == "odd.zip":
                raise StoreRefusedError("look at odd.zip: Azure Storage answered 400")
            return super().find(blob)

    raw = Refusing()
    odd, good = MemoryDeadLetter([Request(blob="odd.zip")]), MemoryDeadLetter([Request(blob=raw.add(pictures(1)).blob)])
    assert settle(world, world.process(raw=raw), odd, good) == DeadLettersOutcome(taken=1, left=1)
    assert (odd.done, good.done) == ([], ["removed"])


def test_any_number_of_tries_stays_within_the_calendar(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=1_000)
    archive = world.raw.add(pictures(1))
    assert settle(world, ctx, MemoryDeadLetter([Request(blob=archive.blob)])) == DeadLettersOutcome(taken=1)
    assert ctx.pause(1) == 2 * ctx.redrive_after
    assert ctx.pause(1_000) == ctx.pause(16)
    assert world.now + replace(ctx, redrive_after=timedelta(days=3_650)).pause(1_000) > world.now


def test_what_is_sent_back_is_removed_after_that_and_nonsense_is_kept() -> None:
    good, bad = MemoryDeadLetter([Request(blob="a.zip")]), MemoryDeadLetter((), nonsense="it is not valid JSON")
    assert send_back([good, bad]) == DeadLettersOutcome(taken=1, kept=1)
    assert good.done == ["sent back", "removed"]
    assert bad.done == ["kept: it is not valid JSON", "removed"]


@pytest.mark.parametrize("batch", [None, 0])
def test_what_was_given_up_while_a_copy_goes_on_is_asked_for_later_and_spends_no_try(
    world: World, batch: int | None
) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive, message = planned(world, ctx)
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    request = message if batch == 0 else Request(blob=archive.blob)
    dead_letter = MemoryDeadLetter([request])
    assert settle(world, ctx, dead_letter) == DeadLettersOutcome(taken=1)
    assert dead_letter.done == ["removed"]
    assert [message for message, _ in world.queue.hidden] == [request]
    assert {state.error for state in world.ledger.plan(archive, "p-test") or ()} == {None}
