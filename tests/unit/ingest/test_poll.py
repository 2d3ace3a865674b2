"""A tick: the files that it finds, the order in which it copies them, and the failures that it survives."""

import hashlib
import io
import itertools
import logging
import threading
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import StoreUnavailableError
from imagefeed.model import Replaces
from ingest.model import (
    Archive,
    Generation,
    PassedOver,
    Promises,
    RemoteFile,
    SourceSpec,
    SourceState,
    Step,
    Unread,
    UnreadParts,
)
from ingest.poll import PollReport, poll
from ingest.ports import Connector
from ingest.stager import BUFFERS
from ingest.transfer import CopyOutcome
from preprocess.zip import end
from tests.fakes.copying import FakeArchives, FakeLedger, FakeSourceStates
from tests.fakes.remote import FakeConnection, FakeServer

MIB = 2**20
START = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def make_zip(size: int = 0, mark: str = "") -> bytes:
    """Make a zip of about `size` bytes; other marks make other bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"image{mark}.bin", bytes(size))
    return out.getvalue()


class Clock:
    """Time that passes only in waits."""

    def __init__(self) -> None:
        self.time = START
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.pass_(timedelta(seconds=seconds))

    def pass_(self, span: timedelta) -> None:
        self.time += span


class World:
    """A source, a store and a clock."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.connector: Connector = self.server
        self.store = FakeArchives()
        self.source_states = FakeSourceStates()
        self.ledger = FakeLedger()
        self.clock = Clock()
        self.spec = SourceSpec(name="radar", block_size=MIB, max_connections=1)

    def put(self, path: str, content: bytes | None = None, age: timedelta = timedelta(minutes=5)) -> bytes:
        content = make_zip() if content is None else content
        self.server.put(path, content, self.clock.time - age)
        return content

    @property
    def state(self) -> SourceState:
        return self.source_states.source_states["radar"]

    def tick(self, pause: timedelta = timedelta(seconds=30), *, at_once: bool = False) -> PollReport:
        report = poll(
            self.spec,
            self.connector,
            self.source_states,
            self.store,
            self.ledger,
            zip_end=end,
            now=self.clock.now,
            wait=self.clock.wait,
            at_once=at_once,
        )
        self.clock.pass_(pause)
        return report

    def opened(self) -> list[str]:
        return [call.split()[1] for call in self.server.calls if call.startswith("open")]


@pytest.fixture
def world() -> World:
    return World()


def test_a_new_file_is_copied_and_told_of(world: World) -> None:
    content = world.put("a.zip")
    report = world.tick()
    assert world.store.content("a.zip") == [content]
    assert world.ledger.steps("a.zip") == [{Step.SEEN, Step.COPYING, Step.RAW}]
    assert (report.listed, report.new, report.failed, report.waiting, report.error) == (1, 1, 0, 0, None)
    assert [(copied.path, copied.outcome, copied.bytes) for copied in report.copied] == [
        ("a.zip", CopyOutcome.COPIED, len(content))
    ]


def test_a_quiet_tick_costs_one_listing_and_nothing_else(world: World) -> None:
    world.put("a.zip")
    world.tick()
    world.server.calls.clear()
    writes, loads, saves = world.ledger.writes, world.source_states.loads, world.source_states.saves
    world.tick()
    assert world.server.calls == ["connect", "list"]
    assert world.ledger.writes == writes
    assert (world.source_states.loads, world.source_states.saves) == (loads + 1, saves)


def test_quiet_ticks_keep_the_time_of_the_listing_fresh_to_about_a_minute(world: World) -> None:
    world.put("a.zip")
    world.tick()
    saves = world.source_states.saves
    for _ in range(10):
        world.tick()
        listed_at = world.source_states.source_states["radar"].listed_at
        assert listed_at is not None
        assert world.clock.time - listed_at <= timedelta(seconds=90)
    assert 0 < world.source_states.saves - saves <= 5


@pytest.mark.parametrize(
    "name", ["a.zip.part", "a.zip.tmp", "a.filepart", ".a.zip", "sub/.hidden/a.zip", "a.txt", "a.zip.PART"]
)
def test_what_is_no_archive_or_is_being_written_is_left_alone(world: World, name: str) -> None:
    world.put(name)
    assert world.tick().listed == 0


@pytest.mark.parametrize(
    ("pattern", "match_case", "path", "listed"),
    [
        ("*.zip", False, "A.ZIP", 1),
        ("*.zip", True, "A.ZIP", 0),
        ("radar_*.zip", False, "sub/radar_1.zip", 1),
        ("sub/*.zip", False, "sub/radar_1.zip", 1),
        ("sub/*.zip", False, "radar_1.zip", 0),
    ],
)
def test_patterns_match_names_or_paths(world: World, pattern: str, match_case: bool, path: str, listed: int) -> None:
    world.spec = replace(world.spec, pattern=pattern, match_case=match_case)
    world.put(path)
    assert world.tick().listed == listed


