"""Check at the end of the soak that every archive is stored exactly once, and that nothing is stuck."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from azure.storage.queue import QueueClient

from imagefeed.layout import BATCH_QUEUE, POLL_QUEUE
from local.demo import observations
from local.demo.progress import Progress
from local.demo.traffic import Arrival
from local.demo.verification import NOTHING, Kept, Key, verify
from local.samples import Sample
from storage.clients import Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Results of the check."""

    images: int
    members_refused: int
    archives_refused: int
    lost: int
    """Raw blobs and images that are missing or wrong."""
    doubled: int
    """Surplus copies of raw blobs, images and rows."""
    given_up: Sequence[str]
    """Archives that failed after their last attempt, with the reason. Their results are not checked."""
    problems: Sequence[str]


def audit(clients: Clients, sources: Iterable[str], arrivals: Sequence[Arrival]) -> Audit:
    """Read everything back from storage, and compare it with what was put on the servers."""
    names = list(sources)
    progress = observations.observe(clients, names)
    collected = observations.collect(clients, observations.images(clients, names), progress)
    kept = _without_early_tracked_files(collected, progress)
    failed = given_up(progress)
    judged = [arrival for arrival in arrivals if key_of(arrival) not in failed]
    others = [arrival for arrival in arrivals if key_of(arrival) in failed]
    judged_kept = {key: archive for key, archive in kept.items() if key not in failed}
    pairs = [(arrival.drop.sample, kept.get(key_of(arrival), NOTHING)) for arrival in judged]
    without_raw = [each for each in others if not _is_raw(each.drop.sample, kept.get(key_of(each), NOTHING))]
    problems = verify([arrival.drop for arrival in judged], judged, judged_kept)
    problems += [f"{_name(arrival)}: it was given up, and its raw blob is missing or wrong" for arrival in without_raw]
    problems += [*_wrong_ends(judged, progress), *_refusals_without_reason(clients), *stuck(clients, failed)]
    return Audit(
        images=sum(len(archive.images) for archive in kept.values()),
        members_refused=sum(len(archive.refused) for archive in kept.values()),
        archives_refused=sum((archive.ended or "").startswith("refused: ") for archive in progress.values()),
        lost=sum(_lost(sample, archive) for sample, archive in pairs) + len(without_raw),
        doubled=sum(_doubled(archive) for archive in kept.values()),
        given_up=[f"{_name(arrival)}: {progress[key_of(arrival)].ended}" for arrival in others],
        problems=problems,
    )


def key_of(arrival: Arrival) -> Key:
    """Return the key of an archive in storage."""
    return arrival.drop.source, arrival.version


def given_up(progress: Mapping[Key, Progress]) -> set[Key]:
    """Return the archives that failed after their last attempt."""
    return {key for key, archive in progress.items() if (archive.ended or "").startswith("failed: ")}


def stuck(clients: Clients, failed: Collection[Key]) -> list[str]:
    """Return a line for each queue that holds messages or poison messages, and each undone batch not in `failed`."""
    queued = [
        f"the queue {queue.queue_name} holds {waiting} messages"
        for queue in _queues(clients)
        if (waiting := queue.get_queue_properties().approximate_message_count)
    ]
    undone = [row for row in clients.batches.list_entities() if "opened_at" not in row and row.get("done_at") is None]
    return queued + [
        f"batch {row['RowKey']} of {row['PartitionKey']} is not done"
        for row in undone
        if _key_of_partition(row["PartitionKey"]) not in failed
    ]


def _key_of_partition(partition: str) -> Key:
    _, source, _, version = partition.split("~")
    return source, version


def _name(arrival: Arrival) -> str:
    return f"{arrival.drop.source} {arrival.drop.name}"


def _queues(clients: Clients) -> Iterator[QueueClient]:
    """Yield the queues that must be empty; the poll queue is left out, because it gets a message at each tick."""
    yield clients.batch_queue
    for name in (BATCH_QUEUE, POLL_QUEUE):
        yield clients.queues.get_queue_client(f"{name}-poison")


def _without_early_tracked_files(kept: Mapping[Key, Kept], progress: Mapping[Key, Progress]) -> dict[Key, Kept]:
    """Leave out versions of a growing file that were tracked while its size paused, and never copied."""
    early = {key for key, at in progress.items() if at.raw is None and (at.ended or "").startswith("superseded")}
    empty = {key for key, of in kept.items() if not (of.blobs or of.images or of.rows or of.sharded)}
    return {key: archive for key, archive in kept.items() if key not in early & empty}


def _wrong_ends(arrivals: Sequence[Arrival], progress: Mapping[Key, Progress]) -> Iterator[str]:
    for arrival in arrivals:
        reached = progress.get(key_of(arrival), Progress())
        ended = reached.ended or ("processed" if reached.processed else "nothing yet")
        # An unreadable zip must be refused with a reason; any other must be processed.
        right = ended.startswith("refused: ") if unreadable(arrival.drop.sample) else ended == "processed"
        if not right or ended.endswith("see the ledger"):
            yield f"{_name(arrival)}: it ended as {ended}"


def unreadable(sample: Sample) -> bool:
    """Return True if the whole sample must be refused."""
    return not sample.pictures and not sample.refused


def _refusals_without_reason(clients: Clients) -> Iterator[str]:
    for row in clients.images.list_entities(select=["PartitionKey", "RowKey", "reason", "error"]):
        if row["RowKey"].endswith("~refused") and not (row.get("reason") and row.get("error")):
            yield f"the refusal {row['RowKey']} of {row['PartitionKey']} has no reason"


def _lost(sample: Sample, kept: Kept) -> int:
    wanted = {(picture.member, picture.frame) for picture in sample.pictures}
    rows = wanted - {(image.member, image.frame) for image in kept.images}
    return (not _is_raw(sample, kept)) + len(rows | (wanted - set(kept.sharded)))


def _is_raw(sample: Sample, kept: Kept) -> bool:
    return (sample.size, sample.sha256) in kept.blobs


def _doubled(kept: Kept) -> int:
    images = [(image.member, image.frame) for image in kept.images]
    return max(len(kept.blobs) - 1, 0) + sum(
        times - 1 for things in (images, kept.sharded, kept.rows) for times in Counter(things).values()
    )
