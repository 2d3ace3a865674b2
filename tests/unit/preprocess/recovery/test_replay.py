"""A replayed archive begins again, once, behind new archives, and only if its blob can be read."""

from dataclasses import replace
from datetime import timedelta

import pytest

from imagefeed.model import RawArchive
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.model import Limits
from preprocess.recovery.reconcile import ReconcileOutcome, reconcile
from preprocess.recovery.replay import ReplayOutcome, behind_live_work, redrive, replay
from tests.fakes.preprocessing import Request
from tests.unit.preprocess.test_handlers import ONE_EACH, WINDOW, World, pictures


@pytest.fixture
def world() -> World:
    return World()


def test_a_refused_archive_is_processed_once_the_cause_is_removed(world: World) -> None:
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(limits=Limits(archive_members=2)))
    assert world.ledger.end(archive) == "refused"
    ctx = world.process()
    assert replay(archive, ctx) is ReplayOutcome.QUEUED
    assert world.work(ctx) == [HandlerOutcome.QUEUED, HandlerOutcome.DONE]
    assert world.ledger.end(archive) == "processed"
    assert len(world.results.of(archive)) == 3


def test_a_processed_archive_is_done_again_and_leaves_the_same(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, ctx)
    world.work(ctx)
    before, sums, writes = world.left_behind(), world.sums(archive), world.results.writes
    assert replay(archive, ctx) is ReplayOutcome.QUEUED
    assert world.ledger.end(archive) is None
    assert world.work(ctx) == [HandlerOutcome.DONE] * 3
    assert world.results.writes == 2 * writes
    assert (world.left_behind(), world.sums(archive)) == (before, sums)


def test_a_failed_archive_has_all_its_tries_again(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    for day in range(1, 9):
        world.queue.messages.clear()
        world.fail_over(archive)
        reconcile(["radar"], ctx, world.now + timedelta(days=day), timedelta(days=30))
    assert world.ledger.end(archive) == "failed"
    replay(archive, ctx)
    states = world.ledger.plan(archive, ctx.pipeline) or ()
    assert [(state.attempts, state.next_drive) for state in states] == [(0, world.now + ctx.redrive_after)] * 2
    assert len(world.queue.messages) == 2


def test_a_failure_that_is_told_too_late_does_not_undo_a_replay(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH, redrive_tries=0)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    before = world.ledger.plan(archive, ctx.pipeline) or ()
    replay(archive, ctx)
    world.ledger.fail(archive, ctx.pipeline, "late", world.now, before[0].batch)
    assert world.ledger.end(archive) is None


def test_a_replay_whose_message_was_lost_is_driven_by_reconcile(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    archive = world.raw.add(pictures(2))
    handle_archive_created(archive.blob, ctx)
    world.work(ctx)
    replay(archive, ctx)
    world.queue.messages.clear()
    assert reconcile(["radar"], ctx, world.now, WINDOW) == ReconcileOutcome()
    assert reconcile(["radar"], ctx, world.now + ctx.redrive_after, WINDOW) == ReconcileOutcome(redriven=2)


@pytest.mark.parametrize("how", [replay, redrive])
def test_what_cannot_be_read_is_told_and_left_as_it_is(world: World, how: object) -> None:
    assert how in (replay, redrive)
    ask = replay if how is replay else redrive
    ctx = world.process()
    archive = world.raw.add(pictures(1))
    handle_archive_created(archive.blob, ctx)
    r = ctx
    world.raw.blobs[archive.blob] = replace(archive, offline=True), b""
    assert ask(archive, r) is ReplayOutcome.OFFLINE
    assert ask(replace(archive, version="another1"), r) is ReplayOutcome.GONE
    del world.raw.blobs[archive.blob]
    assert ask(archive, r) is ReplayOutcome.GONE
    assert world.ledger.end(archive) == "processed"
    assert world.queue.messages == []


def test_history_is_asked_for_and_driven_on_only_where_nobody_does(world: World) -> None:
    ctx = world.process(sizes=ONE_EACH)
    r = ctx
    archive = world.raw.add(pictures(3))
    assert redrive(archive, r) is ReplayOutcome.QUEUED
    assert world.queue.messages == [Request(blob=archive.blob)]
    assert handle_batch_message(world.queue.messages.pop(), ctx) is HandlerOutcome.QUEUED
    assert redrive(archive, r) is ReplayOutcome.UNDER_WAY
    handle_batch_message(world.queue.messages.pop(0), ctx)
    world.queue.messages.clear()
    world.now += ctx.redrive_after
    assert redrive(archive, r) is ReplayOutcome.QUEUED
    assert [message.batch for message in world.queue.messages] == [1, 2]
    assert redrive(archive, r) is ReplayOutcome.UNDER_WAY
    world.work(ctx)
    assert world.ledger.end(archive) == "processed"


def test_an_end_that_nobody_wrote_is_written(world: World) -> None:
    ctx = world.process()
    archive: RawArchive = world.raw.add(pictures(1))
    handle_archive_created(archive.blob, ctx)
    row = world.ledger.pipelines[archive.key, ctx.pipeline]
    row.ends.clear()
    assert redrive(archive, ctx) is ReplayOutcome.FINISHED
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