def test_a_growing_upload_makes_no_version_until_it_is_stable(world: World) -> None:
    content = make_zip(5000)
    lengths = iter(range(1000, 5000, 500))
    world.put("a.zip", content[:500])
    world.server.before_stat = lambda: world.put("a.zip", content[: next(lengths)])
    for _ in range(3):
        assert world.tick().new == 0
    assert world.ledger.times == {}
    world.server.before_stat = lambda: None
    world.put("a.zip", content)
    assert world.tick().new == 1
    assert world.store.content("a.zip") == [content]
    assert len(world.ledger.times) == 1


def test_all_unknown_files_wait_for_one_pause_together(world: World) -> None:
    for number in range(20):
        world.put(f"{number}.zip")
    world.tick()
    assert world.clock.waits == [2.0]
    assert len(world.store.blobs) == 20


def test_a_file_that_vanishes_between_the_looks_is_no_trouble(world: World) -> None:
    world.put("a.zip")
    world.server.before_stat = lambda: world.server.files.clear()
    report = world.tick()
    assert (report.new, report.error, world.ledger.writes) == (0, None, 0)


def test_new_content_under_an_old_name_is_a_new_archive(world: World) -> None:
    first = world.put("a.zip", make_zip(100, "one"))
    world.tick()
    second = world.put("a.zip", make_zip(200, "two"))
    world.tick()
    assert world.store.content("a.zip") == [first, second]
    assert world.ledger.steps("a.zip") == [{Step.SEEN, Step.COPYING, Step.RAW}] * 2


def test_a_file_that_was_only_touched_is_the_same(world: World) -> None:
    content = world.put("a.zip")
    world.tick()
    world.put("a.zip", content, age=timedelta(minutes=1))
    report = world.tick()
    assert [copied.outcome for copied in report.copied] == [CopyOutcome.SAME]
    assert world.store.content("a.zip") == [content]
    assert world.ledger.steps("a.zip")[1] == {Step.SEEN, Step.COPYING, Step.SAME}
    # The next version is compared with the same bytes.
    world.put("a.zip", content, age=timedelta(seconds=1))
    assert [copied.outcome for copied in world.tick().copied] == [CopyOutcome.SAME]


def test_a_version_that_was_never_copied_is_superseded(world: World) -> None:
    world.put("a.zip", b"no zip at all")
    world.tick()
    content = world.put("a.zip")
    world.tick()
    assert world.ledger.steps("a.zip")[0] >= {Step.SEEN, Step.SUPERSEDED}
    assert world.store.content("a.zip") == [content]


def test_bytes_are_held_against_the_last_copy_even_past_a_version_that_was_none(world: World) -> None:
    content = world.put("a.zip")
    world.tick()
    world.put("a.zip", b"no zip at all", age=timedelta(minutes=2))
    world.tick()
    world.put("a.zip", content, age=timedelta(minutes=1))
    assert [copied.outcome for copied in world.tick().copied] == [CopyOutcome.SAME]


def test_a_new_version_waits_until_the_old_one_is_no_longer_being_copied(world: World) -> None:
    world.spec = replace(world.spec, max_connections=2, stable_for=timedelta())
    old, new = make_zip(2 * MIB, "old"), make_zip(2 * MIB, "new")
    world.put("long.zip", old, age=timedelta(minutes=30))
    for minutes in (1, 2, 3):
        world.put(f"{minutes}.zip", age=timedelta(minutes=minutes))
    others_copied = threading.Event()
    world.ledger.before_record = lambda archive, step: (
        others_copied.set() if (archive.file.path, step) == ("3.zip", Step.RAW) else None
    )

    def replace_it(offset: int) -> None:
        if offset == MIB:
            world.server.before_read.clear()
            world.put("long.zip", new, age=timedelta(minutes=4))
            assert others_copied.wait(10)
            assert [Step.SUPERSEDED in steps for steps in world.ledger.steps("long.zip")] == [False]

    world.server.before_read["long.zip"] = replace_it
    assert world.tick().failed == 1
    assert world.store.content("long.zip") == [new]
    assert world.ledger.steps("long.zip") == [
        {Step.SEEN, Step.COPYING, Step.SUPERSEDED},
        {Step.SEEN, Step.COPYING, Step.RAW},
    ]


