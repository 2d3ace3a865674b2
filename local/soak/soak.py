"""The soak from the first upload until all is settled."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random

from imagefeed.errors import StoreUnavailableError
from local.demo import observations
from local.demo.progress import lines
from local.demo.traffic import Arrival, Drop, upload
from local.demo.verification import Key
from local.demo.view import megabytes
from local.samples import Sample
from local.soak.audit import given_up, key_of, stuck
from local.soak.data_loss import RESULTS, DataLoss
from local.soak.duplicate_events import DuplicateEvents
from local.soak.faults import KINDS, Faults
from local.soak.memory import Memory
from local.soak.workload import SIDE, drops
from local.system import Scheme, System
from preprocess.image.formats import printable
from storage.clients import Clients

SOURCES: Mapping[str, Scheme] = {"north": "sftp", "south": "ftp", "east": "ftpes"}
SCALE = 4
"""The host's intervals and the app's are shorter than in Azure by this factor at most: blob leases allow no more."""
_SETTINGS: Mapping[str, str] = {
    "PREPROCESS_WIDTH": str(SIDE),
    "PREPROCESS_HEIGHT": str(SIDE),
    "BATCH_MEMBERS": "8",
    **{f"SOURCES__{name.upper()}__STABLE_FOR": "1s" for name in SOURCES},
    **{f"SOURCES__{name.upper()}__STABLE_FOR_MAX": "5s" for name in SOURCES},
    **{f"SOURCES__{name.upper()}__TIMEOUT": "10" for name in SOURCES},
    # Small blocks make copies long enough to be broken in the middle.
    **{f"SOURCES__{name.upper()}__BLOCK_SIZE": str(2**20) for name in SOURCES},
}


def settings(scale: float) -> Mapping[str, str]:
    """Return the app's settings, with the default intervals shorter by a factor, as nearly as NCRONTAB has them."""
    return {
        **_SETTINGS,
        "POLL_SCHEDULE": f"*/{round(30 / scale)} * * * * *",
        "RECONCILE_SCHEDULE": f"0 */{max(1, round(5 / scale))} * * * *",
        "PIPELINE_REDRIVE_AFTER": f"{round(15 * 60 / scale)}s",
    }


_PATIENCE = 4 * 15 * 60
"""Seconds in Azure after the last fault and the latest re-drive that is due by then, after which what is not at its end
is stuck: two re-drives and one `reconcile`."""
_EVERY = 3.0
"""Seconds between two archives at `SCALE`; at other scales as many archives come in an outage."""
_UNSETTLED_LIMIT = 40
"""Archives whose events were withheld wait for `reconcile`; so do those over which the host died."""
_REPLACED = 0.15
"""Share of the archives that come under a name which is known."""
_LOOK_EVERY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """Seconds from server to rows of each archive, by what happened on its way."""

    quiet: list[float] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    """Of archives over which the host ended."""
    robbed: list[float] = field(default_factory=list)
    """Of archives of which a message or results were taken away: until they were made again."""


