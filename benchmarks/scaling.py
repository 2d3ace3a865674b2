"""Model of many sources and workers: the load of each part, the largest throughput, and the lag. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

POLLING, PREPROCESSING, ACCOUNT, PARTITION, SERVER = "polling", "preprocessing", "account", "partition", "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Measured times in seconds, and amounts per archive."""

    poll: float
    """A poll without new files."""
    copy: float
    """Copy of an archive over one connection, without STABLE_FOR."""
    batches: float
    """All batches of an archive, on one worker."""
    requests: float
    """Requests to storage for an archive, from its first listing to its last row."""
    poll_requests: float
    rows: float
    bytes: float
    parts: int
    """Batches of an archive, on which as many workers can work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrivals and settings."""

    sources: int
    workers: int
    """Each polls one source and preprocesses one batch at a time, as host.json says. On Flex Consumption, which scales
    each function separately, a worker is one instance that polls and one that preprocesses."""
    interval: float = 600.0
    """Seconds between two archives of a source."""
    tick: float = 30.0
    settle: float = 2.0
    event: float = 1.5
    """Seconds until an event or a message is received; queues are polled every 2 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """External limits per second (https://learn.microsoft.com/azure/storage/tables/scalability-targets)."""

    account_requests: float = 20_000.0
    partition_rows: float = 2_000.0
    server_bytes: float = 125e6
    """One server at 1 Gbit/s with all sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Result of the model."""

    archives: float
    """Processed archives per second."""
    round: float
    """Seconds between two polls of a source."""
    lag: float
    """Mean seconds from the last byte on the server to readable rows; infinite if arrivals exceed the throughput."""
    busy: Mapping[str, float]
    """Utilization of each part; a part with 1 or more is a bottleneck."""

    @property
    def narrowest(self) -> str:
        """The part with the highest utilization."""
        return max(self.busy, key=lambda part: self.busy[part])


def outlook(service: Service, load: Load, limits: Limits = Limits()) -> Outlook:
    """Return the model's result for a load."""
    comes = load.sources / load.interval
    copying = load.settle + service.copy
    busy = {
        # Polls without new files are not included: with too few workers, rounds only take longer.
        POLLING: comes * copying / load.workers,
        PREPROCESSING: comes * service.batches / load.workers,
        ACCOUNT: (comes * service.requests + load.sources / load.tick * service.poll_requests)
        / limits.account_requests,
        # Each archive has its own partition.
        PARTITION: service.rows / service.batches * min(load.workers, service.parts) / limits.partition_rows,
        SERVER: comes * service.bytes / limits.server_bytes,
    }
    busiest = max(busy.values())
    archives = comes / max(1.0, busiest)
    if busiest >= 1:
        return Outlook(archives=archives, round=inf, lag=inf, busy=busy)
    around = max(load.tick, load.sources * service.poll / (load.workers * (1 - busy[POLLING])))
    waits = queueing(busy[PREPROCESSING], load.workers, service.batches)
    lag = around / 2 + copying + load.event + waits + service.batches
    return Outlook(archives=archives, round=around, lag=lag, busy=busy)


def queueing(busy: float, workers: int, seconds: float) -> float:
    """Return the mean wait for one of several workers, by Sakasegawa's approximation: random arrivals, equal work."""
    if busy >= 1:
        return inf
    return float(seconds * busy ** (sqrt(2 * (workers + 1)) - 1) / (workers * (1 - busy)) / 2)


def most_sources(service: Service, workers: int, limits: Limits = Limits()) -> int:
    """Return the largest number of sources with which the workers keep up."""

    def keeps_up(sources: int) -> bool:
        return outlook(service, Load(sources=sources, workers=workers), limits).lag < inf

    fits, not_any_more = 0, 1
    while keeps_up(not_any_more):
        fits, not_any_more = not_any_more, 2 * not_any_more
    while not_any_more - fits > 1:
        middle = (fits + not_any_more) // 2
        fits, not_any_more = (middle, not_any_more) if keeps_up(middle) else (fits, middle)
    return fits
