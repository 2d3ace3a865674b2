"""If a process dies at any point, its archive is delayed by two minutes at most, and no running work is repeated."""

import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from imagefeed.model import Counts, RawArchive
from preprocess.claim import MOST_DEQUEUES, MOST_VANISHED, ClaimKind
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.image.formats import METHODS
from preprocess.model import Batch, BatchSizes, BatchState
from preprocess.plan import divide
from preprocess.recovery.crashes import every, redrive_crashed
from preprocess.recovery.replay import replay
from preprocess.run_batch import run_batch
from tests.fakes.preprocessing import MemoryBatchLedger, MemoryBatchQueue, Request
from tests.unit.preprocess.test_handlers import ONE_EACH, World, pictures

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world() -> World:
    return World()


class KilledError(BaseException):
    """Stands for the end of the process: what follows in it does not happen."""


def look(world: World, ctx: Context, after: timedelta = timedelta()) -> int:
    world.now += after
    return redrive_crashed("radar", ctx, world.now)


def planned(world: World, ctx: Context, count: int = 2) -> RawArchive:
    """Plan an archive whose batches go to the queue."""
    archive = world.raw.add(pictures(count))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.QUEUED
    return archive


def state(world: World, archive: RawArchive, number: int = 0) -> BatchState:
    return (world.ledger.plan(archive, "p-test") or ())[number]


def test_when_nothing_is_open_or_all_of_it_is_young_a_look_is_one_request(world: World) -> None:
    calls: list[str] = []

    class Counting(MemoryBatchLedger):
        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("_") and callable(object.__getattribute__(self, name)):
                calls.append(name)
            return super().__getattribute__(name)

    world.ledger = Counting()
    ctx = world.process(sizes=ONE_EACH)
    planned(world, ctx)
    calls.clear()
    assert look(world, ctx, timedelta(seconds=19)) == 0
    assert calls == ["list_open"]
    calls.clear()
    assert look(world, ctx, timedelta(seconds=40)) == 0
    assert calls == ["list_open", "plan"], "only whether it has a plan is of interest within its first minute"


