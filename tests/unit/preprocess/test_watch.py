"""A batch with a member that hangs is given up and repeated in a child; a batch that takes too long is divided."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from config.calls import Calls
from config.errors import OutOfTimeError
from imagefeed.model import ImageMetadata, Pixels
from preprocess.handlers import HandlerOutcome, handle_archive_created
from preprocess.model import BatchSizes, Limits
from preprocess.watch import SlowMemberError, Turns, strays_live, watched
from tests.fixtures import hooks
from tests.unit.preprocess.test_child import options
from tests.unit.preprocess.test_handlers import World, pictures

PATIENCE = 30


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Releases a hanging member, and waits until it has ended."""
    event = threading.Event()
    yield event
    event.set()
    for thread in threading.enumerate():
        if thread.name == "batch":
            thread.join(PATIENCE)
    assert not strays_live()


def test_a_member_that_hangs_is_judged_alone_and_the_others_are_whole(world: World, release: threading.Event) -> None:
    def hangs(pixels: Pixels, metadata: ImageMetadata) -> Pixels:
        if metadata.member == hooks.BAD:
            release.wait(PATIENCE)
        return pixels

    archive = world.raw.add(pictures(4))
    changes = options("sleeps", {"limits": Limits(seconds=1)}) | {"hook": hangs}
    assert handle_archive_created(archive.blob, world.process(**changes)) is HandlerOutcome.DONE
    (refusal,) = world.results.refusals(archive).values()
    assert (refusal.member, refusal.error) == (hooks.BAD, "Timeout")
    assert len(world.results.of(archive)) == 3
    assert strays_live()
    release.set()
    for thread in threading.enumerate():
        if thread.name == "batch":
            thread.join(PATIENCE)
    assert (world.results.writes, len(world.results.of(archive))) == (1, 3), "who was given up publishes nothing"


def test_beside_a_thread_that_hangs_members_are_decoded_in_a_child(world: World, release: threading.Event) -> None:
    def stuck(turns: Turns) -> None:
        turns.begin()
        release.wait(PATIENCE)

    with pytest.raises(SlowMemberError):
        watched(stuck, 0.01)
    archive = world.raw.add(pictures(3))
    handle_archive_created(archive.blob, world.process(**options("killed", {})))
    assert set(world.results.refusals(archive)) == {hooks.BAD}


def test_slow_members_that_keep_to_their_time_are_never_refused_together(world: World) -> None:
    archive = world.raw.add(pictures(64))
    changes = options("slow", {"limits": Limits(seconds=1.5)})
    assert handle_archive_created(archive.blob, world.process(**changes)) is HandlerOutcome.DONE
    assert (world.results.refusals(archive), len(world.results.of(archive))) == ({}, 64)
    assert not strays_live()


def test_between_two_turns_nobody_is_given_up() -> None:
    def publishes(turns: Turns) -> str:
        turns.begin()
        turns.end()
        threading.Event().wait(0.1)
        return "published"

    assert watched(publishes, 0.02) == "published"


def test_what_a_batch_raises_is_raised_here() -> None:
    def fails(_: Turns) -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        watched(fails, PATIENCE)


@pytest.mark.parametrize("isolate", [False, True])
def test_a_batch_whose_time_is_over_is_divided_until_each_part_ends(world: World, isolate: bool) -> None:
    archive = world.raw.add(pictures(5))
    ctx = world.process(batch_time=timedelta(0), sizes=BatchSizes(members=3, inline_bytes=1 if isolate else 2**20))
    handle_archive_created(archive.blob, ctx)
    if isolate:
        world.die_over(archive)
    world.work(ctx)
    states = world.ledger.plan(archive, "p-test") or ()
    assert [(s.batch.first, s.batch.end) for s in states] == [(0, 1), (3, 4), (1, 2), (4, 5), (2, 3)]
    assert world.ledger.end(archive) == "processed"
    assert sorted(image.metadata.member for image in world.results.of(archive)) == [0, 1, 2, 3, 4]
    assert world.sums(archive).images == 5


def test_a_batch_that_waits_too_long_for_another_comes_again(world: World) -> None:
    archive = world.raw.add(pictures(2))
    ctx = world.process(sizes=BatchSizes(members=1, inline_bytes=1), batch_time=timedelta(milliseconds=10))
    handle_archive_created(archive.blob, ctx)
    with ctx.batch_lock, pytest.raises(OutOfTimeError, match="the queue delivers it again"):
        world.work(ctx)


def test_a_process_in_which_a_thread_hangs_ends_once_no_call_runs(release: threading.Event) -> None:
    left = threading.Event()
    calls = Calls(leave=lambda code: left.set() if code else None, idle_seconds=0.05)
    hung = threading.Thread(target=release.wait, args=(PATIENCE,), daemon=True)
    hung.start()
    with calls.running():
        calls.end_process_when_idle(hung)
        assert not left.wait(0.3), "a call runs"
    assert left.wait(PATIENCE)


def test_a_process_lives_on_whose_thread_ended_after_all() -> None:
    codes: list[int] = []
    calls = Calls(leave=codes.append, idle_seconds=0.05)
    with calls.running():
        ended = threading.Thread(target=lambda: None)
        ended.start()
        ended.join()
        calls.end_process_when_idle(ended)
    for thread in threading.enumerate():
        if thread.name == "end":
            thread.join(PATIENCE)
    assert codes == []


def test_a_command_is_not_ended_by_a_thread_that_hangs(release: threading.Event) -> None:
    calls = Calls(leave=lambda _: pytest.fail("no call ever ran"), idle_seconds=0)
    hung = threading.Thread(target=release.wait, args=(PATIENCE,), daemon=True)
    hung.start()
    calls.end_process_when_idle(hung)
    assert "end" not in [thread.name for thread in threading.enumerate()]
