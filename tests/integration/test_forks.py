"""Each answer belongs to its request, also after a fork, and if a connection returns another request's answer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pytest

from imagefeed import Reader
from imagefeed.entities import find
from imagefeed.errors import ImageDamagedError, StoreUnavailableError
from imagefeed.prefetch import read_ahead
from local.azurite import Azurite
from storage.clients import Clients, connected, development_connection
from tests.faults.http import Break, HttpProxy, Request
from tests.fixtures.package import PROJECT
from tests.integration.test_reader import HOUR, NOON, Producer, made

READING = """
import json, multiprocessing, sys
from datetime import datetime
from hashlib import sha256
import imagefeed

connection, source, *times = sys.argv[1:]
times = [datetime.fromisoformat(time) for time in times]
PROCESSES, ROUNDS = 3, 4

def described(image):
    return image.metadata.stamp.isoformat(), image.metadata.member, sha256(image.pixels).hexdigest()

def read(reader, rows, number, said):
    start.wait()
    found = []
    for round in range(ROUNDS):
        shift = (number + 1) * (round + 1) % len(rows)
        for row in rows[shift:] + rows[:shift]:
            assert reader.image(row).metadata.member == row.row.member
            found.append(described(reader.image(row)))
        found += map(described, reader.between(source, *times))
        found += map(described, reader.shards(source, *times))
    said.put(found)

with imagefeed.open_reader(connection) as reader:
    rows = list(reader.rows(source, *times))
    fork = multiprocessing.get_context("fork")
    start, said = fork.Barrier(PROCESSES), fork.Queue()
    children = [fork.Process(target=read, args=(reader, rows, number, said), daemon=True) for number in (1, 2)]
    for child in children:
        child.start()
    read(reader, rows, 0, said)
    print(json.dumps([sorted(said.get(timeout=60)) for _ in range(PROCESSES)]))
"""


def test_each_process_gets_the_images_it_asked_for(clients: Clients, azurite: Azurite, source: str) -> None:
    producer = Producer(clients, source)
    batches = [batch for hour in range(3) for batch in producer.process(NOON + hour * HOUR, 6)]
    times = (NOON.isoformat(), (NOON + 3 * HOUR).isoformat())
    done = subprocess.run(
        [sys.executable, "-c", READING, azurite.connection, source, *times],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images = [made(batch.archive, member) for batch in batches for member in range(batch.first, batch.end)]
    each = [[i.metadata.stamp.isoformat(), i.metadata.member, sha256(i.pixels).hexdigest()] for i in images]
    # By single images, by rows and by shards, four times each.
    assert json.loads(done.stdout) == [sorted(each * 12)] * 3


def test_an_iterator_that_reads_ahead_says_that_a_fork_left_its_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = read_ahead(iter(range(2)), 9)
    assert next(numbers) == 0
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="begin again"):
            next(numbers)


@dataclass(frozen=True)
class Swapping:
    """Storage behind proxies that swap an answer to one of `kinds` for the answer before it, `times` times."""

    clients: Clients
    proxies: list[HttpProxy]

    def swap(self, kind: str, times: int = 99) -> None:
        left = [times]

        def choose(request: Request) -> Break | None:
            if not request.kind.startswith(kind) or not left[0]:
                return None
            left[0] -= 1
            return Break.SWAP

        for proxy in self.proxies:
            proxy.choose = choose

    def hide_names(self) -> None:
        for proxy in self.proxies:
            proxy.names_requests = False


@pytest.fixture
def swapping(azurite: Azurite) -> Iterator[Swapping]:
    with ExitStack() as stack:
        blob = stack.enter_context(HttpProxy(azurite.ports.blob))
        table = stack.enter_context(HttpProxy(azurite.ports.table, of_tables=True))
        ports = {"Blob": blob.port, "Queue": azurite.ports.queue, "Table": table.port}
        clients = stack.enter_context(connected(development_connection(ports), retries=1))
        yield Swapping(clients, [blob, table])


def test_a_swapped_answer_is_asked_for_again(clients: Clients, source: str, swapping: Swapping) -> None:
    first, second = Producer(clients, source).process(NOON, 2, size=700)
    reader = Reader(swapping.clients)
    one, two = reader.rows(source, NOON, NOON + HOUR)
    reader.image(one)
    for kind in ("GET images", "GET processed"):
        swapping.swap(kind, times=1)
        image = reader.image(two)
        assert np.array_equal(image.pixels, made(second.archive, second.first, 700).pixels)
        assert first.archive == second.archive


def test_answers_that_are_always_swapped_are_an_error_that_may_pass(
    clients: Clients, source: str, swapping: Swapping
) -> None:
    Producer(clients, source).process(NOON, 2)
    reader = Reader(swapping.clients)
    one, two = reader.rows(source, NOON, NOON + HOUR)
    reader.image(one)
    swapping.swap("GET images")
    with pytest.raises(StoreUnavailableError, match="belongs to another request"):
        reader.image(two)


class TestWhereAnswersNameNoRequest:
    """Not every proxy of storage repeats a request's name; keys and ranges still show the difference."""

    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str, swapping: Swapping) -> None:
        producer = Producer(clients, source)
        self.batches = [*producer.process(NOON, 2, size=700), *producer.process(NOON + HOUR, 2, size=700)]
        self.source, self.swapping = source, swapping
        self.reader = Reader(swapping.clients)
        self.rows = list(self.reader.rows(source, NOON, NOON + 2 * HOUR))
        swapping.hide_names()

    def test_rows(self) -> None:
        self.reader.image(self.rows[0])
        self.swapping.swap("GET images")
        with pytest.raises(StoreUnavailableError, match="not requested"):
            self.reader.image(self.rows[1])

    def test_rows_of_the_ledger(self) -> None:
        archives = self.swapping.clients.archives
        first, second = self.batches[0].archive.key.ledger_row(), self.batches[2].archive.key.ledger_row()
        assert find(archives, self.source, first) is not None
        self.swapping.swap("GET archives")
        with pytest.raises(StoreUnavailableError, match="not requested"):
            find(archives, self.source, second)

    def test_whole_shards(self) -> None:
        archive = self.batches[0].archive
        list(self.reader.of_shards(self.rows[2].result))
        assert archive.stamp == self.rows[0].result.archive.stamp
        self.swapping.swap("GET processed")
        with pytest.raises(ImageDamagedError, match="another archive"):
            list(self.reader.of_shards(self.rows[0].result))

    def test_ranges_of_blobs(self) -> None:
        blob = self.swapping.clients.processed.get_blob_client(self.rows[0].row.shard)
        blob.download_blob(0, 9).readall()
        self.swapping.swap("GET processed")
        with pytest.raises(Exception, match="its bytes are bytes 0-8"):
            blob.download_blob(9, 9).readall()
