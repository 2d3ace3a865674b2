"""The verb `replay`: has archives preprocessed again, and redrives poison messages and dead letters."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from config.errors import SettingsError
from config.settings import read_pipeline
from imagefeed.errors import PermanentError
from imagefeed.layout import RAW_CONTAINER
from imagefeed.ledger import require_source, sources
from imagefeed.model import RawArchive, State
from imagefeed.terminal import count, progress, write, write_json
from ops.cli.selection import ended, find_archive, history
from ops.health.methods import outdated, read_method
from preprocess.context import ReplayContext
from preprocess.event import archive_blob
from preprocess.recipe import identify
from preprocess.recovery.dead_letters import send_back
from preprocess.recovery.replay import ReplayOutcome, behind_live_work, redrive, replay
from storage.blobs.pipelines import require_running
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import stat_blob
from storage.clients import Clients
from storage.queues.dead_letters import dead_letters, poison_messages
from storage.queues.messages import BatchMessages
from storage.tables.batches import TableBatchLedger

_AHEAD = timedelta(days=2)
"""Default for `--until`, counted from now: stamps may be ahead of the clock."""


@dataclass(frozen=True, kw_only=True)
class _Command:
    """Dependencies and options of one run."""

    clients: Clients
    replaying: ReplayContext
    limit: int
    json: bool
    pause: Callable[[float], None]


def run(
    options: argparse.Namespace,
    clients: Clients,
    texts: Mapping[str, str],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Run the command. Raises PipelineError; on KeyboardInterrupt prints how to go on, then raises it again."""
    given_up = options.poison or options.dead_letters
    ends = [state for state, wanted in ((State.REFUSED, options.refused), (State.FAILED, options.failed)) if wanted]
    _check(options, sum(map(bool, (given_up, ends, options.archive, options.method))))
    if given_up:
        _send_back(options, clients)
        return
    versions = read_method(options.method) if options.method else {}
    replaying, window = _replaying(options, clients, texts)
    command = _Command(clients=clients, replaying=replaying, limit=options.at_most, json=options.json, pause=pause)
    pipeline = replaying.pipeline
    now, source = datetime.now(UTC), options.source
    since, until = options.since or now - window, options.until or now + _AHEAD
    if options.archive:
        _ask([find_archive(clients, name, pipeline) for name in options.archive], replay, command)
    elif versions:
        names = [source] if source else list(sources(clients))
        found = (outdated(clients, name, pipeline, since, until, versions) for name in names)
        _ask(_of_known(clients, source, [archive for archives in found for archive in archives]), replay, command)
    elif ends:
        _ask(_of_known(clients, source, ended(clients, source, pipeline, ends, since, until)), replay, command)
    else:
        archives = history(clients, source, pipeline, since, until)
        _of_known(clients, source, archives.due or sum(archives.skipped.values()))
        if not options.json:
            skipped = ", ".join(f"{number} {state}" for state, number in archives.skipped.items())
            write(f"pipeline {pipeline}: {count(len(archives.due), 'archive')} to do; skipped: {skipped}")
        _ask(archives.due, redrive, command)


def _check(options: argparse.Namespace, ways: int) -> None:
    """Raise PermanentError unless the options select archives in exactly one way, with every option that it needs."""
    if ways > 1:
        raise PermanentError(
            "replay: select archives in one way only: --archive; --refused and --failed; --method; --poison and "
            "--dead-letters; or --source with --since"
        )
    if ways == 0 and options.source is None:
        raise PermanentError(
            "replay: nothing is selected: give --failed, --refused, --archive SOURCE/VERSION, --method FORMAT, "
            "--source SOURCE with --since, --poison or --dead-letters"
        )
    if options.since is None and (ways == 0 or options.method):
        raise PermanentError(
            f"replay {'--method' if options.method else f'--source {options.source}'}: --since is missing: how far "
            "back, such as 30d"
        )


def _of_known[Found](clients: Clients, source: str | None, found: Found) -> Found:
    """Return `found`. Raises PermanentError if it is empty and the source is unknown."""
    if source is not None and not found:
        require_source(clients, source, "replay source")
    return found


