"""A model of many sources and workers: what is busy how much, where it stops, and how long an archive takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

POLLING, PREPROCESSING, ACCOUNT, PARTITION, SERVER = "polling", "preprocessing", "account", "partition", "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one thing takes, as it was measured; seconds, and amounts an archive."""

    poll: float
    """A tick without anything new."""
    copy: float
    """An archive over one connection, without the time that it has to settle."""
    batches: float
    """All batches of an archive, on one worker."""
    requests: float
    """To storage, for an archive from its first look to its last row."""
    poll_requests: float
    rows: float
    bytes: float
    parts: int
    """Batches of an archive, which as many workers may be at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes, and what the settings say."""

    sources: int
    workers: int
    """Each polls one source and preprocesses one batch at a time, as host.json says: on Flex Consumption, which scales
    each function by itself, an instance that polls and one that preprocesses."""
    interval: float = 600.0
    """Seconds between two archives of a source."""
    tick: float = 30.0
    settle: float = 2.0
    event: float = 1.5
    """Seconds until an event or a message is taken up: queues are looked at every 2 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What others allow, a second (https://learn.microsoft.com/azure/storage/tables/scalability-targets)."""

    account_requests: float = 20_000.0
    partition_rows: float = 2_000.0
    server_bytes: float = 125e6
    """One server at 1 Gbit/s that all sources lie on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the model says."""

    archives: float
    """A second, that come through."""
    round: float
    """Seconds from one look at a source to the next."""
    lag: float
    """Mean seconds from the last byte on the server to readable rows; infinite where more comes than passes."""
    busy: Mapping[str, float]
    """Share of what each part can do that is asked of it; from 1 on it is what all wait for."""

    @property
    def narrowest(self) -> str:
        """The part that is asked for the largest share."""
        return max(self.busy, key=lambda part: self.busy[part])


def outlook(service: Service, load: Load, limits: Limits = Limits()) -> Outlook:
    """Tell how it goes."""
    comes = load.sources / load.interval
    copying = load.settle + service.copy
    busy = {
        # Looks at sources without news are not in it: where workers lack, rounds take longer, and nothing stops.
        POLLING: comes * copying / load.workers,
        PREPROCESSING: comes * service.batches / load.workers,
        ACCOUNT: (comes * service.requests + load.sources / load.tick * service.poll_requests)
        / limits.account_requests,
        # An archive is a partition of its own.
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
    """Mean wait for one of several workers, by Sakasegawa's approximation: arrivals at random, equal work."""
    if busy >= 1:
        return inf
    return float(seconds * busy ** (sqrt(2 * (workers + 1)) - 1) / (workers * (1 - busy)) / 2)


def most_sources(service: Service, workers: int, limits: Limits = Limits()) -> int:
    """Tell how many sources so many workers keep up with."""

    def keeps_up(sources: int) -> bool:
        return outlook(service, Load(sources=sources, workers=workers), limits).lag < inf

    fits, not_any_more = 0, 1
    while keeps_up(not_any_more):
        fits, not_any_more = not_any_more, 2 * not_any_more
    while not_any_more - fits > 1:
        middle = (fits + not_any_more) // 2
        fits, not_any_more = (middle, not_any_more) if keeps_up(middle) else (fits, middle)
    return fits
