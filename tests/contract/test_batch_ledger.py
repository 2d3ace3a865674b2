"""The ledger's contract for preprocessing: one plan for each archive, and one outcome, whichever call finishes last."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import PermanentError
from imagefeed.ledger import Entry, entries
from imagefeed.model import ArchiveKey, Counts, Origin, RawArchive, State
from ingest.model import Archive, RemoteFile, Step
from preprocess.claim import NOBODY, Claim, ClaimKind
from preprocess.model import Batch, BatchState, Notes
from preprocess.ports import BatchLedger
from storage.clients import Clients
from storage.tables.archives import TableCopyLedger
from storage.tables.batches import TableBatchLedger
from storage.tables.plans import read_plan, rows_of
from tests.fakes.preprocessing import MemoryBatchLedger

NOW = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
SOON = NOW + timedelta(minutes=15)
COUNTS = Counts(members=3, images=2, refused=1, skipped={"folder": 1}, bytes_in=7, bytes_out=5 * 2**33)


def archive_of(source: str, version: str = "0123abcd", stamp: datetime = NOW) -> RawArchive:
    return RawArchive(
        source=source,
        stamp=stamp,
        version=version,
        blob=ArchiveKey(source, stamp, version).raw_blob("out/a.zip"),
        size=5 * 2**33,
        path="out/a.zip",
        origin=Origin.COPIED,
        sha256="ab" * 32,
        etag="0x1",
        raw_at=NOW,
    )


def batches_of(archive: RawArchive, count: int, pipeline: str = "p1", members: int = 10) -> list[Batch]:
    return [
        Batch(archive=archive, pipeline=pipeline, number=number, first=number * members, end=(number + 1) * members)
        for number in range(count)
    ]


def ranges(states: Sequence[BatchState] | None) -> list[tuple[int, int, int]] | None:
    return None if states is None else [(s.batch.number, s.batch.first, s.batch.end) for s in states]


class BatchLedgerContract(ABC):
    ledger: BatchLedger
    source: str

    @abstractmethod
    def end(self, archive: RawArchive, pipeline: str) -> tuple[State, Counts | None, str | None]:
        """Read state, sums and reason behind the ledger's back."""

    def planned(self, count: int = 2, archive: RawArchive | None = None) -> list[Batch]:
        batches = batches_of(archive or archive_of(self.source), count)
        self.ledger.record_raw(batches[0].archive, NOW)
        assert self.ledger.insert_plan(batches, NOW, SOON)
        return batches

    def test_an_archive_has_no_plan_at_first(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        assert self.ledger.plan(archive, "p1") is None

    @pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
    def test_a_plan_comes_back_whole_and_in_order(self, count: int) -> None:
        batches = self.planned(count)
        states = self.ledger.plan(batches[0].archive, "p1")
        assert states is not None
        assert [state.batch for state in states] == batches
        assert {(s.done_at, s.attempts, s.next_drive, s.counts, s.error) for s in states} == {
            (None, 0, SOON, None, None)
        }

    def test_a_plan_is_never_made_anew(self) -> None:
        batches = self.planned(3)
        other = batches_of(batches[0].archive, 2, members=64)
        assert not self.ledger.insert_plan(other, NOW, SOON)
        assert ranges(self.ledger.plan(batches[0].archive, "p1")) == [(0, 0, 10), (1, 10, 20), (2, 20, 30)]

    def test_pipelines_have_plans_of_their_own(self) -> None:
        archive = self.planned(2)[0].archive
        assert self.ledger.plan(archive, "p2") is None
        assert self.ledger.insert_plan(batches_of(archive, 1, "p2"), NOW, SOON)
        assert ranges(self.ledger.plan(archive, "p1")) == [(0, 0, 10), (1, 10, 20)]
        assert ranges(self.ledger.plan(archive, "p2")) == [(0, 0, 10)]

    def test_of_ten_planners_that_disagree_one_decides(self) -> None:
        archive = archive_of(self.source)
        plans = [batches_of(archive, count, members=100 - count) for count in range(1, 11)]
        with ThreadPoolExecutor(10) as pool:
            decided = list(pool.map(lambda plan: self.ledger.insert_plan(plan, NOW, SOON), plans))
        (winner,) = [plan for plan, name in zip(plans, decided, strict=True) if name is not None]
        assert ranges(self.ledger.plan(archive, "p1")) == [(b.number, b.first, b.end) for b in winner]

    def test_a_divided_batch_is_two_that_are_undone_and_the_others_stay(self) -> None:
        (done, long, _) = self.planned(3)
        self.ledger.finish(done, COUNTS, NOW)
        self.claim(long, "one")
        states = self.ledger.plan(long.archive, "p1") or ()
        halves = self.ledger.split(states[1].batch, SOON + timedelta(minutes=1))
        assert [(half.number, half.first, half.end, half.batches) for half in halves] == [
            (1, 10, 15, 4),
            (3, 15, 20, 4),
        ]
        after = self.ledger.plan(long.archive, "p1") or ()
        assert ranges(after) == [(0, 0, 10), (1, 10, 15), (2, 20, 30), (3, 15, 20)]
        assert [state.done_at for state in after] == [NOW, None, None, None]
        assert [after[number].next_drive for number in (1, 3)] == [SOON + timedelta(minutes=1)] * 2
        assert self.claim(halves[0], "two") == 0, "nobody holds a half"
        with pytest.raises(PermanentError, match="replaced"):
            self.ledger.finish(states[1].batch, COUNTS, NOW)
        assert self.ledger.split(states[1].batch, SOON) == (), "it was divided before"
        for half in (*halves, after[2].batch):
            assert self.end(long.archive, "p1")[0] is State.PROCESSING
            self.ledger.finish(half, COUNTS, NOW)
        assert self.end(long.archive, "p1")[0] is State.PROCESSED

    def test_a_batch_is_not_divided_once_its_archive_is_settled_or_planned_anew(self) -> None:
        (batch,) = self.planned(1)
        (state,) = self.ledger.plan(batch.archive, "p1") or ()
        self.ledger.reset(batch.archive, "p1", NOW, SOON)
        assert self.ledger.split(state.batch, SOON) == ()
        self.ledger.refuse(batch.archive, "p1", "it is odd", NOW)
        assert self.ledger.split(batch, SOON) == ()
        assert ranges(self.ledger.plan(batch.archive, "p1")) == [(0, 0, 10)]

    def claim(self, batch: Batch, owner: str, at: datetime = NOW, until: datetime = SOON) -> int | None:
        return self.ledger.claim(batch, owner, ClaimKind.RUNNING, at, until)

    def test_one_claim_stands_until_it_expires_or_is_let_go(self) -> None:
        (batch,) = self.planned(1)
        until = NOW + timedelta(minutes=5)
        assert self.claim(batch, "one", NOW, until) == 0
        assert self.claim(batch, "two", NOW, until) is None
        assert self.claim(batch, "one", NOW, until + timedelta(minutes=5)) == 0
        assert self.claim(batch, "two", until, until + timedelta(minutes=5)) is None
        self.ledger.release(batch, "two", until, None)
        assert self.claim(batch, "two", until, until + timedelta(minutes=5)) is None, "it was not its own to let go"
        self.ledger.release(batch, "one", until, None)
        assert self.claim(batch, "two", until, until + timedelta(minutes=5)) == 0
        assert self.state(batch).put_at is None

    def test_of_ten_claims_at_once_one_stands(self) -> None:
        (batch,) = self.planned(1)
        with ThreadPoolExecutor(10) as pool:
            claims = list(pool.map(lambda name: self.claim(batch, name), "abcdefghij"))
        assert sorted(claims, key=str) == [0, *[None] * 9]

    def test_owners_that_vanish_while_they_run_a_batch_are_counted_for_a_day(self) -> None:
        (batch,) = self.planned(1)
        moments = [NOW + timedelta(hours=hours) for hours in (0, 1, 2, 25)]
        counts = [self.claim(batch, f"{number}", at, at) for number, at in enumerate(moments)]
        assert counts == [0, 1, 2, 3], "they were found to be gone at 1, 2 and 25 hours"
        assert self.claim(batch, "last", NOW + timedelta(hours=26, minutes=1), SOON) == 2, "no more than a day ago"

    def test_owners_that_wait_or_let_go_do_not_vanish(self) -> None:
        (batch,) = self.planned(1)
        assert self.ledger.claim(batch, "one", ClaimKind.WAITING, NOW, NOW) == 0
        assert self.claim(batch, "two", NOW, NOW) == 0
        self.ledger.release(batch, "two", NOW, "busy")
        assert self.claim(batch, "three", NOW, NOW) == 0
        assert (self.state(batch).failures, self.state(batch).error, self.state(batch).put_at) == (1, "busy", NOW)

    def test_a_batch_may_be_planned_with_a_claim(self) -> None:
        batches = batches_of(archive_of(self.source), 2)
        claim = Claim(owner="one", kind=ClaimKind.WAITING, until=SOON)
        assert self.ledger.insert_plan(batches, NOW, SOON, {0: claim})
        assert [state.claim for state in self.ledger.plan(batches[0].archive, "p1") or ()] == [claim, NOBODY]
        assert self.claim(batches[0], "two") is None
        assert self.claim(batches[0], "one") == 0

    def test_what_is_put_on_the_queue_is_noted_for_any_number_of_batches(self) -> None:
        batches = self.planned(150)
        self.ledger.note_put(batches[1:], NOW)
        states = self.ledger.plan(batches[0].archive, "p1") or ()
        assert [state.put_at for state in states] == [None, *[NOW] * 149]

    def test_an_archive_is_open_until_its_end(self) -> None:
        (batch,) = self.planned(1)
        assert self.ledger.list_open(self.source, "p1") == []
        self.ledger.open(batch.archive, "p1", NOW)
        self.ledger.open(archive_of(self.source, "bbbbbbbb", SOON), "p1", SOON, NOW)
        self.ledger.open(batch.archive, "p2", NOW)
        newer, opened = self.ledger.list_open(self.source, "p1")
        assert (opened.archive.key, opened.opened_at, opened.put_at) == (batch.archive.key, NOW, None)
        assert (newer.archive.version, newer.opened_at, newer.put_at) == ("bbbbbbbb", SOON, NOW)
        assert not self.ledger.is_terminal(batch.archive, "p1")
        self.ledger.finish(batch, COUNTS, NOW)
        assert self.ledger.is_terminal(batch.archive, "p1")
        assert [each.archive.version for each in self.ledger.list_open(self.source, "p1")] == ["bbbbbbbb"]
        for _ in range(2):
            self.ledger.close(newer.archive, "p1")
        assert self.ledger.list_open(self.source, "p1") == []
        assert len(self.ledger.list_open(self.source, "p2")) == 1

    @pytest.mark.parametrize("end", ["refuse", "fail"])
    def test_every_end_closes_and_to_take_it_back_opens(self, end: str) -> None:
        (batch,) = self.planned(1)
        self.ledger.open(batch.archive, "p1", NOW)
        getattr(self.ledger, end)(batch.archive, "p1", "why", NOW)
        assert self.ledger.list_open(self.source, "p1") == []
        self.ledger.reset(batch.archive, "p1", SOON, SOON)
        assert [each.opened_at for each in self.ledger.list_open(self.source, "p1")] == [SOON]

    def test_of_two_that_ask_for_a_plan_one_does(self) -> None:
        self.ledger.open(archive_of(self.source), "p1", NOW)
        (opened,) = self.ledger.list_open(self.source, "p1")
        assert self.ledger.ask_plan(opened, "p1", SOON)
        assert not self.ledger.ask_plan(opened, "p1", SOON)
        (opened,) = self.ledger.list_open(self.source, "p1")
        assert (opened.asked, opened.put_at, opened.opened_at) == (1, SOON, NOW)
        self.ledger.close(opened.archive, "p1")
        assert not self.ledger.ask_plan(opened, "p1", SOON), "it came to its end meanwhile"

    def test_nothing_that_is_done_can_be_claimed(self) -> None:
        first, _ = self.planned(2)
        self.ledger.finish(first, COUNTS, NOW)
        assert self.claim(first, "one") is None

    def test_the_last_batch_ends_the_archive_with_the_sums(self) -> None:
        first, second = self.planned(2)
        self.ledger.finish(second, COUNTS, NOW)
        assert self.end(first.archive, "p1")[:2] == (State.PROCESSING, None)
        self.ledger.finish(first, COUNTS, SOON)
        assert self.end(first.archive, "p1") == (State.PROCESSED, COUNTS + COUNTS, None)
        states = self.ledger.plan(first.archive, "p1")
        assert states is not None
        assert [(state.done_at, state.counts) for state in states] == [(SOON, COUNTS), (NOW, COUNTS)]

    def test_ten_finishers_at_once_agree_on_one_end(self) -> None:
        batches = self.planned(5)
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda batch: self.ledger.finish(batch, COUNTS, NOW), batches * 2))
        sums = sum([COUNTS] * 5, start=Counts())
        assert self.end(batches[0].archive, "p1") == (State.PROCESSED, sums, None)

    def test_finishing_twice_counts_once(self) -> None:
        (batch,) = self.planned(1)
        self.ledger.finish(batch, COUNTS, NOW)
        self.ledger.finish(batch, COUNTS + COUNTS, SOON)
        assert self.end(batch.archive, "p1") == (State.PROCESSED, COUNTS, None)
        (state,) = self.ledger.plan(batch.archive, "p1") or ()
        assert (state.done_at, state.counts) == (NOW, COUNTS)

    @pytest.mark.parametrize(
        ("counts", "reason"),
        [
            (Counts(), "the zip has no members"),
            (
                Counts(members=3, skipped={"text": 3}),
                "all of its members are skipped: 3 text",
            ),
        ],
    )
    def test_an_archive_without_images_and_refusals_is_empty(self, counts: Counts, reason: str) -> None:
        (batch,) = self.planned(1)
        self.ledger.finish(batch, counts, NOW)
        assert self.end(batch.archive, "p1") == (State.EMPTY, counts, reason)
        assert self.ledger.is_terminal(batch.archive, "p1")
        assert self.ledger.list_open(self.source, "p1") == []

    def test_an_empty_archive_that_is_replayed_ends_by_its_new_counts(self) -> None:
        (batch,) = self.planned(1)
        self.ledger.finish(batch, Counts(members=1, skipped={"text": 1}), NOW)
        (state,) = self.ledger.reset(batch.archive, "p1", SOON, SOON) or ()
        assert not self.ledger.is_terminal(batch.archive, "p1")
        self.ledger.finish(state.batch, COUNTS, SOON)
        assert self.end(batch.archive, "p1") == (State.PROCESSED, COUNTS, None)

    def test_an_archive_whose_every_image_was_refused_is_refused(self) -> None:
        first, second = self.planned(2)
        self.ledger.finish(first, Counts(members=2, refused=1, refused_kinds={".h5": 1}, skipped={"folder": 1}), NOW)
        self.ledger.finish(second, Counts(members=4, refused=4, refused_kinds={".h5": 3, ".jpg": 1}), NOW)
        state, counts, reason = self.end(first.archive, "p1")
        kinds = {".h5": 4, ".jpg": 1}
        assert counts == Counts(members=6, refused=5, refused_kinds=kinds, skipped={"folder": 1})
        assert (state, reason) == (State.REFUSED, "none of its 6 members gave an image (4 .h5, 1 .jpg, 1 skipped)")

    def test_its_reason_quotes_the_commonest_one_of_its_members(self) -> None:
        batches = self.planned(3)
        for batch, refused, reason in zip(batches, (3, 2, 2), ("no image", "too large", "too large"), strict=True):
            self.ledger.finish(batch, Counts(members=3, refused=refused), NOW, Notes(reason=reason))
        state, _, said = self.end(batches[0].archive, "p1")
        assert (state, said) == (State.REFUSED, "none of its 9 members gave an image (7 refused): too large")

    def test_what_a_batch_came_upon_is_kept_with_it(self) -> None:
        first, second = self.planned(2)
        notes = Notes(reason="no image", near={"LIMIT_PIXELS": 0.9})
        self.ledger.finish(first, COUNTS, NOW, notes)
        self.ledger.finish(second, COUNTS, NOW)
        assert [state.notes for state in self.ledger.plan(first.archive, "p1") or ()] == [notes, Notes()]

    def test_a_refused_archive_has_no_batches_and_is_not_planned(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        self.ledger.refuse(archive, "p1", "its directory is unreadable", NOW)
        found = self.ledger.plan(archive, "p1")
        assert found is not None
        assert list(found) == []
        assert self.ledger.plan(archive, "p2") is None
        assert self.end(archive, "p1") == (State.REFUSED, None, "its directory is unreadable")

    def test_the_first_reason_stays(self) -> None:
        archive = archive_of(self.source)
        self.ledger.refuse(archive, "p1", "first", NOW)
        self.ledger.refuse(archive, "p1", "second", SOON)
        assert self.end(archive, "p1") == (State.REFUSED, None, "first")

    def test_what_finishes_after_it_was_given_up_is_processed_all_the_same(self) -> None:
        (batch,) = self.planned(1)
        self.ledger.fail(batch.archive, "p1", "tries are spent", NOW)
        assert self.end(batch.archive, "p1") == (State.FAILED, None, "tries are spent")
        self.ledger.finish(batch, COUNTS, SOON)
        assert self.end(batch.archive, "p1")[:2] == (State.PROCESSED, COUNTS)

    @pytest.mark.parametrize("failed", ["in order", "given up"])
    def test_redriving_counts_an_attempt_for_the_first_to_do_so(self, failed: str) -> None:
        (batch,) = self.planned(1)
        if failed == "in order":
            self.claim(batch, "one")
            self.ledger.release(batch, "one", NOW, "busy")
        else:
            self.ledger.given_up(batch, "its message was given up", NOW)
        state = self.state(batch)
        later = SOON + timedelta(minutes=30)
        assert state.failures
        assert self.ledger.schedule_redrive(state, SOON, later)
        assert not self.ledger.schedule_redrive(state, SOON, later)
        state = self.state(batch)
        assert (state.attempts, state.next_drive, state.failures, state.put_at) == (1, later, 0, SOON)

    def test_a_batch_that_only_waits_or_whose_owner_vanished_spends_no_attempt(self) -> None:
        (batch,) = self.planned(1)
        for later in (SOON, SOON + timedelta(minutes=30)):
            assert self.ledger.schedule_redrive(self.state(batch), NOW, later)
            assert (self.state(batch).attempts, self.state(batch).next_drive) == (0, later)
        self.claim(batch, "one", NOW, NOW)
        self.ledger.schedule_redrive(self.state(batch), NOW, SOON)
        state = self.state(batch)
        assert (state.attempts, state.claim.kind, list(state.claim.vanished)) == (0, None, [NOW])

    def test_redriving_takes_no_claim_away_that_stands(self) -> None:
        (batch,) = self.planned(1)
        self.claim(batch, "one")
        assert self.ledger.schedule_redrive(self.state(batch), NOW, SOON)
        assert self.claim(batch, "two") is None

    def test_what_is_driven_without_being_counted_keeps_its_failures(self) -> None:
        (batch,) = self.planned(1)
        self.claim(batch, "one")
        self.ledger.release(batch, "one", NOW, "busy")
        assert self.ledger.schedule_redrive(self.state(batch), SOON, SOON, counted=False)
        assert (self.state(batch).attempts, self.state(batch).failures) == (0, 1)

    def test_of_ten_that_redrive_at_once_one_does(self) -> None:
        (batch,) = self.planned(1)
        state = self.state(batch)
        with ThreadPoolExecutor(10) as pool:
            drives = list(pool.map(lambda _: self.ledger.schedule_redrive(state, NOW, SOON), range(10)))
        assert drives.count(True) == 1

    def test_repairs_are_counted_over_replays(self) -> None:
        (batch,) = self.planned(1)
        self.ledger.finish(batch, COUNTS, NOW)
        assert self.ledger.repaired(batch.archive, "p1", NOW) == 1
        assert self.end(batch.archive, "p1")[:2] == (State.PROCESSED, COUNTS)
        self.ledger.reset(batch.archive, "p1", NOW, SOON)
        assert self.ledger.repaired(batch.archive, "p1", SOON) == 2

    def test_the_last_trouble_of_a_batch_is_kept(self) -> None:
        (batch,) = self.planned(1)
        self.ledger.given_up(batch, "first", NOW)
        self.ledger.given_up(batch, "second", SOON)
        (state,) = self.ledger.plan(batch.archive, "p1") or ()
        assert (state.error, state.done_at) == ("second", None)

    def test_unsettled_are_the_raw_archives_without_an_end_under_the_pipeline(self) -> None:
        archives = [archive_of(self.source, f"{number:08}") for number in range(5)]
        raw, processed, refused, failed, planned = archives
        for archive in archives:
            self.ledger.record_raw(archive, NOW)
        self.ledger.insert_plan(batches_of(processed, 1), NOW, SOON)
        self.ledger.finish(batches_of(processed, 1)[0], COUNTS, NOW)
        self.ledger.refuse(refused, "p1", "x", NOW)
        self.ledger.fail(failed, "p1", "x", NOW)
        self.ledger.insert_plan(batches_of(planned, 2), NOW, SOON)
        assert {each.version for each in self.ledger.list_unfinished(self.source, "p1", NOW)} == {
            raw.version,
            planned.version,
        }
        assert len(self.ledger.list_unfinished(self.source, "p2", NOW)) == 5

    def test_unsettled_archives_come_back_as_they_arrived(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        assert list(self.ledger.list_unfinished(self.source, "p1", NOW)) == [archive]

    def test_only_stamps_from_the_given_time_on_are_looked_at(self) -> None:
        old = archive_of(self.source, "aaaaaaaa", NOW - timedelta(seconds=1))
        new = archive_of(self.source, "bbbbbbbb", NOW)
        for archive in (old, new):
            self.ledger.record_raw(archive, NOW)
        assert [each.version for each in self.ledger.list_unfinished(self.source, "p1", NOW)] == [new.version]
        assert set(self.ledger.known(self.source, NOW)) == {new.key}
        assert set(self.ledger.known(self.source, old.stamp)) == {old.key, new.key}

    def test_arriving_twice_keeps_the_first_time(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        self.ledger.record_raw(replace(archive, raw_at=SOON), SOON)
        (found,) = self.ledger.list_unfinished(self.source, "p1", NOW)
        assert found.raw_at == NOW

    def state(self, batch: Batch) -> BatchState:
        """Read a batch as the ledger has it now."""
        return (self.ledger.plan(batch.archive, batch.pipeline) or ())[batch.number]

    @pytest.mark.parametrize("end", ["processed", "refused", "failed", "processing"])
    def test_what_is_taken_back_is_as_if_nobody_had_begun(self, end: str) -> None:
        first, second = self.planned(2)
        self.claim(second, "one")
        self.ledger.schedule_redrive(self.state(second), NOW, SOON)
        self.ledger.given_up(second, "it broke", NOW)
        self.ledger.finish(first, COUNTS, NOW)
        if end == "processed":
            self.ledger.finish(second, COUNTS, NOW)
        elif end != "processing":
            getattr(self.ledger, end.removesuffix("ed").replace("refus", "refuse"))(first.archive, "p1", "why", NOW)
        later = SOON + timedelta(hours=1)
        states = self.ledger.reset(first.archive, "p1", SOON, later)
        assert ranges(states) == [(0, 0, 10), (1, 10, 20)]
        assert {(s.done_at, s.attempts, s.next_drive, s.counts, s.error) for s in states or ()} == {
            (None, 0, later, None, None)
        }
        assert self.end(first.archive, "p1") == (State.PROCESSING, None, None)
        assert [each.version for each in self.ledger.list_unfinished(self.source, "p1", NOW)] == [first.archive.version]
        assert self.claim(second, "two") == 0
        for batch in (first, second):
            self.ledger.finish(batch, COUNTS, SOON)
        assert self.end(first.archive, "p1") == (State.PROCESSED, COUNTS + COUNTS, None)

    def test_what_was_refused_without_a_plan_is_to_be_planned_after_it_was_taken_back(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        self.ledger.refuse(archive, "p1", "its directory is unreadable", NOW)
        assert self.ledger.reset(archive, "p1", SOON, SOON) is None
        assert self.ledger.plan(archive, "p1") is None
        assert len(self.ledger.list_unfinished(self.source, "p1", NOW)) == 1
        assert self.ledger.insert_plan(batches_of(archive, 1), NOW, SOON)
        self.ledger.finish(batches_of(archive, 1)[0], COUNTS, SOON)
        assert self.end(archive, "p1") == (State.PROCESSED, COUNTS, None)

    def test_what_a_pipeline_never_saw_cannot_be_taken_back_and_others_are_left_alone(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        self.ledger.refuse(archive, "p1", "why", NOW)
        assert self.ledger.reset(archive, "p2", SOON, SOON) is None
        assert self.end(archive, "p1")[0] is State.REFUSED
        assert self.ledger.plan(archive, "p2") is None

    def test_who_works_by_a_plan_that_was_taken_back_settles_nothing(self) -> None:
        batch = self.planned(1)[0]
        late = self.state(batch).batch
        assert self.ledger.reset(batch.archive, "p1", NOW, SOON)
        self.ledger.fail(batch.archive, "p1", "late", SOON, late)
        self.ledger.refuse(batch.archive, "p1", "late", SOON, late)
        assert len(self.ledger.list_open(self.source, "p1")) == 1, "what was taken back is open"
        with pytest.raises(PermanentError, match="replaced"):
            self.claim(late, "late")
        with pytest.raises(PermanentError, match="replaced"):
            self.ledger.given_up(late, "late", NOW)
        with pytest.raises(PermanentError, match="replaced"):
            self.ledger.finish(late, COUNTS, SOON)
        assert self.end(batch.archive, "p1")[::2] == (State.PROCESSING, None)
        assert self.state(batch).done_at is None
        self.ledger.refuse(batch.archive, "p1", "of now", SOON, self.state(batch).batch)
        assert self.end(batch.archive, "p1")[::2] == (State.REFUSED, "of now")

    def test_ten_that_take_back_at_once_leave_one_plan_that_can_be_finished(self) -> None:
        batches = self.planned(3)
        archive = batches[0].archive
        self.ledger.fail(archive, "p1", "why", NOW)
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: self.ledger.reset(archive, "p1", NOW, SOON), range(10)))
        for state in self.ledger.plan(archive, "p1") or ():
            self.ledger.finish(state.batch, COUNTS, SOON)
        assert self.end(archive, "p1") == (State.PROCESSED, sum([COUNTS] * 3, start=Counts()), None)

    def test_what_could_not_be_planned_is_counted_and_stays_to_be_planned(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record_raw(archive, NOW)
        assert [self.ledger.unplanned(archive, "p1", "it died", NOW) for _ in range(3)] == [1, 2, 3]
        assert self.ledger.plan(archive, "p1") is None
        assert len(self.ledger.list_unfinished(self.source, "p1", NOW)) == 1
        self.ledger.reset(archive, "p1", NOW, SOON)
        assert self.ledger.unplanned(archive, "p1", "it died", NOW) == 1


class TestMemoryBatchLedger(BatchLedgerContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.memory = MemoryBatchLedger()
        self.ledger = self.memory
        self.source = "radar"

    def end(self, archive: RawArchive, pipeline: str) -> tuple[State, Counts | None, str | None]:
        row = self.memory.pipelines[archive.key, pipeline]
        return State(row.end or "processing"), row.sums, row.reason


class TestTableBatchLedger(BatchLedgerContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.ledger = TableBatchLedger(clients)
        self.source = source
        self.clients = clients

    def end(self, archive: RawArchive, pipeline: str) -> tuple[State, Counts | None, str | None]:
        entry = self.entry(archive, pipeline)
        return entry.state, entry.counts, entry.reason

    def entry(self, archive: RawArchive, pipeline: str | None) -> Entry:
        found = entries(self.clients, archive.source, pipeline=pipeline)
        return next(entry for entry in found if entry.archive.version == archive.version)

    def forget(self, archive: RawArchive, rows: Sequence[str]) -> None:
        partition = archive.key.partition("p1")
        for row in rows:
            self.clients.batches.delete_entity(partition, row)

    def test_a_planner_that_died_before_its_last_rows_left_a_plan_that_is_completed(self) -> None:
        batches = self.planned(250)
        self.forget(batches[0].archive, [f"{number:04}" for number in range(100, 250)])
        self.ledger.finish(batches[3], COUNTS, NOW)
        states = self.ledger.plan(batches[0].archive, "p1")
        assert states is not None
        assert [state.batch for state in states] == batches
        assert [state.batch.number for state in states if state.done_at] == [3]

    def test_an_archive_is_not_processed_while_rows_of_its_plan_are_missing(self) -> None:
        batches = self.planned(2)
        self.forget(batches[0].archive, ["0001"])
        self.ledger.finish(batches[0], COUNTS, NOW)
        assert self.end(batches[0].archive, "p1")[0] is State.PROCESSING

    def test_rows_of_a_plan_that_the_ledger_forgot_do_not_count(self) -> None:
        batches = self.planned(3)
        archive = batches[0].archive
        for batch in batches:
            self.ledger.finish(batch, COUNTS, NOW)
        row = archive.key.ledger_row("p1")
        self.clients.archives.delete_entity(archive.source, row)
        assert self.ledger.plan(archive, "p1") is None
        assert self.ledger.insert_plan(batches_of(archive, 2, members=64), NOW, SOON)
        states = self.ledger.plan(archive, "p1")
        assert ranges(states) == [(0, 0, 64), (1, 64, 128)]
        assert [state.done_at for state in states or ()] == [None, None]

    def test_a_batch_of_a_plan_that_was_replaced_finishes_nothing(self) -> None:
        (batch,) = self.planned(1)
        with pytest.raises(PermanentError, match="replaced"):
            self.ledger.finish(replace(batch, end=batch.end + 1), COUNTS, NOW)
        with pytest.raises(PermanentError, match="never planned"):
            self.ledger.finish(replace(batch, number=7), COUNTS, NOW)
        assert self.end(batch.archive, "p1")[0] is State.PROCESSING

    def test_what_an_archive_was_before_it_was_taken_back_is_kept(self) -> None:
        (batch,) = self.planned(1)
        for number in range(2):
            self.ledger.fail(batch.archive, "p1", f"reason {number}", NOW)
            self.ledger.reset(batch.archive, "p1", SOON, SOON)
        row = self.clients.archives.get_entity(self.source, batch.archive.key.ledger_row("p1"))
        replayed = {name: row[name] for name in ("replays", "replayed_at", "replayed_state", "replayed_reason")}
        assert replayed == {
            "replays": 2,
            "replayed_at": SOON,
            "replayed_state": "failed",
            "replayed_reason": "reason 1",
        }

    def test_a_reader_of_a_plan_that_was_taken_back_meanwhile_leaves_the_next_one_alone(self) -> None:
        (batch,) = self.planned(1)
        archive = batch.archive
        partition = archive.key.partition("p1")
        row = self.clients.archives.get_entity(archive.source, archive.key.ledger_row("p1"))
        read_before = read_plan(row)
        assert read_before is not None
        self.ledger.reset(archive, "p1", NOW, SOON)
        self.ledger.finish(self.state(batch).batch, COUNTS, SOON)
        assert rows_of(self.clients.batches, partition, read_before, lambda: False) is None
        assert self.state(batch).done_at == SOON

    def test_what_copying_wrote_suffices_to_drive_an_archive_whose_event_was_lost(self) -> None:
        file = RemoteFile(path="out/a.zip", size=9, modified=NOW)
        copied = Archive(source=self.source, file=file, version="0123abcd", stamp=NOW)
        TableCopyLedger(self.clients).record(copied, Step.RAW, NOW)
        (found,) = self.ledger.list_unfinished(self.source, "p1", NOW)
        assert found.blob == ArchiveKey(self.source, NOW, "0123abcd").raw_blob("out/a.zip")
        assert (found.size, found.etag, found.raw_at) == (9, "", NOW)
