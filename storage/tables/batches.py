"""The preprocessing side of the ledger: an archive under a pipeline, and its batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableEntity, UpdateMode

from config import telemetry
from imagefeed.azure_errors import azure_errors
from imagefeed.entities import Properties, find, moment, scan, text
from imagefeed.layout import batch_row, behind_stamp
from imagefeed.ledger import ARCHIVE_COLUMNS, TERMINAL, raw_archive, state_of, time_of
from imagefeed.model import ArchiveKey, Counts, RawArchive, State
from preprocess.model import Batch, BatchState
from preprocess.plan import halve
from storage.clients import Clients
from storage.tables.archives import raw_properties
from storage.tables.batch_rows import NO_MEMBER, batch_state, count_crash, count_properties, crashes_of, present
from storage.tables.entities import Decide, change, set_once
from storage.tables.plans import insert_rows, plan_properties, read_plan, rows_of
from storage.tables.reset import renewed


class TableBatchLedger:
    """The archives and the batches table; a BatchLedger."""

    def __init__(self, clients: Clients) -> None:
        self._archives = clients.archives
        self._batches = clients.batches

    def record_raw(self, archive: RawArchive, at: datetime) -> None:
        """Make sure that the archive has its row, with the time it became raw."""
        row = archive.key.ledger_row()
        set_once(self._archives, archive.source, row, {**raw_properties(archive), time_of(State.RAW): at})

    def plan(self, archive: RawArchive, pipeline: str) -> Sequence[BatchState] | None:
        """The batches of an archive's plan; none of them where it was settled without a plan; None if neither."""
        row = self._find(archive, pipeline)
        if row is None:
            return None
        plan = read_plan(row)
        if plan is None:
            return () if state_of(row) in TERMINAL else None

        def stands() -> bool:
            now = self._find(archive, pipeline)
            return read_plan(now) == plan

        rows = rows_of(self._batches, archive.key.partition(pipeline), plan, stands)
        if rows is None:
            return self.plan(archive, pipeline)
        return [batch_state(archive, pipeline, entity, len(rows)) for entity in rows]

    def insert_plan(self, batches: Sequence[Batch], at: datetime, next_drive: datetime) -> bool:
        """Decide on a plan, with the number of its batches, then insert its rows; False if there was one already.

        A planner that dies in between leaves no harm: `plan` inserts the rows that are missing.
        """
        archive, pipeline = batches[0].archive, batches[0].pipeline
        proposed = plan_properties(uuid4().hex, batches, next_drive)

        def decide(row: TableEntity | None) -> Properties | None:
            if row is not None and (row.get("plan") is not None or state_of(row) in TERMINAL):
                return None
            return {**raw_properties(archive), "pipeline": pipeline, **proposed, time_of(State.PROCESSING): at}

        decided = change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide)
        plan = read_plan(proposed) if decided else None
        if plan is None or not insert_rows(self._batches, archive.key.partition(pipeline), plan):
            # Another's plan, or rows in the way: look, and complete what stands.
            self.plan(archive, pipeline)
        return decided

    def split(self, batch: Batch, next_drive: datetime) -> Sequence[Batch]:
        """Replace a batch by two in its plan, by one write to the ledger; then `plan` makes their rows."""
        archive, pipeline = batch.archive, batch.pipeline
        halves = halve(batch)

        def decide(row: TableEntity | None) -> Properties | None:
            plan = read_plan(row)
            if row is None or plan is None or batch.plan not in ("", plan.name) or state_of(row) in TERMINAL:
                return None
            if plan.ranges[batch.number] != (batch.first, batch.end):
                return None
            batches = [replace(batch, first=first, end=end) for first, end in plan.ranges]
            batches[batch.number], last = halves
            return plan_properties(plan.name, [*batches, last], next_drive)

        if not change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide):
            return ()
        ranges = [(half.first, half.end) for half in halves]
        batches = [state.batch for state in self.plan(archive, pipeline) or ()]
        return [planned for planned in batches if (planned.first, planned.end) in ranges]

    def claim(self, batch: Batch, owner: str, at: datetime, until: datetime) -> int:
        """Note who works on a batch; 0 if it is done, or another owner's unexpired claim stands."""
        owners = 0

        def decide(row: TableEntity | None) -> Properties | None:
            nonlocal owners
            row = present(row, batch)
            claimed_until = moment(row.get("claimed_until"))
            new = row.get("owner") != owner
            if row.get("done_at") is not None or (new and claimed_until is not None and claimed_until > at):
                return None
            owners = row.get("owners", 0) + new
            claimed = {"owner": owner, "claimed_until": until, "owners": owners, "tried": True}
            return {**claimed, **count_crash(row)} if new else claimed

        return owners if self._change(batch, decide) else 0

    def begin(self, batch: Batch, member: int | None) -> int:
        """Record the member that the owner is at, None for none; return how many owners crashed at it before."""
        crashes = 0

        def decide(row: TableEntity | None) -> Properties:
            nonlocal crashes
            crashes = crashes_of(present(row, batch)).get(str(member), 0)
            return {"current_member": NO_MEMBER if member is None else member}

        self._change(batch, decide)
        return crashes

    def trouble(self, batch: Batch, error: str, at: datetime) -> None:
        """Note why a batch failed this time."""

        def decide(row: TableEntity | None) -> Properties | None:
            present(row, batch)
            return {"error": text(error), "error_at": at, "current_member": NO_MEMBER, "tried": True}

        self._change(batch, decide)

    def finish(self, batch: Batch, counts: Counts, at: datetime) -> None:
        """Write a batch's counts; if all batches are done, merge the archive's end and sums into the ledger."""

        def decide(row: TableEntity | None) -> Properties | None:
            done = present(row, batch).get("done_at") is not None
            return None if done else {"done_at": at, **count_properties(counts)}

        self._change(batch, decide)
        # Asked also if it was done before: whoever did that may have died right here.
        states = self.plan(batch.archive, batch.pipeline) or ()
        done = [state.counts for state in states if state.counts is not None]
        if states and len(done) == len(states):
            self._settle(states[0].batch, sum(done, start=Counts()), at)

    def refuse(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Settle a whole archive as refused; because of a batch: only while that batch's plan stands."""
        self._end(archive, pipeline, State.REFUSED, at, {"reason": text(reason)}, batch)

    def fail(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Settle an archive whose tries are spent as failed; because of a batch: while that batch's plan stands."""
        self._end(archive, pipeline, State.FAILED, at, {"reason": text(reason)}, batch)

    def reset(
        self, archive: RawArchive, pipeline: str, at: datetime, next_drive: datetime
    ) -> Sequence[BatchState] | None:
        """Undo what became of an archive under a pipeline, and give its batches back as if they were new."""
        again = partial(renewed, at=at, next_drive=next_drive)
        if not change(self._archives, archive.source, archive.key.ledger_row(pipeline), again, UpdateMode.REPLACE):
            return None
        # This replaces the rows of the old plan, and with them claims, tries and ends.
        return self.plan(archive, pipeline)

    def unplanned(self, archive: RawArchive, pipeline: str, error: str, at: datetime) -> int:
        """Note why an archive could not be planned; how often that was so."""
        return self._count(archive, pipeline, "unplanned", {"error": text(error), "error_at": at})

    def repaired(self, archive: RawArchive, pipeline: str, at: datetime) -> int:
        """Note that lost results of an archive are to be made again; how often that was so, with this one."""
        return self._count(archive, pipeline, "repairs", {"repaired_at": at})

    def schedule_redrive(self, state: BatchState, next_drive: datetime) -> bool:
        """Set `next_drive`, and count an attempt if it was tried; False if somebody else did since `state` was read."""
        properties = {"attempts": state.attempts + state.tried, "tried": False, "next_drive": next_drive}
        entity = {**_key(state.batch), **properties}
        with azure_errors(f"schedule the redrive of batch {state.batch.number} of {state.batch.archive.blob}"):
            try:
                self._batches.update_entity(
                    entity, UpdateMode.MERGE, etag=state.etag, match_condition=MatchConditions.IfNotModified
                )
            except HttpResponseError as exc:
                if exc.status_code != 412:
                    raise
                return False
        return True

    def list_unfinished(self, source: str, pipeline: str, since: datetime) -> Sequence[RawArchive]:
        """Raw archives with a stamp from `since` on that are not processed, refused or failed under `pipeline`."""
        raw: dict[str, RawArchive] = {}
        settled: set[str] = set()
        for row in self._since(source, since):
            archive = row["RowKey"].removesuffix(f"~{pipeline}")
            if row.get("pipeline") == pipeline and state_of(row) in TERMINAL:
                settled.add(archive)
            elif row.get("pipeline") is None and row.get(time_of(State.RAW)) is not None:
                raw[archive] = raw_archive(source, row)
        return [archive for row, archive in raw.items() if row not in settled]

    def known(self, source: str, since: datetime) -> set[ArchiveKey]:
        """Every archive with a stamp from `since` on whose row has the time it became raw."""
        rows = (row for row in self._since(source, since) if row.get("pipeline") is None)
        return {raw_archive(source, row).key for row in rows if row.get(time_of(State.RAW)) is not None}

    def _since(self, source: str, since: datetime) -> Iterator[TableEntity]:
        # Stamps are inverted, so `since` is where the rows end.
        return scan(self._archives, source, end=behind_stamp(since), select=ARCHIVE_COLUMNS)

    def _find(self, archive: RawArchive, pipeline: str) -> TableEntity | None:
        return find(self._archives, archive.source, archive.key.ledger_row(pipeline))

    def _change(self, batch: Batch, decide: Decide) -> bool:
        key = _key(batch)
        return change(self._batches, key["PartitionKey"], key["RowKey"], decide)

    def _count(self, archive: RawArchive, pipeline: str, counter: str, properties: Properties) -> int:
        """Raise a counter by one, and set properties beside it; return the new count."""
        times = 0

        def decide(row: TableEntity | None) -> Properties:
            nonlocal times
            times = 1 if row is None else row.get(counter, 0) + 1
            known = {**raw_properties(archive), "pipeline": pipeline} if row is None else {}
            return {**known, **properties, counter: times}

        change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide)
        return times

    def _settle(self, batch: Batch, sums: Counts, at: datetime) -> None:
        archive, pipeline, counts = batch.archive, batch.pipeline, count_properties(sums)
        if sums.images == 0 and sums.refused > 0:
            reason = f"every one of its {sums.refused} image members was refused: see their rows"
            self._end(archive, pipeline, State.REFUSED, at, {**counts, "reason": reason}, batch)
        else:
            self._end(archive, pipeline, State.PROCESSED, at, counts, batch)

    def _end(
        self,
        archive: RawArchive,
        pipeline: str,
        state: State,
        at: datetime,
        properties: Properties,
        batch: Batch | None,
    ) -> None:
        """Set the time of an end once; what is told with it belongs to the one who set it."""
        known = {**raw_properties(archive), "pipeline": pipeline}

        def decide(row: TableEntity | None) -> Properties | None:
            if row is not None and row.get(time_of(state)) is not None:
                return None
            if batch is not None and batch.plan and (row is None or row.get("plan") != batch.plan):
                return None
            return {**(known if row is None else {}), **properties, time_of(state): at}

        if change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide):
            lag = at - archive.modified if archive.modified and state is State.PROCESSED else None
            telemetry.terminal(archive.source, state, lag)


def _key(batch: Batch) -> dict[str, str]:
    return {"PartitionKey": batch.archive.key.partition(batch.pipeline), "RowKey": batch_row(batch.number)}