def test_a_claim_that_ran_out_is_driven_again_and_its_owner_has_vanished(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    world.queue.messages.clear()
    world.queue.oldest = world.now - timedelta(hours=1)
    world.ledger.claim(state(world, archive).batch, "one", ClaimKind.RUNNING, world.now, world.now + MINUTE)
    assert look(world, ctx, timedelta(seconds=59)) == 0
    assert look(world, ctx, timedelta(seconds=1)) == 1
    assert world.queue.messages == [Request(blob=archive.blob, pipeline="p-test", batch=0)]
    assert (state(world, archive).attempts, list(state(world, archive).claim.vanished)) == (0, [world.now])
    assert look(world, ctx) == 0, "it is asked for once"
    assert world.work(ctx) == [HandlerOutcome.DONE]


def test_a_plan_whose_author_died_before_it_queued_anything_is_driven_after_a_minute(world: World) -> None:
    class Dying(MemoryBatchQueue):
        def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
            if self.messages:
                raise KilledError
            super().put(blob, batch, after)

    dying = Dying()
    archive = world.raw.add(pictures(3))
    with pytest.raises(KilledError):
        handle_archive_created(archive.blob, world.process(sizes=ONE_EACH, queue=dying))
    ctx = world.process(sizes=ONE_EACH)
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.KNOWN, "the second delivery finds the plan"
    assert look(world, ctx, MINUTE) == 3, "the first one twice: it was put, but not noted"
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"
    assert world.ledger.opened == {}


def test_the_call_that_plans_holds_what_it_will_run_so_that_nobody_doubles_it(world: World) -> None:
    ctx, seen = world.process(), []

    class Noting(MemoryBatchLedger):
        def insert_plan(self, batches: Any, at: Any, next_drive: Any, claimed: Any = None) -> str | None:
            inserted = super().insert_plan(batches, at, next_drive, claimed)
            seen.append([each.claim.kind for each in self.plan(batches[0].archive, "p-test") or ()])
            return inserted

    world.ledger = Noting()
    ctx = world.process(sizes=BatchSizes(members=1))
    archive = world.raw.add(pictures(2))
    assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.DONE
    assert seen == [[ClaimKind.WAITING, ClaimKind.WAITING]]
    assert world.ledger.opened == {}
    assert world.queue.messages == []


def test_the_claims_of_a_call_that_died_while_it_waited_are_driven_and_nobody_vanished(world: World) -> None:
    """The most frequent death: the plan is inserted, the call waits for the lock, and the second delivery returns."""
    archive, ctx = world.raw.add(pictures(2)), world.process()
    batches = divide(archive, "p-test", [(1, 1)] * 2, ctx.sizes)
    world.ledger.open(archive, "p-test", world.now)
    waiting = replace(state_claim(), until=world.now + MINUTE)
    world.ledger.insert_plan(batches, world.now, world.now + ctx.redrive_after, {0: waiting})
    assert look(world, ctx, timedelta(seconds=59)) == 0
    assert look(world, ctx, timedelta(seconds=1)) == 1
    assert world.work(ctx) == [HandlerOutcome.DONE]
    assert state(world, archive).claim.vanished == ()


def state_claim() -> Any:
    from preprocess.claim import Claim

    return Claim(owner="a call that died", kind=ClaimKind.WAITING)


def test_who_waits_for_the_batch_lock_says_so_and_is_not_doubled(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, claim_for=timedelta(milliseconds=50))
    archive = planned(world, ctx, 1)
    kinds: list[ClaimKind | None] = []
    ctx.batch_lock.acquire()
    waiter = threading.Thread(target=run_batch, args=(state(world, archive).batch, ctx))
    waiter.start()
    try:
        for _ in range(200):
            if state(world, archive).claim.kind is not None:
                break
            waiter.join(0.01)
        kinds.append(state(world, archive).claim.kind)
        assert run_batch(state(world, archive).batch, ctx) is None, "another message for it leaves at once"
    finally:
        ctx.batch_lock.release()
        waiter.join(30)
    assert kinds == [ClaimKind.WAITING]
    assert world.ledger.end(archive) == "processed"


def test_a_message_that_nobody_claims_and_that_waits_no_longer_is_put_again_after_two_minutes(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    put_at = world.now
    # One was taken by a host that died; the other waits behind older ones.
    world.queue.messages.clear()
    assert look(world, ctx, 2 * MINUTE - timedelta(seconds=1)) == 0
    world.queue.oldest = put_at - timedelta(seconds=30)
    assert look(world, ctx, timedelta(seconds=1)) == 0, "they may wait behind the oldest"
    world.queue.oldest = put_at + timedelta(seconds=30)
    assert look(world, ctx) == 2
    assert look(world, ctx) == 0
    world.queue.oldest = None
    world.queue.messages.clear()
    assert look(world, ctx, 2 * MINUTE) == 2, "a message that is lost again is put again"
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_a_look_asks_the_queue_once_whatever_there_is(world: World) -> None:
    class Counting(MemoryBatchQueue):
        peeks = 0

        def oldest_visible(self) -> Any:
            self.peeks += 1
            return super().oldest_visible()

    world.queue = queue = Counting()
    ctx = world.process(sizes=ONE_EACH)
    planned(world, ctx, 5)
    assert look(world, ctx, 2 * MINUTE) == 5
    assert queue.peeks == 1


def test_an_archive_whose_event_is_late_is_planned_after_twenty_seconds(world: World) -> None:
    """Copying opens it; Event Grid pauses 10 s, 30 s, 1 min, 5 min between its tries."""
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    world.ledger.open(archive, "p-test", world.now)
    assert look(world, ctx, timedelta(seconds=19)) == 0
    assert look(world, ctx, timedelta(seconds=1)) == 1
    assert look(world, ctx, MINUTE) == 0
    assert world.work(ctx) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]


def test_a_plan_is_asked_for_a_few_times_and_then_with_growing_pauses(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    world.ledger.open(archive, "p-test", world.now)
    asked = [number for number in range(100) if look(world, ctx, 2 * MINUTE)]
    assert asked[:5] == [0, 1, 2, 3, 4]
    assert [number * 2 for number in asked[5:]] == [24, 54, 114]


@pytest.mark.parametrize("source", ["manual", "radar"])
def test_what_the_host_gave_up_is_driven_by_looks_too_and_fails_in_the_end(world: World, source: str) -> None:
    """Also for archives that `reconcile` does not check: manual uploads, and those older than its window."""
    ctx = world.process(sizes=ONE_EACH, redrive_tries=2)
    archive = world.raw.add(pictures(1), source=source)
    handle_archive_created(archive.blob, ctx)
    redriven = []
    for minute in range(0, 400, 5):
        world.ledger.given_up(state(world, archive).batch, "403: no role", world.now)
        world.now += 5 * MINUTE
        if redrive_crashed(source, ctx, world.now):
            redriven.append(minute + 5)
    assert redriven == [15, 45]
    assert world.ledger.end(archive) == "failed"
    assert "403: no role" in world.reason(archive)


def test_what_was_replaced_under_its_name_is_closed_and_put_no_more(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    world.raw.blobs[archive.blob] = replace(archive, version="ffffffff"), b""
    assert look(world, ctx, 3 * MINUTE) == 0
    assert world.ledger.opened == {}
    world.ledger.open(archive, "p-other", world.now)
    assert redrive_crashed("radar", replace(ctx, pipeline="p-other"), world.now + MINUTE) == 0
    assert world.ledger.opened == {}, "nor is its plan asked for"


def test_an_archive_that_cannot_be_looked_at_holds_up_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(MemoryBatchLedger):
        def plan(self, archive: RawArchive, pipeline: str) -> Any:
            if archive.version == "00000000":
                raise ValueError("the plan in the ledger's row is damaged")
            return super().plan(archive, pipeline)

    world.ledger = Damaged()
    ctx = world.process()
    for version in ("00000000", "11111111"):
        world.ledger.open(world.raw.add(pictures(1), version=version), "p-test", world.now)
    assert look(world, ctx, MINUTE) == 1
    assert "crashes.unread" in caplog.text


def test_a_look_that_takes_long_notes_when_each_message_was_put(world: World) -> None:
    class Slow(MemoryBatchQueue):
        def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
            world.now += timedelta(seconds=10)
            super().put(blob, batch, after)

    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 3)
    began = world.now + 2 * MINUTE
    look(world, replace(ctx, queue=Slow()), 2 * MINUTE)
    noted = [state(world, archive, number).put_at for number in range(3)]
    assert noted == [began + timedelta(seconds=10 * number) for number in range(3)]


@pytest.mark.parametrize("raised", ["refuse", "split"])
def test_an_error_while_a_batch_is_settled_lets_it_go_as_any_other(world: World, raised: str) -> None:
    class Failing(MemoryBatchLedger):
        def refuse(self, *_: Any, **__: Any) -> None:
            raise StoreUnavailableError("refuse: busy")

        def split(self, *_: Any) -> Any:
            raise StoreUnavailableError("split: busy")

    world.ledger = Failing()
    ctx = world.process(sizes=BatchSizes(inline_bytes=0))
    archive = planned(world, ctx)
    if raised == "refuse":
        world.raw.blobs[archive.blob] = archive, pictures(1)
    else:
        ctx = replace(ctx, batch_time=timedelta(microseconds=1))
    with pytest.raises(StoreUnavailableError, match=raised):
        run_batch(state(world, archive).batch, ctx)
    found = state(world, archive)
    assert (found.failures, found.claim.kind, found.error) == (1, None, f"StoreUnavailableError: {raised}: busy")


def test_who_lost_the_claim_publishes_and_divides_nothing(world: World) -> None:
    ctx = world.process(sizes=BatchSizes(inline_bytes=0))
    archive = planned(world, ctx)

    def overtaken(pixels: Any, _: Any) -> Any:
        world.now += 2 * MINUTE
        world.ledger.claim(state(world, archive).batch, "another", ClaimKind.RUNNING, world.now, world.now + MINUTE)
        return pixels

    assert run_batch(state(world, archive).batch, replace(ctx, hook=overtaken)) is None
    assert world.results.published == {}
    world.now += 2 * MINUTE
    assert run_batch(state(world, archive).batch, ctx) is not None
    assert world.ledger.end(archive) == "processed"


def test_an_error_that_nobody_foresaw_does_not_end_the_renewals(world: World, caplog: pytest.LogCaptureFixture) -> None:
    renewed = threading.Event()

    class Odd(MemoryBatchLedger):
        calls = 0

        def claim(self, *args: Any) -> int | None:
            if threading.current_thread().name == "claim":
                self.calls += 1
                if self.calls == 1:
                    raise OSError("the answer's body broke off")
                renewed.set()
            return super().claim(*args)

    world.ledger = Odd()

    def slow(pixels: Any, _: Any) -> Any:
        assert renewed.wait(30)
        return pixels

    ctx = world.process(sizes=BatchSizes(inline_bytes=0), hook=slow, claim_for=timedelta(milliseconds=40))
    archive = planned(world, ctx, 1)
    assert run_batch(state(world, archive).batch, ctx) is not None
    assert "claim.not_renewed" in caplog.text


def test_the_error_of_one_batch_is_not_noted_for_those_that_never_ran(world: World) -> None:
    def forbidden(_: Any, __: Any) -> Any:
        raise StoreRefusedError("403")

    archive = world.raw.add(pictures(3))
    with pytest.raises(StoreRefusedError):
        handle_archive_created(archive.blob, world.process(sizes=BatchSizes(members=1), hook=forbidden))
    states = world.ledger.plan(archive, "p-test") or ()
    assert [(each.failures, each.error is None, each.put_at is None, each.claim.kind) for each in states] == [
        (1, False, False, None),
        (0, True, True, None),
        (0, True, True, None),
    ]


def test_a_replay_fences_a_call_that_planned_before_it(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))

    def replayed(pixels: Any, _: Any) -> Any:
        replay(archive, ctx)
        return pixels

    with pytest.raises(StoreRefusedError, match="replaced"):
        handle_archive_created(archive.blob, replace(ctx, hook=replayed))
    assert world.ledger.end(archive) is None
    assert world.work(ctx) == [HandlerOutcome.DONE]


def test_an_end_that_was_lost_is_written_again(world: World) -> None:
    """The last call died between its batch's row and the archive's, or before the archive was closed."""
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 1)
    world.work(ctx)
    world.ledger.open(archive, "p-test", world.now)
    world.ledger.pipelines[archive.key, "p-test"].ends.clear()
    assert look(world, ctx, MINUTE) == 0
    assert (world.ledger.end(archive), world.ledger.opened) == ("processed", {})


