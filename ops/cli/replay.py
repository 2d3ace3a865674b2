"""The command `replay`: archives are done again, given-up messages and events go back to work."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.errors import SettingsError
from config.settings import read_pipeline
from imagefeed.errors import PermanentError
from imagefeed.layout import RAW_CONTAINER
from imagefeed.model import RawArchive, State
from ops.cli.images import console
from ops.cli.selection import ended, find_archive, history
from ops.text import count
from preprocess.context import ReplayContext
from preprocess.event import archive_blob
from preprocess.recipe import identify
from preprocess.recovery.dead_letters import send_back
from preprocess.recovery.replay import ReplayOutcome, behind_live_work, redrive, replay
from storage.blobs.pipelines import check_pipeline
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import stat_blob
from storage.clients import Clients
from storage.queues.dead_letters import dead_letters, poison_messages
from storage.queues.messages import BatchMessages
from storage.tables.batches import TableBatchLedger

_AHEAD = timedelta(days=2)
"""Stamps may be ahead of the clock."""


@dataclass(frozen=True, kw_only=True)
class _Command:
    """One run: what it works with, and what it was told."""

    clients: Clients
    replaying: ReplayContext
    most: int
    pause: Callable[[float], None]


def run(chosen: argparse.Namespace, clients: Clients, pause: Callable[[float], None] = time.sleep) -> None:
    """Run the command. Raises PipelineError, and KeyboardInterrupt after telling how to go on."""
    given_up = chosen.poison or chosen.dead_letters
    ends = [state for state, wanted in ((State.REFUSED, chosen.refused), (State.FAILED, chosen.failed)) if wanted]
    _check(chosen, sum(map(bool, (given_up, ends, chosen.archive))))
    if given_up:
        _send_back(chosen, clients)
        return
    command = _Command(clients=clients, replaying=_replaying(chosen, clients), most=chosen.at_most, pause=pause)
    pipeline = command.replaying.pipeline
    until = chosen.until or datetime.now(UTC) + _AHEAD
    if chosen.archive:
        _ask([find_archive(clients, name, pipeline) for name in chosen.archive], replay, command)
    elif ends:
        _ask(ended(clients, chosen.source, pipeline, ends, chosen.since, until), replay, command)
    else:
        there = history(clients, chosen.source, pipeline, chosen.since, until)
        told = ", ".join(f"{number} {state}" for state, number in there.passed_over.items())
        console().print(f"pipeline {pipeline}: {count(len(there.due), 'archive')} to do; passed over: {told}")
        _ask(there.due, redrive, command)


def _check(chosen: argparse.Namespace, ways: int) -> None:
    """Insist on one way of saying what is meant. Raises PermanentError."""
    by_time = not (chosen.poison or chosen.dead_letters or chosen.archive)
    history_of_none = ways == 0 and chosen.source is None
    if ways > 1 or (by_time and chosen.since is None) or history_of_none:
        raise PermanentError(
            "replay: say what is meant in one way: --archive; --refused or --failed with --since; --source with "
            "--since; --poison or --dead-letters; see --help"
        )
    if chosen.at_most < 1:
        raise PermanentError("replay --at-most: it must be 1 or more, else nothing could ever be asked for")


def _send_back(chosen: argparse.Namespace, clients: Clients) -> None:
    announced = partial(archive_blob, container=RAW_CONTAINER)
    for wanted, what, found in (
        (chosen.poison, "poison messages", poison_messages(clients)),
        (chosen.dead_letters, "dead letters", dead_letters(clients, announced)),
    ):
        if wanted:
            done = send_back(found)
            console().print(
                f"{what}: {done.taken} sent back to work, {done.kept} that make no sense kept in the container "
                f"{clients.state.container_name} under poison/, {done.left} left"
            )


def _replaying(chosen: argparse.Namespace, clients: Clients) -> ReplayContext:
    recipe, pipeline = read_pipeline()
    identity = identify(recipe, pipeline.name)
    if chosen.pipeline not in (None, identity.pipeline):
        raise SettingsError(
            f"replay --pipeline {chosen.pipeline}: the settings make the pipeline {identity.pipeline}; the app works "
            "by one pipeline, so set PREPROCESS_ and PIPELINE_NAME in the app and here, or leave --pipeline out"
        )
    check_pipeline(clients, identity.pipeline, identity.fingerprint)
    return ReplayContext(
        raw=RawBlobs(clients, lambda _source, _name: None),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        pipeline=identity.pipeline,
        redrive_after=pipeline.redrive_after,
    )


def _ask(
    archives: Sequence[RawArchive], how: Callable[[RawArchive, ReplayContext], ReplayOutcome], command: _Command
) -> None:
    """Ask for archives one by one, behind what waits already, and tell what became of it."""
    became: Counter[ReplayOutcome] = Counter()
    offline: list[str] = []
    try:
        with closing(_paced(archives, command)) as paced:
            for archive in paced:
                asked = how(archive, command.replaying)
                became[asked] += 1
                if asked is ReplayOutcome.OFFLINE:
                    offline.append(archive.blob)
    except KeyboardInterrupt:
        console().print(f"stopped: {_told(became)}; {len(archives) - became.total()} to go: type the same again")
        raise
    console().print(f"{count(len(archives), 'archive')}: {_told(became)}")
    _tell_offline(offline, command.clients)


def _paced(archives: Sequence[RawArchive], command: _Command) -> Generator[RawArchive]:
    """Give one after the other, never faster than the app takes them, under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task("replay", total=len(archives))

        def wait(messages: int) -> None:
            progress.update(task, description=f"replay ({messages} on the queue)")
            command.pause(1)

        waiting = BatchMessages(command.clients).waiting
        for archive in behind_live_work(archives, waiting, command.most, wait):
            yield archive
            progress.advance(task)


def _told(became: Counter[ReplayOutcome]) -> str:
    return ", ".join(f"{number} {asked}" for asked, number in became.items()) or "nothing to do"


def _tell_offline(blobs: Sequence[str], clients: Clients) -> None:
    for blob in blobs:
        found = stat_blob(clients.raw, blob)
        status = found.archive_status if found else None
        console().print(f"{blob!r}: in the archive tier{f', {status}' if status else ''}")
    if blobs:
        raise PermanentError(
            f"replay: {len(blobs)} of the archives are in the archive tier, or on their way back from there: set their "
            "blobs' access tier to hot or cool, wait until they are there (up to 15 hours), and type the same again"
        )