def _send_back(options: argparse.Namespace, clients: Clients) -> None:
    announced = partial(archive_blob, container=RAW_CONTAINER)
    outcomes: dict[str, dict[str, int]] = {}
    for wanted, kind, letters in (
        (options.poison, "poison messages", poison_messages(clients)),
        (options.dead_letters, "dead letters", dead_letters(clients, announced)),
    ):
        if wanted:
            done = send_back(letters)
            outcomes[kind.replace(" ", "_")] = {"sent_back": done.taken, "kept": done.kept, "left": done.left}
            if not options.json:
                write(
                    f"{kind}: {done.taken} redriven, {done.kept} that cannot be redriven kept in the container "
                    f"{clients.state.container_name} under poison/, {done.left} left"
                )
    if options.json:
        write_json(outcomes)


def _replaying(
    options: argparse.Namespace, clients: Clients, texts: Mapping[str, str]
) -> tuple[ReplayContext, timedelta]:
    """Return the dependencies of a replay, and PIPELINE_WINDOW."""
    recipe, pipeline = read_pipeline(texts)
    identity = identify(recipe, pipeline.name)
    if options.pipeline not in (None, identity.pipeline):
        raise SettingsError(
            f"replay --pipeline {options.pipeline}: the settings make the pipeline {identity.pipeline}; the app runs "
            "one pipeline, so set the same PREPROCESS_… and PIPELINE_NAME in the app and here, or omit --pipeline"
        )
    require_running(clients, identity.pipeline, identity.fingerprint)
    replaying = ReplayContext(
        raw=RawBlobs(clients, lambda _source, _name: None),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        pipeline=identity.pipeline,
        redrive_after=pipeline.redrive_after,
    )
    return replaying, pipeline.window


def _ask(
    archives: Sequence[RawArchive], how: Callable[[RawArchive, ReplayContext], ReplayOutcome], command: _Command
) -> None:
    """Apply `how` to the archives one by one, paced by the queue, and print a count of each outcome."""
    outcomes: Counter[ReplayOutcome] = Counter()
    offline: list[str] = []
    try:
        with closing(_paced(archives, command)) as paced:
            for archive in paced:
                outcome = how(archive, command.replaying)
                outcomes[outcome] += 1
                if outcome is ReplayOutcome.OFFLINE:
                    offline.append(archive.blob)
    except KeyboardInterrupt:
        _report(
            outcomes, f"stopped: {{}}; {len(archives) - outcomes.total()} to go: run the same command again", command
        )
        raise
    _report(outcomes, f"{count(len(archives), 'archive')}: {{}}", command, offline)
    _refuse_offline(offline, command)


def _paced(archives: Sequence[RawArchive], command: _Command) -> Generator[RawArchive]:
    """Yield the archives, no faster than the app takes their messages off the queue; shows a progress bar."""
    with progress("replay", len(archives)) as advance:

        def wait(messages: int) -> None:
            advance(0, f" ({messages} on the queue)")
            command.pause(1)

        waiting = BatchMessages(command.clients).waiting
        for archive in behind_live_work(archives, waiting, command.limit, wait):
            yield archive
            advance(1, "")


def _report(outcomes: Counter[ReplayOutcome], sentence: str, command: _Command, offline: Sequence[str] = ()) -> None:
    if command.json:
        write_json({"pipeline": command.replaying.pipeline, "outcomes": outcomes, "offline": offline})
    else:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        write(sentence.format(counts or "nothing to do"))


def _refuse_offline(blobs: Sequence[str], command: _Command) -> None:
    for blob in () if command.json else blobs:
        properties = stat_blob(command.clients.raw, blob)
        status = properties.archive_status if properties else None
        write(f"{blob!r}: in the archive tier{f', {status}' if status else ''}")
    if blobs:
        raise PermanentError(
            f"replay: {len(blobs)} of the archives are in the archive tier, or being rehydrated: set their blobs' "
            "access tier to hot or cool, wait until that is done (up to 15 hours), and run the same command again"
        )
