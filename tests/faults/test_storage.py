"""Storage that is busy, breaks off, dies or lies: nothing wrong is published, and a later poll completes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from azure.storage.blob import BlobLeaseClient

from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import source_state_blob
from imagefeed.model import State
from ingest.poll import PollReport
from ingest.stager import BUFFERS, plan_blocks
from local.azurite import Azurite
from local.azurite import azurite as azurite_in
from storage.clients import Clients, connected, development_connection, prepare
from tests.faults.conftest import Worlds
from tests.faults.http import Answer, Break, HttpProxy, Request
from tests.faults.tcp import TcpProxy
from tests.faults.world import MIB, World, all_at_once, make_zip
from tests.fixtures.sample_app import wait_for

CONTENT = make_zip(2 * MIB)
KINDS = [
    "PUT state lease",
    "PUT state",
    "GET state",
    "GET archives",
    "POST archives",
    "PATCH archives",
    "HEAD raw",
    "GET raw blocklist",
    "PUT raw block",
    "PUT raw blocklist",
    "GET raw",
    "PUT raw metadata",
]
"""All that a resumed copy asks of storage."""
FAILURES: list[Answer | Break] = [
    Answer(500, "InternalError"),
    Answer(503, "ServerBusy"),
    Answer(409, "ContainerBeingDeleted"),
    Answer(412, "ConditionNotMet"),
    Answer(500, "InternalError", done=True),
    Break.UPLOAD,
    Break.DOWNLOAD,
    Break.STALL,
]


@contextmanager
def behind_proxies(server: Azurite) -> Iterator[tuple[Clients, tuple[HttpProxy, HttpProxy]]]:
    """Connect to an Azurite through proxies before its blobs and its tables. Nothing is tried a second time."""
    with HttpProxy(server.ports.blob) as blobs, HttpProxy(server.ports.table, of_tables=True) as tables:
        ports = {"Blob": blobs.port, "Queue": server.ports.queue, "Table": tables.port}
        with connected(development_connection(ports), retries=0, read_timeout=0.7) as clients:
            yield clients, (blobs, tables)


def stage_first_block(world: World) -> None:
    """Leave behind what an earlier process staged."""
    first, *_ = plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS)
    world.stage("a.zip", CONTENT, [first])


def test_storage_may_fail_at_any_request(azurite: Azurite, sftp_worlds: Worlds[TcpProxy]) -> None:
    def claim(kind: str) -> None:
        world, _ = sftp_worlds()
        world.put("a.zip", CONTENT)
        stage_first_block(world)
        failures = deque(FAILURES)

        def choose(request: Request) -> Answer | Break | None:
            return failures.popleft() if request.kind == kind and failures else None

        with behind_proxies(azurite) as (clients, proxies):
            for proxy in proxies:
                proxy.choose = choose
            for _ in range(2 * len(FAILURES)):
                if not failures:
                    break
                with suppress(StoreUnavailableError):
                    world.tick(clients)
                world.lease_runs_out()
        met = len(FAILURES) - len(failures)
        assert met, f"nothing of the kind was asked: {[r.kind for p in proxies for r in p.requests]}"
        world.tick_until_copied()
        assert world.raw() == [("a.zip", CONTENT)]
        assert world.states("a.zip") == [State.RAW]

    all_at_once(KINDS, claim)


def test_a_block_that_is_damaged_on_its_way_is_refused_and_sent_again(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    damage = deque([Break.DAMAGE])
    with behind_proxies(azurite) as (clients, (blobs, _)):
        blobs.choose = lambda request: damage.popleft() if damage and request.kind == "PUT raw block" else None
        report = world.tick(clients)
    assert (report.failed, world.raw()) == (1, [])
    assert "contentMD5" in (world.entries()[0].reason or "")
    world.tick_until_copied()
    assert world.raw() == [("a.zip", CONTENT)]
    assert world.states("a.zip") == [State.RAW]


def test_who_loses_the_lease_in_mid_copy_stops_and_another_completes(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    content = world.put("a.zip", make_zip(8 * MIB))
    source_state = world.clients.state.get_blob_client(source_state_blob(world.spec.name))
    others: list[PollReport] = []

    def choose(request: Request) -> Answer | Break | None:
        # Another process takes over for good while the first one copies; that is how a lease runs out.
        if request.kind == "PUT raw block" and not others:
            others.append(PollReport(source="not yet"))
            BlobLeaseClient(source_state).break_lease(0)
            others.append(world.tick())
        return None

    with behind_proxies(azurite) as (clients, (blobs, _)):
        blobs.choose = choose
        report = world.tick(clients)
    assert (report.busy, report.copied) == (True, ())
    assert [copied.path for copied in others[1].copied] == ["a.zip"]
    assert world.tick().waiting == 0
    assert world.raw() == [("a.zip", content)]


def test_azurite_may_be_killed_and_started_again_in_mid_copy(tmp_path: Path, sftp: tuple[World, TcpProxy]) -> None:
    world, proxy = sftp
    content = world.put("a.zip", make_zip(24 * MIB))
    with azurite_in(tmp_path / "azurite") as server, connected(server.connection, retries=0) as world.clients:
        prepare(world.clients)
        # It writes down what it has when it ends, or every few seconds.
        server.stop()
        server.start()
        for after in (3 * MIB, 14 * MIB):
            kill_in_mid_copy(server, world, proxy, after)
            world.lease_runs_out()
            assert world.raw() in ([], [("a.zip", content)])
        world.tick_until_copied()
        assert world.raw() == [("a.zip", content)]
        assert world.states("a.zip") == [State.RAW]


def kill_in_mid_copy(server: Azurite, world: World, proxy: TcpProxy, after: int) -> None:
    """Kill Azurite once so many bytes have come, and start it again."""
    before = proxy.sent
    with ThreadPoolExecutor(1) as pool:
        tick = pool.submit(world.tick)
        wait_for(lambda: tick.done() or proxy.sent > before + after)
        server.kill()
    # All that a poll can say is that storage is not there.
    assert isinstance(tick.exception(), StoreUnavailableError | None)
    server.start()
