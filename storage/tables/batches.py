"""The preprocessing side of the ledger: an archive under a pipeline, and its batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial, reduce
from itertools import batched
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableEntity, TableTransactionError, UpdateMode

from config import telemetry
from config.near import highest
from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.entities import Properties, find, scan, text
from imagefeed.layout import batch_row, behind_stamp
from imagefeed.ledger import ARCHIVE_COLUMNS, TERMINAL, first_processed, raw_archive, state_of, time_of
from imagefeed.model import ArchiveKey, Counts, RawArchive, State
from preprocess.claim import MOST_DEQUEUES, VANISHED_WITHIN, Claim, ClaimKind
from preprocess.model import Batch, BatchState, Notes, OpenArchive
from preprocess.plan import end_of, halve
from preprocess.ports import NO_CLAIMS, NO_NOTES
from storage.clients import Clients
from storage.tables.archives import raw_properties
from storage.tables.batch_rows import batch_state, count_properties, near_properties, note_properties, present
from storage.tables.claims import claim_properties, read_claim
from storage.tables.entities import Decide, change, set_once
from storage.tables.open_archives import OpenArchives
from storage.tables.plans import TRANSACTION_ROWS, insert_rows, plan_properties, read_plan, rows_of
from storage.tables.reset import renewed

_SURELY_FIRST = timedelta(minutes=2)
"""An archive modified less than this ago counts as never processed, to save a request per archive."""


class TableBatchLedger:
    """The archives and the batches table; a BatchLedger."""

    def __init__(self, clients: Clients) -> None:
        self._archives = clients.archives
        self._batches = clients.batches
        self._open = OpenArchives(clients)

    def record_raw(self, archive: RawArchive, at: datetime) -> None:
        """Record the archive in the ledger, with the time it became raw, unless that is recorded."""
        row = archive.key.ledger_row()
        set_once(self._archives, archive.source, row, {**raw_properties(archive), time_of(State.RAW): at})

    def plan(self, archive: RawArchive, pipeline: str) -> Sequence[BatchState] | None:
        """Return the batches of an archive's plan; empty if it ended without a plan; None if it has neither."""
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

    def insert_plan(
        self, batches: Sequence[Batch], at: datetime, next_drive: datetime, claimed: Mapping[int, Claim] = NO_CLAIMS
    ) -> str | None:
        """Record a plan, insert its rows, and return its name; None if there was one already.

        If the process dies in between, `plan` later inserts the missing rows.
        """
        archive, pipeline = batches[0].archive, batches[0].pipeline
        proposed = plan_properties(uuid4().hex, batches, next_drive)

        def decide(row: TableEntity | None) -> Properties | None:
            if row is not None and (row.get("plan") is not None or state_of(row) in TERMINAL):
                return None
            return {**raw_properties(archive), "pipeline": pipeline, **proposed, time_of(State.PROCESSING): at}

        decided = change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide)
        plan = read_plan(proposed) if decided else None
        if plan is None or not insert_rows(self._batches, archive.key.partition(pipeline), plan, claimed):
            # Another plan was recorded first, or other rows exist: complete the recorded plan.
            self.plan(archive, pipeline)
        return plan.name if plan else None

    def split(self, batch: Batch, next_drive: datetime) -> Sequence[Batch]:
        """Replace a batch by two halves in its plan, by one ledger write; return them, none if the plan changed."""
        archive, pipeline = batch.archive, batch.pipeline
        halves = halve(batch)

        def decide(row: TableEntity | None) -> Properties | None:
            plan = read_plan(row)
            if row is None or plan is None or batch.plan not in ("", plan.name) or state_of(row) in TERMINAL:
                return None
            if batch.number >= len(plan.ranges) or plan.ranges[batch.number] != (batch.first, batch.end):
                return None
            batches = [replace(batch, first=first, end=end) for first, end in plan.ranges]
            batches[batch.number], last = halves
            return plan_properties(plan.name, [*batches, last], next_drive)

        if not change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide):
            return ()
        ranges = [(half.first, half.end) for half in halves]
        batches = [state.batch for state in self.plan(archive, pipeline) or ()]
        return [planned for planned in batches if (planned.first, planned.end) in ranges]

    def claim(self, batch: Batch, owner: str, kind: ClaimKind, at: datetime, until: datetime) -> int | None:
        """Claim a batch; return how many of its owners vanished recently, None if it is done or another owner's."""
        claim: Claim | None = None

        def decide(row: TableEntity | None) -> Properties | None:
            nonlocal claim
            row = present(row, batch)
            claim = None if row.get("done_at") is not None else read_claim(row).taken(owner, kind, at, until)
            return None if claim is None else claim_properties(claim)

        self._change(batch, decide)
        return None if claim is None else len(claim.vanished_since(at - VANISHED_WITHIN))

    def release(self, batch: Batch, owner: str, at: datetime, error: str | None) -> None:
        """Release the claim if it is still `owner`'s; with an error, record it and that the message will return."""

        def decide(row: TableEntity | None) -> Properties | None:
            claim = read_claim(present(row, batch))
            released = claim_properties(claim.let_go(at)) if claim.owner == owner else {}
            if row is None or row.get("done_at") is not None or error is None:
                return released or None
            return {**released, **_failure(error, at), "failures": row.get("failures", 0) + 1, "put_at": at}

        self._change(batch, decide)

    def given_up(self, batch: Batch, error: str, at: datetime) -> None:
        """Record why the queue gave up a batch's message."""

        def decide(row: TableEntity | None) -> Properties:
            present(row, batch)
            return {**_failure(error, at), "failures": MOST_DEQUEUES}

        self._change(batch, decide)

    def note_put(self, batches: Sequence[Batch], at: datetime) -> None:
        """Record that messages of these batches, of one archive, were put on the queue."""
        for group in batched(batches, TRANSACTION_ROWS, strict=False):
            puts = [("update", {**_key(batch), "put_at": at}, {"mode": UpdateMode.MERGE}) for batch in group]
            with azure_errors(f"note the messages of {group[0].archive.blob}"):
                try:
                    self._batches.submit_transaction(puts)
                except TableTransactionError as exc:
                    # Another planner has not written a row yet: the batch then counts as not put on the queue.
                    if exc.status_code != 404 or error_code(exc) == "TableNotFound":
                        raise

    def open(self, archive: RawArchive, pipeline: str, at: datetime, put_at: datetime | None = None) -> None:
        """Record an archive as open under a pipeline; `put_at` is when a message to plan it was put."""
        self._open.open(archive.key, pipeline, raw_properties(archive), at, put_at)

    def close(self, archive: RawArchive, pipeline: str, etag: str | None = None) -> None:
        """Remove an archive from the open ones; with an ETag, only if its row is unchanged."""
        self._open.close(archive.key, pipeline, etag)

    def list_open(self, source: str, pipeline: str) -> Sequence[OpenArchive]:
        """Return a source's open archives under a pipeline, those with the newest stamps first."""
        return self._open.list(source, pipeline)

    def ask_plan(self, opened: OpenArchive, pipeline: str, at: datetime) -> bool:
        """Record that an archive's plan is requested again; return False if its row changed since it was read."""
        return self._open.ask_plan(opened, pipeline, at)

    def is_terminal(self, archive: RawArchive, pipeline: str) -> bool:
        """Return whether an archive is in a terminal state under a pipeline."""
        row = self._find(archive, pipeline)
        return row is not None and state_of(row) in TERMINAL

    def finish(self, batch: Batch, counts: Counts, at: datetime, notes: Notes = NO_NOTES) -> None:
        """Write a batch's counts and notes; if all are done, write the archive's final state and sums."""

        def decide(row: TableEntity | None) -> Properties | None:
            done = present(row, batch).get("done_at") is not None
            return None if done else {"done_at": at, **count_properties(counts), **note_properties(notes)}

        self._change(batch, decide)
        # Also if the batch was done before, because the process that did it may have died at this point.
        states = self.plan(batch.archive, batch.pipeline) or ()
        done = [state.counts for state in states if state.counts is not None]
        if states and len(done) == len(states):
            self._settle(states, sum(done, start=Counts()), at)

    def refuse(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Record an archive as refused; with a batch, only while that batch's plan is the current one."""
        self._end(archive, pipeline, State.REFUSED, at, {"reason": text(reason)}, batch)

    def fail(self, archive: RawArchive, pipeline: str, reason: str, at: datetime, batch: Batch | None = None) -> None:
        """Record an archive as failed after its last try; with a batch, only while its plan is the current one."""
        self._end(archive, pipeline, State.FAILED, at, {"reason": text(reason)}, batch)

    def reset(
        self, archive: RawArchive, pipeline: str, at: datetime, next_drive: datetime
    ) -> Sequence[BatchState] | None:
        """Undo an archive's outcome under a pipeline; return its batches as new, None if it has no plan."""
        # Opened first: if the process dies after the write, the batches are found to have no messages.
        self.open(archive, pipeline, at)
        again = partial(renewed, at=at, next_drive=next_drive)
        if not change(self._archives, archive.source, archive.key.ledger_row(pipeline), again, UpdateMode.REPLACE):
            return None
        # This replaces the rows of the old plan, including claims, tries and ends.
        return self.plan(archive, pipeline)

    def unplanned(self, archive: RawArchive, pipeline: str, error: str, at: datetime) -> int:
        """Record why an archive could not be planned; return how often that happened."""
        return self._count(archive, pipeline, "unplanned", {"error": text(error), "error_at": at})

    def repaired(self, archive: RawArchive, pipeline: str, at: datetime) -> int:
        """Record that lost results of an archive are to be rebuilt; return how often, including this time."""
        return self._count(archive, pipeline, "repairs", {"repaired_at": at})

    def schedule_redrive(self, state: BatchState, at: datetime, next_drive: datetime, *, counted: bool = True) -> bool:
        """Record that an unclaimed batch is put on the queue at `at`; return False if its row has changed since."""
        claim = state.claim if state.claim.stands(at) else state.claim.ended(at)
        count = {"attempts": state.attempts + (state.failures > 0), "failures": 0} if counted else {}
        entity = {**_key(state.batch), **claim_properties(claim), **count, "next_drive": next_drive, "put_at": at}
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
        """Return raw archives with a stamp from `since` on that are not terminal under `pipeline`."""
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
        """Return the keys of all archives with a stamp from `since` on whose row has the time they became raw."""
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

    def _settle(self, states: Sequence[BatchState], sums: Counts, at: datetime) -> None:
        batch = states[0].batch
        near = reduce(highest, (state.notes.near for state in states))
        properties = {**count_properties(sums), **near_properties(near)}
        state, reason = end_of(states, sums)
        if reason is not None:
            properties["reason"] = text(reason)
        self._end(batch.archive, batch.pipeline, state, at, properties, batch)

    def _end(
        self,
        archive: RawArchive,
        pipeline: str,
        state: State,
        at: datetime,
        properties: Properties,
        batch: Batch | None,
    ) -> None:
        """Record a terminal state with its properties, unless it is recorded already, and close the archive.

        With a batch whose plan was replaced, do nothing.
        """
        known = {**raw_properties(archive), "pipeline": pipeline}
        stands = True

        def decide(row: TableEntity | None) -> Properties | None:
            nonlocal stands
            stands = True
            if row is not None and row.get(time_of(state)) is not None:
                return None
            if batch is not None and batch.plan and (row is None or row.get("plan") != batch.plan):
                stands = False
                return None
            return {**(known if row is None else {}), **properties, time_of(state): at}

        if change(self._archives, archive.source, archive.key.ledger_row(pipeline), decide):
            telemetry.terminal(archive.source, state, self._lag(archive, at) if state is State.PROCESSED else None)
        # Also if the state was set before, since that process may have died here; but not for a replaced plan.
        if stands:
            self.close(archive, pipeline)

    def _lag(self, archive: RawArchive, at: datetime) -> timedelta | None:
        """Return how long an archive took since it was modified; None if unknown, or if it was processed before."""
        if archive.modified is None:
            return None
        lag = at - archive.modified
        if lag < _SURELY_FIRST:
            return lag
        row = archive.key.ledger_row()
        first = first_processed(scan(self._archives, archive.source, first=f"{row}~", end=f"{row}~~"))
        return lag if first is None or first >= at else None


def _failure(error: str, at: datetime) -> Properties:
    return {"error": text(error), "error_at": at}


def _key(batch: Batch) -> dict[str, str]:
    return {"PartitionKey": batch.archive.key.partition(batch.pipeline), "RowKey": batch_row(batch.number)}