@pytest.mark.parametrize("end", ["refuse", "fail"])
def test_what_is_at_its_end_with_batches_undone_is_closed_and_not_driven(world: World, end: str) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    getattr(world.ledger, end)(archive, "p-test", "why", world.now)
    world.queue.messages.clear()
    world.ledger.open(archive, "p-test", world.now)
    assert look(world, ctx, 3 * MINUTE) == 0
    assert (world.ledger.opened, world.queue.messages) == ({}, [])


@pytest.mark.parametrize("gone", [True, False])
def test_what_nobody_can_read_is_closed(world: World, gone: bool) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    if gone:
        del world.raw.blobs[archive.blob]
    else:
        world.raw.blobs[archive.blob] = replace(archive, offline=True), b""
    assert look(world, ctx, 3 * MINUTE) == 0
    assert world.ledger.opened == {}


def test_what_is_still_being_written_is_left_alone_and_stays_open(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    world.raw.blobs[archive.blob] = replace(archive, pending=True), b""
    assert look(world, ctx, 3 * MINUTE) == 0
    assert len(world.ledger.opened) == 1


def test_a_batch_that_fails_in_order_is_left_to_the_host_and_then_to_reconcile(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 1)
    (message,) = world.queue.messages
    world.queue.messages.clear()
    for number in range(MOST_DEQUEUES):
        assert look(world, ctx, timedelta(seconds=30)) == 0
        world.results.fail_next = StoreUnavailableError("write: busy")
        with pytest.raises(StoreUnavailableError):
            handle_batch_message(message, ctx)
        assert state(world, archive).failures == number + 1
    assert look(world, ctx, 10 * MINUTE) == 0, "the host has given it up, and it is not due yet"


def test_the_host_gives_a_message_up_after_as_many_tries_as_we_think() -> None:
    host = json.loads((Path(__file__).parents[4] / "host.json").read_text())
    assert host["extensions"]["queues"]["maxDequeueCount"] == MOST_DEQUEUES


def test_a_batch_that_kills_every_process_ends_as_failed_with_that_reason(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 1)
    world.queue.messages.clear()
    for number in range(MOST_VANISHED):
        batch = state(world, archive).batch
        assert world.ledger.claim(batch, f"{number}", ClaimKind.RUNNING, world.now, world.now + MINUTE) == number
        assert look(world, ctx, MINUTE) == 1
        assert world.ledger.end(archive) is None
    assert state(world, archive).attempts == 0
    world.queue.messages = world.queue.messages[-1:]
    world.work(ctx)
    assert world.ledger.end(archive) == "failed"
    assert "ended 20 times in a day" in world.reason(archive)
    assert world.ledger.opened == {}


def test_a_replay_whose_caller_died_is_driven(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx)
    world.work(ctx)

    class Dead(MemoryBatchQueue):
        def put(self, blob: str, batch: Batch | None, after: timedelta = timedelta()) -> None:
            raise KilledError

    with pytest.raises(KilledError):
        replay(archive, replace(ctx, queue=Dead()))
    assert look(world, ctx, MINUTE) == 2
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_of_two_hosts_at_one_message_the_second_leaves_and_what_the_first_leaves_undone_is_driven(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 1)
    (message,) = world.queue.messages
    world.queue.messages.clear()
    world.ledger.claim(state(world, archive).batch, "first", ClaimKind.RUNNING, world.now, world.now + MINUTE)
    assert handle_batch_message(message, ctx) is HandlerOutcome.DONE
    assert world.results.published == {}
    assert look(world, ctx, MINUTE) == 1
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_of_any_number_of_open_archives_a_look_reads_few_and_none_is_forgotten(world: World) -> None:
    looked: set[str] = set()

    class Noting(MemoryBatchLedger):
        def plan(self, archive: RawArchive, pipeline: str) -> Any:
            looked.add(archive.version)
            return ()

        def close(self, archive: RawArchive, pipeline: str, etag: str | None = None) -> None:
            pass

    world.ledger = Noting()
    ctx = world.process()
    for number in range(200):
        archive = world.raw.add(b"", version=f"{number:08}")
        world.ledger.open(archive, "p-test", world.now + timedelta(milliseconds=number))
    world.now += MINUTE
    sizes: list[int] = []
    while len(looked) < 200 and len(sizes) < 500:
        before = set(looked)
        look(world, ctx, timedelta(seconds=30))
        sizes.append(len(looked - before))
    assert max(sizes) == 32
    assert len(looked) == 200


def test_looks_go_on_while_the_block_lasts_whatever_they_raise(caplog: pytest.LogCaptureFixture) -> None:
    looks, enough = [], threading.Event()

    def failing() -> None:
        looks.append(threading.current_thread().name)
        if len(looks) == 4:
            enough.set()
        raise StoreUnavailableError("down") if len(looks) % 2 else KeyError("odd")

    with every(timedelta(milliseconds=1), failing):
        assert looks[0] == "MainThread", "the first is over before anything else begins"
        assert enough.wait(30)
    assert "crashes.deferred error=down" in caplog.text
    assert "crashes.failed" in caplog.text


def test_counts_of_a_batch_that_two_processes_did_are_counted_once(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = planned(world, ctx, 1)
    batch = state(world, archive).batch
    done = run_batch(batch, ctx)
    size = world.sums(archive).bytes_in
    assert done == Counts(members=1, images=1, bytes_in=size, bytes_out=144, methods={"JPEG": METHODS["JPEG"]})
    assert run_batch(batch, ctx) is None


def test_what_is_asked_to_be_planned_is_open_and_is_not_asked_for_twice_at_once(world: World) -> None:
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    world.ledger.refuse(archive, "p-test", "why", world.now)
    replay(archive, ctx)
    world.queue.oldest = world.now
    assert look(world, ctx, 2 * MINUTE) == 0, "its message may still wait"
    world.queue.oldest = None
    world.queue.messages.clear()
    assert look(world, ctx) == 1
    assert world.work(ctx) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]
