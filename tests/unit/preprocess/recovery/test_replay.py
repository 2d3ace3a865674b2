"""What is asked for again begins anew, once, behind live work, and only where it can be read."""

from dataclasses import replace
from datetime import timedelta

import pytest

from imagefeed.model import RawArchive
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.model import Limits
from preprocess.recovery.reconcile import ReconcileOutcome, reconcile
from preprocess.recovery.replay import Replaying, ReplayOutcome, behind_live_work, redrive, replay
from tests.fakes.preprocessing import Request
from tests.unit.preprocess.test_handlers import ONE_EACH, WINDOW, World, pictures


@pytest.fixture
def world() -> World:
    return World()


def replaying(world: World, p: Context) -> Replaying:
    return Replaying(
        raw=p.raw,
        ledger=p.ledger,
        queue=p.queue,
        pipeline=p.pipeline,
        redrive_after=p.redrive_after,
        clock=lambda: world.now,
    )


def test_a_refused_archive_is_processed_once_the_cause_is_removed(world: World) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(limits=Limits(archive_members=2)))
    assert world.ledger.end(archive) == "refused"
    p = world.process()
    assert replay(archive, replaying(world, p)) is ReplayOutcome.QUEUED
    assert world.work(p) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"
    assert len(world.results.of(archive)) == 3


def test_a_processed_archive_is_done_again_and_leaves_the_same(world: World) -> None:
    p = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, p)
    world.work(p)
    before, sums, writes = world.left_behind(), world.sums(archive), world.results.writes
    assert replay(archive, replaying(world, p)) is ReplayOutcome.QUEUED
    assert world.ledger.end(archive) is None
    assert world.work(p) == [HandlerOutcome.DONE] * 3
    assert world.results.writes == 2 * writes
    assert (world.left_behind(), world.sums(archive)) == (before, sums)


def test_a_failed_archive_has_all_its_tries_again(world: World) -> None:
    p = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, p)
    for day in range(1, 9):
        world.queue.messages.clear()
        world.die_over(archive)
        reconcile(["radar"], p, world.now + timedelta(days=day), timedelta(days=30))
    assert world.ledger.end(archive) == "failed"
    replay(archive, replaying(world, p))
    states = world.ledger.plan(archive, p.pipeline) or ()
    assert [(state.attempts, state.next_drive) for state in states] == [(0, world.now + p.redrive_after)] * 2
    assert len(world.queue.messages) == 2


def test_a_failure_that_is_told_too_late_does_not_undo_a_replay(world: World) -> None:
    p = world.process(sizes=ONE_EACH, redrive_tries=0)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, p)
    before = world.ledger.plan(archive, p.pipeline) or ()
    replay(archive, replaying(world, p))
    world.ledger.fail(archive, p.pipeline, "late", world.now, before[0].batch)
    assert world.ledger.end(archive) is None


def test_a_replay_whose_message_was_lost_is_driven_by_reconcile(world: World) -> None:
    p = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, p)
    world.work(p)
    replay(archive, replaying(world, p))
    world.queue.messages.clear()
    assert reconcile(["radar"], p, world.now, WINDOW) == ReconcileOutcome()
    assert reconcile(["radar"], p, world.now + p.redrive_after, WINDOW) == ReconcileOutcome(redriven=2)


@pytest.mark.parametrize("how", [replay, redrive])
def test_what_cannot_be_read_is_told_and_left_as_it_is(world: World, how: object) -> None:
    assert how in (replay, redrive)
    ask = replay if how is replay else redrive
    p = world.process()
    archive = world.raw.add(pictures(1))
    handle_archive_created(archive.blob, p)
    r = replaying(world, p)
    world.raw.blobs[archive.blob] = replace(archive, offline=True), b""
    assert ask(archive, r) is ReplayOutcome.OFFLINE
    assert ask(replace(archive, version="another1"), r) is ReplayOutcome.GONE
    del world.raw.blobs[archive.blob]
    assert ask(archive, r) is ReplayOutcome.GONE
    assert world.ledger.end(archive) == "processed"
    assert world.queue.messages == []


def test_history_is_asked_for_and_driven_on_only_where_nobody_does(world: World) -> None:
    p = world.process(sizes=ONE_EACH)
    r = replaying(world, p)
    archive = world.raw.add(pictures(3))
    assert redrive(archive, r) is ReplayOutcome.QUEUED
    assert world.queue.messages == [Request(blob=archive.blob)]
    assert handle_batch_message(world.queue.messages.pop(), p) is HandlerOutcome.QUEUED
    assert redrive(archive, r) is ReplayOutcome.UNDER_WAY
    handle_batch_message(world.queue.messages.pop(0), p)
    world.queue.messages.clear()
    world.now += p.redrive_after
    assert redrive(archive, r) is ReplayOutcome.QUEUED
    assert [message.batch for message in world.queue.messages] == [1, 2]
    assert redrive(archive, r) is ReplayOutcome.UNDER_WAY
    world.work(p)
    assert world.ledger.end(archive) == "processed"


def test_an_end_that_nobody_wrote_is_written(world: World) -> None:
    p = world.process()
    archive: RawArchive = world.raw.add(pictures(1))
    handle_archive_created(archive.blob, p)
    row = world.ledger.pipelines[archive.key, p.pipeline]
    row.ends.clear()
    assert redrive(archive, replaying(world, p)) is ReplayOutcome.FINISHED
    assert world.ledger.end(archive) == "processed"


def test_no_more_wait_on_the_queue_than_were_allowed() -> None:
    queue, most_seen = [0] * 5, 0
    given = []

    def work_a_little(count: int) -> None:
        assert count == len(queue)
        queue.pop()

    for item in behind_live_work(range(20), lambda: len(queue), 3, work_a_little):
        queue.append(item)
        given.append(item)
        most_seen = max(most_seen, len(queue))
    assert given == list(range(20))
    assert most_seen == 3