@dataclass(slots=True, kw_only=True)
class Soak:
    """A running soak: what was put on the servers, what was done to the system, and how it bore it."""

    system: System
    clients: Clients
    say: Callable[[str], None]
    workload: Mapping[str, Sample]
    seed: int
    scale: float = SCALE
    memory: Memory = field(default_factory=Memory)
    arrivals: list[Arrival] = field(default_factory=list)
    settled: set[Key] = field(default_factory=set)
    spare_host: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    faults: Faults = field(init=False)
    duplicate_events: DuplicateEvents = field(init=False)
    data_loss: DataLoss = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.system, self._rng("faults"), self.say, self.spare_host, self.scale, self.pace)
        self.duplicate_events = DuplicateEvents(self.system, self.clients, self._rng("duplicate events"))
        self.data_loss = DataLoss(self.clients, self._rng("data loss"), self.say, self.pace)

    @property
    def pace(self) -> float:
        """By how much longer all that comes and goes wrong takes than at `SCALE`."""
        return SCALE / self.scale

    def run(self, seconds: float) -> None:
        """Let archives arrive and things go wrong for so long, then wait until nothing more is to come."""
        began = self.began
        with background(self.duplicate_events.run) as duplicating:
            with background(self._arrive, self.faults.run, self.data_loss.run) as work:
                while (passed := time.monotonic() - began) < seconds or (self.never() and passed < 2 * seconds):
                    self._look([*work, *duplicating])
                    if passed > seconds / 2 and all(self.faults.injected[kind] for kind in KINDS):
                        self.spare_host.set()
            self.say("no more archives, no more faults")
            deadline = time.monotonic() + self._until_latest_redrive() + _PATIENCE / self.scale
            while time.monotonic() < deadline and not self._at_rest():
                self._look(duplicating)

    def never(self) -> list[str]:
        """Name what was to go wrong and did not: a soak without it proves less."""
        injected = self.faults.injected + self.data_loss.injected
        missing = [kind for kind in (*KINDS, RESULTS) if not injected[kind]]
        return [f"{kind}: never, so it was not tried; let the soak run for longer" for kind in missing]

    def lags(self) -> Lags:
        """Return the seconds from server to rows of all that was processed."""
        progress = observations.observe(self.clients, self.system.sources)
        lags = Lags()
        for line in lines(self.arrivals, progress):
            processed = line.progress.processed
            if line.lag is None or processed is None:
                continue
            if key_of(line.arrival) in self.data_loss.robbed:
                lags.robbed.append(line.lag)
            elif any(line.arrival.arrived <= end <= processed for end in self.faults.ended_at):
                lags.killed.append(line.lag)
            else:
                lags.quiet.append(line.lag)
        return lags

    def _until_latest_redrive(self) -> float:
        """Return the seconds until the last of the undone batches is to be driven again."""
        rows = self.clients.batches.list_entities()
        undone = [row for row in rows if "opened_at" not in row and row.get("done_at") is None]
        now = datetime.now(UTC)
        return max((max((row["next_drive"] - now).total_seconds(), 0) for row in undone), default=0)

    def _look(self, work: Sequence[Future[None]]) -> None:
        """See what has settled, and raise what has gone wrong in the background."""
        if message := self.system.check():
            self.faults.note_end()
            self.say(message)
        for done in (future for future in work if future.done()):
            done.result()
        self.memory.sample(time.monotonic() - self.began, self.system.host_pid)
        try:
            self._log_settled()
        except StoreUnavailableError:
            # It is we who took storage away; the next look tells more.
            return
        finally:
            time.sleep(_LOOK_EVERY)

    def _log_settled(self) -> None:
        progress = observations.observe(self.clients, self.system.sources)
        for arrival in list(self.arrivals):
            reached = progress.get(key := key_of(arrival))
            if reached is not None and reached.settled and key not in self.settled:
                self.settled.add(key)
                message = reached.ended or f"{reached.images} images, {reached.refused} members refused"
                self._log(arrival.drop, message)

    def _at_rest(self) -> bool:
        if len(self.settled) < len(self.arrivals) or not self.data_loss.healed():
            return False
        return not stuck(self.clients, given_up(observations.observe(self.clients, self.system.sources)))

    def _arrive(self, stop: threading.Event) -> None:
        """Upload archives, several at a time; what has begun is finished."""
        rng = self._rng("arrivals")
        with ThreadPoolExecutor(8, "upload") as pool:
            uploads = []
            for drop in drops(self.workload, tuple(self.system.sources), rng):
                if stop.wait(rng.uniform(0.5, 1.5) * _EVERY * self.pace) or self._catch_up(stop):
                    break
                uploads.append(pool.submit(self._upload, self._perhaps_replaced(drop, rng)))
        for uploaded in uploads:
            uploaded.result()

    def _catch_up(self, stop: threading.Event) -> bool:
        """Wait for a slow machine to catch up: a queue that only grows proves nothing. True if told to stop."""
        while len(self.arrivals) - len(self.settled) >= _UNSETTLED_LIMIT:
            if stop.wait(_LOOK_EVERY):
                return True
        return False

    def _upload(self, drop: Drop) -> None:
        arrival = upload(drop, self.system.sources[drop.source].root, threading.Event())
        if arrival is not None:
            self.arrivals.append(arrival)
            self._log(drop, f"arrived, {megabytes(drop.sample.size)}")

    def _perhaps_replaced(self, drop: Drop, rng: Random) -> Drop:
        """Now and then give new content under a name whose archive is settled; before, it might be superseded."""
        if rng.random() >= _REPLACED:
            return drop
        uses = Counter((arrival.drop.source, arrival.drop.name) for arrival in self.arrivals)
        names = [
            arrival.drop.name
            for arrival in self.arrivals
            if arrival.drop.source == drop.source
            and arrival.drop.sample is not drop.sample
            and key_of(arrival) in self.settled
            and uses[arrival.drop.source, arrival.drop.name] == 1
        ]
        return replace(drop, name=rng.choice(names), how="renamed") if names else drop

    def _log(self, drop: Drop, text: str) -> None:
        self.say(f"{drop.source:<6} {printable(drop.name):<34} {text}")

    def _rng(self, purpose: str) -> Random:
        """Give each part a generator of its own: shared between threads, one would make a seed mean nothing."""
        return Random(f"{purpose} {self.seed}")  # noqa: S311 - no secret


@contextmanager
def background(*parts: Callable[[threading.Event], None]) -> Iterator[Sequence[Future[None]]]:
    """Run parts in threads for the length of a block; they are told to stop by an event. Raises what they raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(parts)) as pool:
        work = [pool.submit(part, stop) for part in parts]
        try:
            yield work
        finally:
            stop.set()
    for done in work:
        done.result()
