"""A Reader that was opened before a fork: parent and children read at once, and each gets what it asked for."""

import json
import subprocess
import sys
from hashlib import sha256

from local.azurite import Azurite
from storage.clients import Clients
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
    # By single images, by rows and by shards, four times over.
    assert json.loads(done.stdout) == [sorted(each * 12)] * 3
