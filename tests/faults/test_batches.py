"""Batches that die at any moment, and events that come in any way, have the same results as an undisturbed run."""

import json
import random
from collections.abc import Iterator, Mapping
from itertools import count, repeat

import pytest

from local.azurite import Azurite, azurite
from storage.clients import Clients, connected, prepare
from tests.faults.batches import Batches, Death, all_sorts
from tests.faults.forks import Forks, Job, forks
from tests.fixtures.hooks import BAD

SOURCE = "faulty"
SEVERAL = 4
"""Members of a batch, so that the archive has three of them."""


@pytest.fixture(scope="module")
def own() -> Iterator[Azurite]:
    """A separate Azurite, because other tests have messages on the same queues."""
    with azurite() as server:
        yield server


@pytest.fixture(scope="module")
def own_clients(own: Azurite) -> Iterator[Clients]:
    with connected(own.connection) as clients:
        prepare(clients)
        yield clients


@pytest.fixture(scope="module")
def forked(own: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(own.connection, SOURCE, tmp_path_factory.mktemp("forks") / "log") as forking:
        yield forking


@pytest.fixture(scope="module")
def undisturbed(own_clients: Clients, forked: Forks) -> Mapping[int, Mapping[str, object]]:
    """The results of undisturbed runs: in one batch, and in several."""
    rows = {}
    batches = Batches(own_clients, SOURCE, forked)
    batches.put(all_sorts())
    for members in (64, SEVERAL):
        batches.begin_anew()
        batches.run(batches.event(members=members))
        batches.drive(members=members)
        rows[members] = batches.left_behind()
    return rows


@pytest.fixture
def batches(own_clients: Clients, forked: Forks, undisturbed: object) -> Batches:
    """The archive, raw and not begun, with rows of an older run."""
    assert undisturbed
    batches = Batches(own_clients, SOURCE, forked)
    batches.begin_anew()
    return batches


def test_an_undisturbed_run_leaves_every_image_and_refusal(undisturbed: Mapping[int, Mapping[str, object]]) -> None:
    for rows in undisturbed.values():
        images = [name for name in rows if name.startswith("images/")]
        assert sum(name.endswith("~00") for name in images) == 1 + 110 + 2 + 4
        assert sorted(name for name in images if name.endswith("~refused")) == [
            "images/000002~refused",
            "images/000006~refused",
        ]
    assert sum(name.endswith(".tar") for name in undisturbed[64]) == 1
    assert sum(name.endswith(".tar") for name in undisturbed[SEVERAL]) == 3


def test_killed_between_any_two_changes_to_storage_it_leaves_the_same(
    batches: Batches, undisturbed: Mapping[int, Mapping[str, object]]
) -> None:
    # The number is not known in advance: a slow machine renews its claim, and repeats requests without an answer.
    for changes in count():
        batches.begin_anew()
        (died,) = batches.run(batches.event(dies_after=changes))
        if not died.killed:
            break
        assert batches.orderly()
        batches.drive()
        assert batches.left_behind() == undisturbed[64], f"killed after {changes} changes"
    # The plan, its rows, the claim, the shard, its rows and the end at least.
    assert changes >= 6


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_at_any_moment_it_leaves_the_same(
    batches: Batches, undisturbed: Mapping[int, Mapping[str, object]], seed: int
) -> None:
    deaths = any_moment(random.Random(seed))
    batches.run(batches.event(members=SEVERAL, **next(deaths)))
    batches.drive(deaths, members=SEVERAL)
    assert batches.deaths > 3
    assert batches.left_behind() == undisturbed[SEVERAL]


def any_moment(chance: random.Random) -> Iterator[Death]:
    """By the clock, so also within a request or a decoder; and at changes, so that it happens on fast machines too.

    By the clock only twice, because three deaths at one member count as that member's fault.
    """
    for _ in range(2):
        yield {"dies_in": chance.uniform(0, 0.2)}
        for _ in range(4):
            yield {"dies_after": chance.randrange(2, 10)}
    yield from repeat({})


@pytest.mark.parametrize("members", [64, SEVERAL])
def test_ten_deliveries_at_once_leave_what_one_leaves(
    batches: Batches, undisturbed: Mapping[int, Mapping[str, object]], members: int
) -> None:
    batches.run(*[batches.event(members=members, claims=False)] * 10)
    texts = batches.waiting()
    batches.run(*(Job(do="message", subject=text, members=members, claims=False) for text in texts * 3))
    batches.drive(members=members)
    assert batches.left_behind() == undisturbed[members]


def test_events_and_messages_late_twice_and_out_of_order_leave_the_same(
    batches: Batches, undisturbed: Mapping[int, Mapping[str, object]]
) -> None:
    batches.run(batches.event(members=SEVERAL))
    texts = batches.waiting() * 2
    random.Random(1).shuffle(texts)
    for text in texts:
        batches.run(Job(do="message", subject=text, ahead=batches.ahead))
    assert batches.state() == "processed"
    batches.run(batches.event(), *(Job(do="message", subject=text) for text in texts))
    assert batches.left_behind() == undisturbed[SEVERAL]
    assert batches.waiting() == []


def test_a_member_that_kills_the_process_is_refused_and_costs_no_other(batches: Batches) -> None:
    batches.run(batches.event(dies_at=BAD))
    batches.drive(repeat({"dies_at": BAD}))
    assert batches.deaths == 1, "the second is that of a child"
    assert batches.state() == "processed"
    rows = batches.left_behind()
    assert "killed by signal 9" in str(rows[f"images/{BAD:06}~refused"])
    assert {"images/000000~0000~00", "images/000010~0000~00"} <= rows.keys()


@pytest.mark.parametrize("blob", ["faulty/gone.zip", "no/such/source.zip", "faulty/2026/01/01/00/ä#?.zip"])
def test_events_and_messages_for_what_is_gone_or_was_never_ours_change_nothing(batches: Batches, blob: str) -> None:
    before = batches.left_behind()
    message = json.dumps({"blob": blob, "pipeline": "faults", "batch": 7})
    done = batches.run(Job(do="event", subject=blob), Job(do="message", subject=message))
    assert [each.taken for each in done] == ["gone", "gone"]
    assert batches.left_behind() == before


def test_a_claim_whose_holder_died_holds_the_batch_up_for_a_minute_and_no_longer(batches: Batches) -> None:
    (died,) = batches.forks.run(batches.event(dies_at=0))
    assert died.killed
    message = json.dumps({"blob": batches.blob, "pipeline": "faults", "batch": 0})
    batches.forks.run(Job(do="message", subject=message, ahead=50))
    assert batches.state() == "processing"
    batches.forks.run(Job(do="message", subject=message, ahead=70))
    assert batches.state() == "processed"
