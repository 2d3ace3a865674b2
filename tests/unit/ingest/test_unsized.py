"""Files whose size the server does not give: counted once, copied with their zip directory as witness, else named."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from config.errors import TransferTruncatedError
from ingest.model import Listing, Step, UnsizedFile
from ingest.protocols.connect import connector
from ingest.tracked_files import StableFile
from ingest.tracker import FileTracker, Order
from tests.fakes.ftp_server import Change, Script, ftp_server
from tests.unit.ingest.test_poll import MIB, START, World, make_zip


@pytest.fixture
def world() -> World:
    return World()


def put(world: World, path: str, content: bytes | None = None, age: timedelta = timedelta(minutes=5)) -> bytes:
    world.server.sizeless.add(path)
    return world.put(path, content, age)


def test_a_file_of_unknown_size_is_copied_byte_for_byte(world: World) -> None:
    content = put(world, "a.zip", make_zip(3 * MIB))
    report = world.tick()
    assert world.store.content("a.zip") == [content]
    assert (report.listed, report.new, report.waiting, report.failed, report.error) == (1, 1, 0, 0, None)
    (tracked,) = world.state.tracked_files
    assert tracked.archive.file.size == len(content)
    assert world.ledger.steps("a.zip") == [{Step.SEEN, Step.COPYING, Step.RAW}]
    assert (world.state.unread, world.state.unmeasured) == (None, ())


def test_what_was_counted_is_not_read_again(world: World) -> None:
    for number in range(5):
        put(world, f"{number}.zip")
    world.tick(timedelta(seconds=1))
    assert len(world.store.blobs) == 5
    writes, saves = world.ledger.writes, world.source_states.saves
    world.server.calls.clear()
    world.tick()
    assert world.server.calls == ["connect", "list"]
    assert (world.ledger.writes, world.source_states.saves) == (writes, saves)


def test_a_size_that_is_told_later_changes_nothing(world: World) -> None:
    put(world, "a.zip")
    world.tick()
    world.server.sizeless.clear()
    world.server.calls.clear()
    world.tick()
    world.server.sizeless.add("a.zip")
    world.tick()
    assert world.opened() == []
    assert len(world.ledger.steps("a.zip")) == 1


def test_the_newest_file_is_counted_and_copied_before_the_others_are_counted(world: World) -> None:
    for minutes in (30, 10, 20):
        put(world, f"{minutes}.zip", age=timedelta(minutes=minutes))
    world.spec = replace(world.spec, max_connections=1)
    world.tick()
    assert world.opened()[:2] == ["10.zip", "10.zip"]
    assert all(len(world.store.content(f"{minutes}.zip")) == 1 for minutes in (10, 20, 30))


def test_several_workers_count_and_copy_each_file_once(world: World) -> None:
    world.spec = replace(world.spec, max_connections=4, stable_for=timedelta(0), budget=timedelta(hours=9))
    for number in range(60):
        put(world, f"{number}.zip", age=timedelta(minutes=number))
    report = world.tick()
    assert (len(report.copied), report.new, report.waiting, report.failed) == (60, 60, 0, 0)
    assert sorted(world.opened()) == sorted(f"{number}.zip" for number in range(60) for _ in range(2))


def test_files_that_pattern_leaves_out_are_not_read(world: World) -> None:
    for path in ("a.rar", "b.zip.part", ".c.zip"):
        put(world, path)
    world.tick()
    assert world.opened() == []
    assert world.state.passed_over is not None
    assert world.state.passed_over.newest == "a.rar"


def test_a_corrected_file_is_counted_again(world: World) -> None:
    put(world, "a.zip")
    world.tick()
    content = put(world, "a.zip", make_zip(MIB), age=timedelta(minutes=1))
    world.tick()
    assert world.store.content("a.zip")[1:] == [content]


def test_a_file_that_is_being_written_is_not_read(world: World) -> None:
    def grow() -> None:
        content, modified = world.server.files["a.zip"]
        world.server.files["a.zip"] = (content + b"x", modified + timedelta(seconds=1))

    put(world, "a.zip")
    world.server.before_stat = grow
    report = world.tick()
    assert world.opened() == []
    assert (report.waiting, report.error, world.state.unread) == (1, None, None)
    world.server.before_stat = lambda: None
    content = put(world, "a.zip")
    world.tick()
    assert world.store.content("a.zip") == [content]


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_a_file_that_changes_all_the_time_does_not_keep_the_poll_running(world: World, connections: int) -> None:
    def touch() -> None:
        content, modified = world.server.files["a.zip"]
        world.server.files["a.zip"] = (content, modified + timedelta(seconds=1))

    put(world, "a.zip")
    world.server.before_stat = touch
    world.spec = replace(world.spec, max_connections=connections)
    began = world.clock.time
    world.tick(timedelta(0))
    assert world.clock.time - began <= 2 * world.spec.stable_for
    assert (world.state.long_poll_at, world.server.calls.count("list")) == (None, min(connections, 2))


@pytest.mark.parametrize("content", [b"", b"no zip", make_zip(MIB)[:-1], make_zip(MIB)[: MIB // 2]])
def test_without_a_complete_zip_directory_nothing_is_ever_published(world: World, content: bytes) -> None:
    put(world, "a.zip", content)
    other = put(world, "b.zip")
    for _ in range(5):
        report = world.tick(timedelta(minutes=10))
        assert report.failed == 1
    assert world.store.content("a.zip") == []
    assert world.store.content("b.zip") == [other]
    (error,) = world.ledger.errors.values()
    assert "does not give its size" in error
    world.server.before_stat = lambda: world.server.files.pop("a.zip", None)
    world.tick()
    assert world.store.content("a.zip") == []


def unconfirmed(world: World) -> None:
    world.server.unconfirmed.add("a.zip")


def forbidden(world: World) -> None:
    world.server.forbidden.add("a.zip")


def broken(world: World) -> None:
    world.server.before_read["a.zip"] = lambda _: world.server.breaks_at.update({"a.zip": 0})


def contradictory(world: World) -> None:
    def fail(_offset: int) -> None:
        raise TransferTruncatedError("read 'a.zip': the server sent 8 bytes of 7 requested at 0")

    world.server.before_read["a.zip"] = fail


@pytest.mark.parametrize("fail", [unconfirmed, forbidden, broken, contradictory])
def test_a_file_that_cannot_be_counted_is_named_and_costs_no_other(world: World, fail: Callable[[World], None]) -> None:
    put(world, "a.zip", age=timedelta(minutes=1))
    other = put(world, "b.zip")
    fail(world)
    report = world.tick(timedelta(0))
    assert world.store.content("b.zip") == [other]
    assert (report.failed, report.waiting) == (1, 1)
    assert "a.zip" in str(report.error)
    assert world.state.unread is not None
    assert "a.zip" in world.state.unread.texts[0]
    assert not world.state.unread.incomplete


def test_a_file_that_could_not_be_counted_is_tried_again_after_a_while(world: World) -> None:
    content = put(world, "a.zip")
    unconfirmed(world)
    world.tick(timedelta(seconds=1))
    world.server.calls.clear()
    world.tick(timedelta(seconds=1))
    assert world.opened() == []
    assert world.state.unread is not None
    world.tick(timedelta(seconds=20))
    world.tick(timedelta(seconds=1))
    assert world.opened() == ["a.zip"]
    assert [failed.failures for failed in world.state.unmeasured] == [2]
    world.server.unconfirmed.clear()
    world.clock.pass_(timedelta(minutes=10))
    world.tick()
    world.tick()
    assert world.store.content("a.zip") == [content]
    after = world.state
    assert (after.unread, after.unmeasured) == (None, ())


def test_a_file_that_takes_longer_than_the_budget_to_count_does_not_hold_up_others(world: World) -> None:
    put(world, "slow.zip", make_zip(MIB), age=timedelta(minutes=1))
    world.server.before_read["slow.zip"] = lambda _: world.clock.pass_(world.spec.budget)
    other = put(world, "b.zip")
    world.tick(timedelta(seconds=1))
    assert world.state.unmeasured[0].file.path == "slow.zip"
    assert "raise BUDGET" in world.state.unmeasured[0].error
    world.tick(timedelta(seconds=1))
    assert world.store.content("b.zip") == [other]


def test_archives_that_are_due_are_copied_before_files_are_counted(world: World) -> None:
    put(world, "slow.zip", age=timedelta(minutes=1))
    for number in range(5):
        world.put(f"{number}.zip", age=timedelta(minutes=10))
    world.tick()
    assert world.opened() == ["4.zip", "0.zip", "3.zip", "1.zip", "2.zip", "slow.zip", "slow.zip"]


@pytest.mark.parametrize("grown", [True, False])
def test_a_file_that_has_another_length_when_it_is_copied_is_counted_again(world: World, grown: bool) -> None:
    """Its time stays the same: LIST has no seconds."""
    put(world, "a.zip", make_zip(MIB))
    content = make_zip(2 * MIB if grown else MIB // 2)
    at = world.server.files["a.zip"][1]
    opened: list[None] = []

    def change(offset: int) -> None:
        opened.extend([None] * (offset == 0))
        if len(opened) == 2:
            world.server.files["a.zip"] = (content, at)

    world.server.before_read["a.zip"] = change
    assert world.tick(timedelta(minutes=1)).failed == 1
    assert world.store.content("a.zip") == []
    world.tick()
    assert world.store.content("a.zip") == [content]
    assert [Step.SUPERSEDED in steps for steps in world.ledger.steps("a.zip")] == [True, False]
    assert (world.state.unread, world.state.unmeasured) == (None, ())


def test_a_process_that_dies_after_counting_does_not_count_again(world: World) -> None:
    content = put(world, "a.zip")

    def die(_offset: int) -> None:
        raise KeyboardInterrupt

    world.store.before_stage = die
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    assert world.opened() == ["a.zip", "a.zip"]
    world.store.before_stage = lambda _: None
    world.tick()
    assert world.opened() == ["a.zip"] * 3
    assert world.store.content("a.zip") == [content]


def test_a_file_of_unknown_size_is_not_gone(world: World) -> None:
    world.put("a.zip", b"no zip")
    world.tick()
    world.server.sizeless.add("a.zip")
    world.server.forbidden.add("a.zip")
    for _ in range(4):
        world.tick()
    assert {tracked.archive.file.path for tracked in world.state.tracked_files} == {"a.zip"}
    assert world.ledger.steps("a.zip") == [{Step.SEEN, Step.COPYING}]


def test_a_file_that_was_only_touched_is_the_same_however_long_it_is_there(world: World) -> None:
    content = put(world, "a.zip")
    world.tick(2 * world.spec.retention + timedelta(minutes=1))
    put(world, "a.zip", content)
    world.tick()
    assert world.store.content("a.zip") == [content]
    assert Step.SAME in world.ledger.steps("a.zip")[1]


@pytest.mark.parametrize("size", ["213 -1", "213 123 bytes", "213 ", "550 no", "502 not implemented"])
@pytest.mark.parametrize("time", [None, "502 not implemented"])
@pytest.mark.parametrize("cut", [0, 1])
def test_an_ftp_server_without_sizes_is_copied_from(world: World, size: str, time: str | None, cut: int) -> None:
    content = make_zip(MIB)
    says: dict[str, Change] = {"SIZE": size} if time is None else {"SIZE": size, "MDTM": time}
    listings = {"LIST": {"/": b"-rw-r--r-- 1 u g -1 Mar 03  2026 a.zip\r\n"}}
    script = Script(listings=listings, files={"/a.zip": content[: len(content) - cut]}, says=says)
    with ftp_server(script) as endpoint:
        world.connector = connector(endpoint)
        for _ in range(3):
            world.tick(timedelta(minutes=11))
    assert world.store.content("a.zip") == ([] if cut else [content])
    assert "RETR a.zip" in script.commands


def test_an_ftp_server_that_tells_nothing_of_files_is_not_asked_for_all_of_them_because_of_each() -> None:
    world, number = World(), 100
    names = [f"{index:03d}.zip" for index in range(number)]
    lines = "".join(f"-rw-r--r-- 1 u g -1 Mar 03  2026 {name}\r\n" for name in names)
    script = Script(
        listings={"LIST": {"/": lines.encode()}},
        files={f"/{name}": make_zip() for name in names},
        says={"SIZE": "502 not implemented", "MDTM": "502 not implemented"},
    )
    with ftp_server(script) as endpoint:
        world.connector = connector(endpoint)
        assert len(world.tick().copied) == number
    asked = sum(command.startswith("SIZE") for command in script.commands)
    # For each file: two looks and one check after its copy, with a few others; and now and then a whole listing.
    assert asked < number * 2 * number


def test_the_next_of_many_thousand_files_is_found_in_moments(world: World) -> None:
    unsized = [UnsizedFile(path=f"{number}.zip", modified=START) for number in range(20_000)]
    counted = [StableFile(listed=file.of_size(3), certain=file.of_size(3)) for file in unsized[::2]]
    with world.source_states.hold("radar") as hold:
        tracker = FileTracker(world.spec, hold, world.ledger, hold.load(), world.clock.now)
        tracker.update(Listing(files=(), unsized=unsized), counted, START, None)
        began = time.process_time()
        with tracker.claim_unsized(Order.NEWEST_FIRST) as file:
            assert file is not None
        assert time.process_time() - began < 1
