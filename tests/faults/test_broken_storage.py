"""Storage that answers wrongly, or dies in the middle of a batch: the results are those of an undisturbed run."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.azurite import Azurite, azurite
from storage.clients import connected, development_connection, prepare
from tests.faults.batches import Batches, all_sorts
from tests.faults.forks import forks
from tests.faults.http import Answer, Chooser, HttpProxy, Request

ANSWERS = [
    Answer(500, "InternalError"),
    Answer(503, "ServerBusy"),
    Answer(409, "Conflict"),
    Answer(412, "ConditionNotMet"),
    Answer(500, "OperationTimedOut", done=True),
]
"""The last request was executed, but its answer was lost."""
WRONG = 20


@dataclass
class Scene:
    """The archive behind proxies, and its results if they pass everything on."""

    server: Azurite
    batches: Batches
    proxies: list[HttpProxy]
    expected: Mapping[str, object]

    def choose(self, chooser: Chooser) -> None:
        for proxy in self.proxies:
            proxy.choose = chooser


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with _scene(tmp_path_factory.mktemp("broken")) as built:
        yield built


@contextmanager
def _scene(folder: Path) -> Iterator[Scene]:
    with azurite(folder / "azurite") as server, connected(server.connection) as clients:
        prepare(clients)
        ports = server.ports
        with HttpProxy(ports.blob) as blob, HttpProxy(ports.queue) as queue, HttpProxy(ports.table) as table:
            through = development_connection({"Blob": blob.port, "Queue": queue.port, "Table": table.port})
            with forks(through, "broken", folder / "log") as forked:
                batches = Batches(clients, "broken", forked)
                batches.put(all_sorts())
                batches.begin_anew()
                batches.run(batches.event())
                batches.drive()
                yield Scene(server, batches, [blob, queue, table], batches.left_behind())


@pytest.mark.parametrize("seed", range(3))
def test_wrong_answers_of_every_kind_leave_the_same(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    answers: list[Answer] = []

    def choose(_: Request) -> Answer | None:
        if len(answers) == WRONG or chance.random() > 0.3:
            return None
        answers.append(chance.choice(ANSWERS))
        return answers[-1]

    scene.batches.begin_anew()
    scene.choose(choose)
    scene.batches.run(scene.batches.event())
    scene.batches.drive()
    assert len(answers) > WRONG // 4
    assert scene.batches.left_behind() == scene.expected


@pytest.mark.parametrize("moment", ["before the shard", "between the rows"])
def test_storage_that_is_killed_in_the_middle_of_a_batch_loses_nothing_for_good(scene: Scene, moment: str) -> None:
    """It saves its data every few seconds; lost work is done again."""
    shards: list[Request] = []
    kills: list[Request] = []

    def choose(request: Request) -> None:
        shard = request.method == "PUT" and "/processed/" in request.path
        rows = request.path.endswith("$batch") and bool(shards)
        if not kills and (shard if moment == "before the shard" else rows):
            kills.append(request)
            scene.server.kill()
        shards.extend([request] if shard else [])

    scene.choose(lambda _: None)
    scene.batches.begin_anew()
    # Before it ends, it writes the data that it has received.
    scene.server.stop()
    scene.server.start()
    scene.choose(choose)
    (done,) = scene.batches.run(scene.batches.event())
    assert (len(kills), bool(done.error)) == (1, True)
    scene.server.start()
    scene.batches.drive()
    assert scene.batches.left_behind() == scene.expected