def test_a_file_that_is_gone_before_it_was_copied_has_expired(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("a.zip", b"no zip at all")
    world.tick()
    del world.server.files["a.zip"]
    world.tick(timedelta())
    assert Step.EXPIRED not in world.ledger.steps("a.zip")[0]
    world.tick()
    assert Step.EXPIRED in world.ledger.steps("a.zip")[0]
    assert "archive.expired source=radar path='a.zip'" in [r.message.partition(":")[0] for r in caplog.records]
    assert world.source_states.source_states["radar"].tracked_files == ()


def test_a_server_that_will_not_tell_whether_a_file_is_there_holds_up_no_other(world: World) -> None:
    """Some SFTP servers answer a STAT of a deleted file with an unspecific failure."""
    world.put("a.zip")
    world.server.breaks_at["a.zip"] = 0
    world.tick()
    del world.server.files["a.zip"]
    world.server.unreadable.add("a.zip")
    world.put("b.zip")
    for _ in range(3):
        assert world.tick().error is None
    assert len(world.store.content("b.zip")) == 1
    assert Step.EXPIRED not in world.ledger.steps("a.zip")[0]
    world.clock.pass_(world.spec.retention)
    for _ in range(2):
        world.tick()
    assert Step.EXPIRED in world.ledger.steps("a.zip")[0]


def test_a_copied_file_that_is_deleted_leaves_the_source_state_and_nothing_else_happens(world: World) -> None:
    world.put("a.zip")
    world.tick()
    world.server.files.clear()
    for _ in range(3):
        world.tick()
    assert world.source_states.source_states["radar"].tracked_files == ()
    assert world.ledger.steps("a.zip") == [{Step.SEEN, Step.COPYING, Step.RAW}]


def test_one_connection_takes_the_newest_and_the_oldest_in_turns(world: World) -> None:
    for minutes in (1, 2, 3, 4, 5):
        world.put(f"{minutes}.zip", age=timedelta(minutes=minutes))
    world.tick()
    assert world.opened() == ["1.zip", "5.zip", "2.zip", "4.zip", "3.zip"]


def test_two_connections_take_one_end_each(world: World) -> None:
    world.spec = replace(world.spec, max_connections=2)
    both_reading = threading.Barrier(2, timeout=5)
    for minutes in (1, 2, 3, 4):
        world.put(f"{minutes}.zip", age=timedelta(minutes=minutes))
    for name in ("1.zip", "4.zip"):
        world.server.before_read[name] = lambda offset: both_reading.wait() if offset == 0 else None
    world.tick()
    assert set(world.opened()[:2]) == {"1.zip", "4.zip"}
    assert len(world.store.blobs) == 4
    assert world.server.calls.count("connect") == 2


def test_one_file_needs_one_connection(world: World) -> None:
    world.spec = replace(world.spec, max_connections=4)
    world.put("a.zip")
    world.tick()
    assert world.server.calls.count("connect") == 1


def test_newcomers_overtake(world: World) -> None:
    world.spec = replace(world.spec, stable_for=timedelta())
    for minutes in (10, 20, 30):
        world.put(f"{minutes}.zip", age=timedelta(minutes=minutes))
    world.server.before_read["30.zip"] = lambda _: world.put("new.zip", age=timedelta(minutes=1))
    world.tick()
    assert world.opened() == ["10.zip", "30.zip", "new.zip", "20.zip"]


def test_a_newcomer_does_not_wait_for_a_long_copy_on_the_other_connection(world: World) -> None:
    world.spec = replace(world.spec, max_connections=2, stable_for=timedelta())
    world.put("long.zip", age=timedelta(minutes=30))
    world.put("short.zip", age=timedelta(minutes=1))
    newcomer_copied = threading.Event()
    world.ledger.before_record = lambda archive, step: (
        newcomer_copied.set() if (archive.file.path, step) == ("new.zip", Step.RAW) else None
    )

    def hold_up(_: int) -> None:
        world.server.files.setdefault("new.zip", (make_zip(), world.clock.time))
        assert newcomer_copied.wait(10)

    world.server.before_read["long.zip"] = hold_up
    assert world.tick().failed == 0
    assert set(world.opened()) == {"long.zip", "short.zip", "new.zip"}


def test_a_server_that_refuses_more_connections_is_served_by_fewer(world: World) -> None:
    world.spec = replace(world.spec, max_connections=3)
    world.server.max_connections = 1
    for minutes in range(1, 6):
        world.put(f"{minutes}.zip", age=timedelta(minutes=minutes))
    report = world.tick()
    assert (len(report.copied), report.error, report.failed) == (5, None, 0)


def test_a_file_that_fails_costs_the_others_nothing_and_is_tried_again(world: World) -> None:
    for minutes in (1, 2, 3):
        world.put(f"{minutes}.zip", make_zip(2 * MIB), age=timedelta(minutes=minutes))
    world.server.breaks_at["1.zip"] = MIB
    report = world.tick()
    assert (len(report.copied), report.failed, report.waiting, report.error) == (2, 1, 1, None)
    assert any("the connection broke" in error for error in world.ledger.errors.values())
    report = world.tick()
    assert (len(report.copied), report.waiting) == (1, 0)


def test_a_file_of_an_absurd_size_costs_the_others_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer for a piece of it would take all memory, in every tick."""
    real = FakeConnection.stat

    def stat(connection: FakeConnection, listed: RemoteFile) -> RemoteFile | None:
        file = real(connection, listed)
        return replace(file, size=2**80) if file and file.path == "huge.zip" else file

    monkeypatch.setattr(FakeConnection, "stat", stat)
    world.put("a.zip")
    world.put("huge.zip", age=timedelta(minutes=1))
    report = world.tick()
    assert ([copied.path for copied in report.copied], report.failed) == (["a.zip"], 1)
    assert "that can be copied" in str(world.ledger.errors)


def test_a_name_that_cannot_be_asked_for_costs_no_other_file_and_is_not_passed_over(world: World) -> None:
    for path in ("a.zip", "b\rc.zip", "d.zip"):
        world.put(path)
    world.server.unaskable.add("b\rc.zip")
    report = world.tick()
    assert (len(report.copied), report.failed, report.waiting, report.error) == (2, 1, 1, None)
    assert world.ledger.steps("b\rc.zip") == [{Step.SEEN}]
    assert any("no command can hold it" in error for error in world.ledger.errors.values())


def test_a_file_that_is_listed_and_may_not_be_read_is_not_passed_over(world: World) -> None:
    """An FTP server answers 550 both for a missing file and for one that we have no right to read."""
    for path in ("a.zip", "forbidden.zip"):
        world.put(path)
    world.server.forbidden.add("forbidden.zip")
    report = world.tick()
    assert ([copied.path for copied in report.copied], report.failed, report.waiting) == (["a.zip"], 1, 1)
    assert world.ledger.steps("forbidden.zip") == [{Step.SEEN}]
    world.server.forbidden.clear()
    world.tick(timedelta(minutes=1))
    assert Step.RAW in world.ledger.steps("forbidden.zip")[0]


def test_a_file_of_which_nothing_can_be_told_for_now_costs_no_other_file(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """FTP servers may answer 450 for a file that is still being written."""
    world.put("a.zip")
    world.put("busy.zip")
    world.server.unreadable.add("busy.zip")
    report = world.tick()
    assert ([copied.path for copied in report.copied], report.failed) == (["a.zip"], 1)
    assert "file.unreadable source=radar path='busy.zip'" in caplog.text
    assert report.error == world.source_states.source_states["radar"].error == "stat 'busy.zip': failure"
    assert world.state.unread == UnreadParts(count=1, texts=("stat 'busy.zip': failure",), incomplete=False)
    world.server.unreadable.clear()
    assert [copied.path for copied in world.tick().copied] == ["busy.zip"]
    assert world.source_states.source_states["radar"].error is None
    world.tick()
    assert world.state.unread is None


def test_many_files_of_which_nothing_can_be_told_cost_few_listings(world: World) -> None:
    for number in range(50):
        world.put(f"{number}.zip")
        world.server.unreadable.add(f"{number}.zip")
    world.put("a.zip")
    report = world.tick()
    assert ([copied.path for copied in report.copied], report.failed) == (["a.zip"], 50)
    assert world.server.calls.count("list") <= 5
    assert world.state.unread
    assert world.state.unread.count == 50


def test_a_file_that_keeps_failing_is_left_alone_for_longer_and_longer(world: World) -> None:
    world.put("a.zip", make_zip(2 * MIB))
    tries = []
    for number in range(200):
        world.server.breaks_at["a.zip"] = 0
        if world.tick().failed:
            tries.append(number)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert len(tries) < 30
    assert gaps[0] <= 2
    assert max(gaps) >= 8
    assert max(gaps) <= 21


def test_after_a_broken_transfer_only_what_is_missing_is_read(world: World) -> None:
    content = world.put("a.zip", make_zip(6 * MIB))
    world.server.breaks_at["a.zip"] = 4 * MIB
    world.tick()
    world.server.calls.clear()
    report = world.tick()
    known = MIB // BUFFERS  # the block that shows whether the server continues at the right offset
    assert [call for call in world.server.calls if call.startswith("open")] == [f"open a.zip {4 * MIB - known}"]
    assert report.copied[0].received == len(content) - 4 * MIB + known
    assert world.store.content("a.zip") == [content]
    (metadata,) = world.ledger.metadata.values()
    assert metadata.sha256 == hashlib.sha256(content).hexdigest()


def test_a_source_that_is_down_is_reported_and_left_alone_for_a_while(world: World) -> None:
    world.put("a.zip")
    world.server.down = "connect: connection refused"
    report = world.tick(timedelta())
    assert report.error == "connect: connection refused"
    assert report.not_before is not None
    assert report.not_before > world.clock.time
    calls = len(world.server.calls)
    assert world.tick(timedelta()).error == "connect: connection refused"
    assert len(world.server.calls) == calls
    world.server.down = None
    world.clock.pass_(timedelta(seconds=5))
    report = world.tick()
    assert (report.error, len(report.copied)) == (None, 1)
    assert world.source_states.source_states["radar"].error is None


def test_a_source_that_stays_down_is_asked_less_and_less_often(world: World) -> None:
    world.server.down = "connect: 421"
    for _ in range(120):
        world.tick()
    assert 10 < len(world.server.calls) < 40


def test_after_a_start_a_source_that_failed_is_asked_at_once(world: World) -> None:
    world.server.down = "connect: refused"
    for _ in range(9):
        world.tick()
    world.tick(timedelta(0), at_once=True)
    world.server.down = None
    assert world.tick(timedelta(0)).error
    assert world.tick(at_once=True).error is None
    assert world.state.outage is None


def test_the_state_keeps_what_the_source_promises(world: World) -> None:
    world.spec = replace(world.spec, interval=timedelta(minutes=7), stamp="%Y", active="Mo-Su 06:00-20:00 UTC")
    expected = Promises(interval=timedelta(minutes=7), stamp="%Y", active="Mo-Su 06:00-20:00 UTC")
    world.server.down = "connect: refused"
    world.tick()
    assert world.state.promises == expected
    world.spec = replace(world.spec, retention=timedelta(hours=24))
    world.server.down = None
    world.tick(at_once=True)
    assert world.state.promises == replace(expected, retention=timedelta(hours=24))


def test_the_state_keeps_from_when_to_when_a_source_could_not_be_listed(world: World) -> None:
    world.server.down = "connect: refused"
    down = world.clock.time
    world.tick(timedelta(minutes=7))
    world.tick(timedelta(minutes=7))
    outage = world.state.outage
    assert outage
    assert (outage.start, outage.refused) == (down, False)
    world.server.down = None
    back = world.clock.time
    world.tick()
    world.tick()
    assert world.state.outages == (replace(outage, end=back),)


def test_the_state_keeps_what_pattern_leaves_out(world: World) -> None:
    for name in ("a.rar", "b.rar", "c.zip.part"):
        world.put(name)
    world.tick()
    modified = world.clock.time - timedelta(minutes=5, seconds=30)
    assert world.state.passed_over == PassedOver(count=2, newest="b.rar", modified=modified)


def test_files_of_others_that_come_and_go_cost_no_write(world: World) -> None:
    world.put("a.zip")
    world.tick()
    saves = world.source_states.saves
    world.put("a.log")
    world.tick(timedelta(seconds=10))
    assert world.source_states.saves == saves


@pytest.mark.parametrize(
    ("unread", "kept"),
    [
        (Unread(text="??? 1 a.zip"), {"a.zip", "sub/b.zip", "sub2/c.zip"}),
        (Unread(text="550 not allowed", path="sub/"), {"sub/b.zip"}),
        (Unread(text="failure", path="a.zip"), {"a.zip"}),
        (Unread(text="failure", path="a.zi"), set()),
    ],
)
def test_nothing_expires_by_a_listing_that_may_lack_it(world: World, unread: Unread, kept: set[str]) -> None:
    for path in ("a.zip", "sub/b.zip", "sub2/c.zip"):
        world.put(path, b"no zip, so it waits")
    world.tick()
    world.server.unlisted.update(world.server.files)
    world.server.unread = (unread,)
    world.server.forbidden.update(world.server.files)
    for _ in range(3):
        world.tick()
    assert {file.archive.file.path for file in world.state.tracked_files} == kept
    expired = {path for path in world.server.files if Step.EXPIRED in world.ledger.steps(path)[0]}
    assert expired == world.server.files.keys() - kept


def test_what_could_not_be_read_is_kept_with_the_first_lines_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.unread = [Unread(text="no right", path="lost+found/"), *(Unread(text=f"line {n}") for n in range(9))]
    for _ in range(3):
        world.tick()
    assert world.state.unread == UnreadParts(count=10, texts=("line 0", "line 1", "line 2"), incomplete=True)
    assert [record.message for record in caplog.records if record.message.startswith("listing.unread")] == [
        "listing.unread source=radar parts=10 incomplete=True first='line 0'"
    ]
    world.server.unread = ()
    world.tick()
    assert world.state.unread is None


def test_an_entry_that_could_be_no_archive_is_not_missed(world: World) -> None:
    world.server.unread = [Unread(text="loop", path="notes"), Unread(text="loop", path="notes.zip")]
    world.tick()
    assert world.state.unread == UnreadParts(count=1, texts=("loop",), incomplete=False)


def test_lines_that_change_with_each_listing_cost_no_write(world: World) -> None:
    world.put("a.zip")
    world.server.unread = [Unread(text="now: 1")]
    world.tick()
    saves = world.source_states.saves
    world.server.unread = [Unread(text="now: 2")]
    world.tick(timedelta(seconds=10))
    assert world.source_states.saves == saves


def test_a_source_that_is_never_listed_whole_does_not_fill_its_state(world: World) -> None:
    world.put("a.zip")
    world.put("broken.zip", b"no zip")
    world.tick()
    world.server.unlisted.update(world.server.files)
    world.server.unread = (Unread(text="???"),)
    world.tick(2 * world.spec.retention + timedelta(minutes=1))
    assert len(world.state.tracked_files) == 2
    world.tick()
    assert [file.archive.file.path for file in world.state.tracked_files] == ["broken.zip"], "the server still has it"


@pytest.mark.parametrize("there", [True, False])
def test_an_uncopied_file_is_given_up_after_twice_its_retention_unless_the_server_has_it(
    world: World, there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world.put("broken.zip", make_zip())
    world.server.breaks_at["broken.zip"] = 0
    world.tick()
    world.server.unread = (Unread(text="???"),)
    if there:
        world.server.unlisted.add("broken.zip")
        world.server.before_read["broken.zip"] = lambda _: world.server.breaks_at.update({"broken.zip": 0})
    else:
        del world.server.files["broken.zip"]
    while world.clock.time < START + 2 * world.spec.retention:
        world.tick(timedelta(hours=4))
        assert world.ledger.steps("broken.zip") == [{Step.SEEN}]
    world.tick()
    world.tick()
    assert bool(world.state.tracked_files) is there
    assert (Step.EXPIRED in world.ledger.steps("broken.zip")[0]) is not there
    assert ("archive.expired source=radar path='broken.zip'" in caplog.text) is not there


def test_a_listing_ends_when_the_poll_is_out_of_time(world: World) -> None:
    world.put("a.zip")
    world.tick()
    world.put("b.zip")
    world.server.before_stat = lambda: world.clock.pass_(world.spec.budget)
    world.server.forbidden_to_stat.add("b.zip")
    world.server.calls.clear()
    report = world.tick()
    assert (report.copied, report.error) == ((), None)
    assert world.server.calls == ["connect", "list", "stat b.zip"]


def test_an_incomplete_listing_changes_nothing(world: World) -> None:
    world.put("a.zip")
    world.tick()
    before = world.source_states.source_states["radar"].tracked_files
    world.server.before_list = lambda: setattr(world.server, "down", "list: 426 broke off")
    for _ in range(5):
        world.tick(timedelta(minutes=10))
    assert world.source_states.source_states["radar"].tracked_files == before


def test_a_source_that_another_process_polls_is_busy_and_no_error(world: World) -> None:
    world.put("a.zip")
    with world.source_states.hold("radar"):
        report = world.tick()
    assert (report.busy, report.error) == (True, None)
    assert world.server.calls == []


def test_a_lost_lease_stops_everything_at_once(world: World) -> None:
    world.put("a.zip", make_zip(5 * MIB))
    world.server.before_read["a.zip"] = lambda offset: setattr(world.source_states, "lost", offset >= 2 * MIB)
    assert world.tick().busy
    assert world.store.content("a.zip") == []
    assert world.ledger.errors == {}
    assert sum(block.span.length for block in world.store.staged) <= 3 * MIB


def test_a_spent_budget_stops_between_blocks_and_the_next_tick_goes_on_there(world: World) -> None:
    content = world.put("a.zip", make_zip(6 * MIB))
    world.server.before_read["a.zip"] = lambda offset: (
        world.clock.pass_(world.spec.budget) if offset == 3 * MIB else None
    )
    report = world.tick()
    assert (report.failed, report.waiting, report.error, report.copied) == (0, 1, None, ())
    assert world.ledger.errors == {}
    world.server.before_read.clear()
    report = world.tick()
    assert world.store.content("a.zip") == [content]
    assert report.copied[0].received < len(content) - 2 * MIB


def test_a_listing_that_takes_longer_than_the_budget_is_an_error_and_not_an_empty_poll(world: World) -> None:
    world.put("a.zip")
    world.server.before_list = lambda: world.clock.pass_(world.spec.budget)
    report = world.tick()
    assert report.error is not None
    assert "longer than BUDGET" in report.error
    assert report.not_before == world.state.not_before
    assert world.state.error == report.error


def test_an_archive_that_is_never_resumed_and_never_done_in_time_is_named_and_costs_no_other(world: World) -> None:
    world.put("large.zip", make_zip(6 * MIB))
    world.server.breaks_at["large.zip"] = 0
    world.tick()
    (tracked,) = world.state.tracked_files
    generation = Generation.new(inconsistent=2)
    state = replace(world.state, tracked_files=(replace(tracked, generation=generation, not_before=None),))
    world.source_states.source_states["radar"] = state
    other = world.put("a.zip", age=timedelta(hours=1))
    world.server.before_read["large.zip"] = lambda offset: (
        world.clock.pass_(world.spec.budget) if offset == 3 * MIB else None
    )
    for _ in range(6):
        world.tick()
    assert world.store.content("a.zip") == [other]
    assert any("takes longer than BUDGET" in error for error in world.ledger.errors.values())


@pytest.mark.parametrize(("share", "recorded"), [(0.7, False), (0.9, True), (1.1, True)])
def test_a_poll_that_takes_nearly_all_of_its_budget_is_recorded_and_remembered(
    world: World, share: float, recorded: bool
) -> None:
    world.put("a.zip", make_zip(6 * MIB))
    world.server.before_read["a.zip"] = lambda offset: (
        world.clock.pass_(world.spec.budget * share) if offset == 3 * MIB else None
    )
    world.tick()
    ended = world.state.long_poll_at
    assert (ended is not None) is recorded
    world.server.before_read.clear()
    world.put("b.zip")
    world.tick()
    assert world.state.long_poll_at == ended, "a short poll is no reason to forget it"


def test_what_is_no_zip_is_published_only_after_it_stayed_so_and_is_marked(world: World) -> None:
    content = world.put("a.zip", b"this is no zip")
    began = world.clock.time
    report = world.tick()
    while not report.copied:
        assert world.store.content("a.zip") == []
        assert world.clock.time - began < timedelta(minutes=7)
        report = world.tick()
    assert world.clock.time - began > world.spec.stable_for_max
    assert world.store.content("a.zip") == [content]
    assert report.copied[0].outcome is CopyOutcome.COPIED
    (metadata,) = world.ledger.metadata.values()
    assert not metadata.complete


def test_an_empty_file_is_truncated_at_first_and_archived_in_the_end(world: World) -> None:
    world.put("a.zip", b"")
    assert world.tick().copied == ()
    world.clock.pass_(world.spec.stable_for_max)
    world.tick()
    assert world.store.content("a.zip") == [b""]


def test_a_truncated_file_that_is_completed_is_copied_whole(world: World) -> None:
    whole = make_zip(3 * MIB)
    world.put("a.zip", whole[: 2 * MIB], age=timedelta(minutes=1))
    assert world.tick().copied == ()
    (waits,) = world.ledger.errors.values()
    assert waits.startswith("waits: its zip directory is missing or truncated")
    assert "copied as it is from " in waits
    world.put("a.zip", whole, age=timedelta(seconds=10))
    world.tick()
    assert world.store.content("a.zip") == [whole]


def test_a_process_that_dies_before_the_hashes_are_set_does_not_copy_again(world: World) -> None:
    content = world.put("a.zip", make_zip(4 * MIB))
    world.server.breaks_at["a.zip"] = 2 * MIB
    world.tick()

    def die() -> None:
        raise KeyboardInterrupt

    world.store.before_amend = die
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.store.before_amend = lambda: None
    world.server.calls.clear()
    report = world.tick()
    assert world.opened() == []
    assert [copied.outcome for copied in report.copied] == [CopyOutcome.COPIED]
    assert world.store.content("a.zip") == [content]
    (metadata,) = world.ledger.metadata.values()
    assert metadata.complete


def test_an_archive_that_is_there_already_is_only_noted(world: World) -> None:
    world.put("a.zip")
    world.tick()
    world.source_states.source_states.clear()
    world.server.calls.clear()
    report = world.tick()
    assert world.opened() == []
    assert len(report.copied) == 1
    assert report.copied[0].received == 0


def test_the_stamp_is_saved_before_anybody_is_told_of_it(world: World) -> None:
    def die(archive: Archive, _step: Step) -> None:
        (tracked_file,) = world.source_states.source_states["radar"].tracked_files
        assert tracked_file.archive.stamp == archive.stamp
        raise KeyboardInterrupt

    world.spec = replace(world.spec, stamp="radar_%Y%m%d%H%M")
    world.put("radar_203001010000.zip")
    world.ledger.before_record = die
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    world.ledger.before_record = lambda _archive, _step: None
    world.clock.pass_(timedelta(hours=1))
    world.tick()
    (archive,) = world.ledger.archives.values()
    assert archive.stamp == START
    assert archive.stamp_replaced
    assert world.ledger.steps("radar_203001010000.zip") == [{Step.SEEN, Step.COPYING, Step.RAW}]


def test_a_stamp_pattern_that_makes_no_sense_is_an_error_of_the_source(world: World) -> None:
    world.spec = replace(world.spec, stamp="radar_%Q")
    world.put("a.zip")
    report = world.tick()
    assert report.error is not None
    assert "STAMP" in report.error


def test_a_store_that_is_down_is_raised(world: World) -> None:
    def refuse(_archive: Archive, _step: Step) -> None:
        raise StoreUnavailableError("write the ledger: 503")

    world.put("a.zip")
    world.ledger.before_record = refuse
    with pytest.raises(StoreUnavailableError):
        world.tick()
    world.ledger.before_record = lambda _archive, _step: None
    assert len(world.tick().copied) == 1


def test_a_bug_in_one_worker_stops_the_others_and_surfaces(world: World) -> None:
    world.spec = replace(world.spec, max_connections=2)
    broken = threading.Event()
    for minutes in range(1, 10):
        world.put(f"{minutes}.zip", make_zip(8 * MIB), age=timedelta(minutes=minutes))

    def break_down(_: int) -> None:
        broken.set()
        raise ZeroDivisionError

    world.server.before_read["9.zip"] = break_down
    world.server.before_read["1.zip"] = lambda _: broken.wait(10)
    with pytest.raises(ZeroDivisionError):
        world.tick()
    assert len(world.store.blobs) < 9


def test_of_thousands_of_files_the_newest_and_the_oldest_are_copied_first(world: World) -> None:
    for number in range(300):
        world.put(f"{number:03}.zip", age=timedelta(minutes=1 + number))
    first_open: list[int] = []
    world.server.before_read["000.zip"] = lambda _: first_open.append(len(world.server.calls))
    report = world.tick()
    assert len(report.copied) == 300
    assert world.opened()[:2] == ["000.zip", "299.zip"]
    assert first_open[0] < 210


def test_names_from_outside_cannot_forge_log_lines(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.put("a\narchive.copied source=radar path='forged.zip'.zip")
    world.put("\udcff.zip", b"no zip")
    world.tick()
    assert all("\n" not in record.getMessage() for record in caplog.records)
    for record in caplog.records:
        record.getMessage().encode()
    assert any("archive.copied source=radar path=" in record.getMessage() for record in caplog.records)


def rules(world: World) -> dict[str, str]:
    return {archive.file.path: archive.replaces for archive in world.ledger.archives.values()}


@pytest.mark.parametrize(
    ("rule", "named", "unnamed"), [("stamp", "stamp", "never"), ("path", "path", "path"), ("never", "never", "never")]
)
def test_a_version_replaces_by_its_stamp_only_where_the_name_tells_it(
    world: World, rule: Replaces, named: str, unnamed: str
) -> None:
    world.spec = replace(world.spec, stamp="radar_%Y%m%d%H%M", replaces=rule)
    for path in ("radar_202603041155.zip", "latest.zip"):
        world.put(path)
    world.tick()
    assert rules(world) == {"radar_202603041155.zip": named, "latest.zip": unnamed}


def test_a_version_that_a_wrong_clock_made_the_newest_hides_no_other(world: World) -> None:
    world.spec = replace(world.spec, stamp="radar_%Y%m%d%H%M", replaces="path")
    world.put("radar_202603041155.zip", age=-timedelta(days=2))
    world.put("radar_202603041150.zip", age=-timedelta(hours=23))
    world.tick()
    assert rules(world) == {"radar_202603041155.zip": "never", "radar_202603041150.zip": "path"}


def test_twenty_contents_of_one_name_are_twenty_archives_and_none_replaces_another(world: World) -> None:
    for number in range(20):
        world.put("latest.zip", make_zip(mark=str(number)), age=timedelta(0))
        world.tick()
    archives = list(world.ledger.archives.values())
    assert len({archive.stamp for archive in archives}) == 20
    assert {archive.replaces for archive in archives} == {"never"}
