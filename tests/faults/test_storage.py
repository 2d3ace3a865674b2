"""Storage that is busy, breaks off, dies or answers wrongly: nothing wrong is published, and a later poll completes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobLeaseClient,
    BlobServiceClient,
    ResourceTypes,
    generate_account_sas,
)

from imagefeed.errors import StoreUnavailableError
from imagefeed.layout import source_state_blob
from imagefeed.model import State
from ingest.model import SourceState
from ingest.poll import PollReport
from ingest.stager import BUFFERS, plan_blocks
from local.azurite import Azurite
from local.azurite import azurite as azurite_in
from storage.blobs import raw_upload
from storage.blobs.source_state import BlobSourceStates
from storage.clients import DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, Clients, connected, development_connection, prepare
from tests.faults.conftest import Worlds
from tests.faults.crc64 import Crc64Proxy
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
"""All requests of a resumed copy to storage."""
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


def stage_first_blocks(world: World) -> None:
    """Stage the blocks of an earlier process. The second block is read again, and shows the offset."""
    world.stage("a.zip", CONTENT, plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS)[:2])


def test_storage_may_fail_at_any_request(azurite: Azurite, sftp_worlds: Worlds[TcpProxy]) -> None:
    def claim(kind: str) -> None:
        world, _ = sftp_worlds()
        world.put("a.zip", CONTENT)
        stage_first_blocks(world)
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


@contextmanager
def behind_crc64(server: Azurite) -> Iterator[tuple[Clients, Crc64Proxy]]:
    """Connect to an Azurite whose answers contain the CRC64 of the received bytes."""
    with Crc64Proxy(server.ports.blob) as blobs:
        ports = {"Blob": blobs.port, "Queue": server.ports.queue, "Table": server.ports.table}
        address = f"http://127.0.0.1:{blobs.port}/{DEVELOPMENT_ACCOUNT}"
        # A key would sign the header that the proxy removes.
        sas = generate_account_sas(
            DEVELOPMENT_ACCOUNT,
            DEVELOPMENT_KEY,
            resource_types=ResourceTypes(service=True, container=True, object=True),
            permission=AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        with (
            connected(development_connection(ports), retries=0) as clients,
            BlobServiceClient(address, credential=sas, retry_total=0) as signed,
        ):
            yield replace(clients, raw=signed.get_container_client("raw")), blobs


def damage(proxy: Crc64Proxy, times: int) -> None:
    """Flip a bit in this many blocks on their way."""
    left = deque([Break.DAMAGE] * times)
    proxy.choose = lambda request: left.popleft() if left and request.kind == "PUT raw block" else None


def test_a_block_that_is_damaged_on_its_way_is_sent_again(azurite: Azurite, sftp: tuple[World, TcpProxy]) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    with behind_crc64(azurite) as (clients, proxy):
        damage(proxy, 1)
        report = world.tick(clients)
    assert (report.failed, report.waiting) == (0, 0)
    assert set(proxy.checksums) == {()}, "an emulator may refuse the header"
    assert len(proxy.checksums) == len(plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS)) + 1
    assert world.raw() == [("a.zip", CONTENT)]


def test_blocks_that_are_damaged_each_time_are_never_published(azurite: Azurite, sftp: tuple[World, TcpProxy]) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    with behind_crc64(azurite) as (clients, proxy):
        damage(proxy, 100)
        report = world.tick(clients)
    assert (report.failed, world.raw()) == (1, [])
    assert "received other bytes than were sent" in (world.entries()[0].reason or "")
    # The damaged blocks are staged under ids with another CRC64.
    world.tick_until_copied()
    assert world.raw() == [("a.zip", CONTENT)]
    assert world.states("a.zip") == [State.RAW]


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the emulator like Azure Storage."""
    monkeypatch.setattr(raw_upload, "is_emulator", lambda _: False)


@pytest.mark.usefixtures("real")
def test_azure_storage_refuses_a_damaged_block_which_is_sent_again(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    with behind_crc64(azurite) as (clients, proxy):
        damage(proxy, 1)
        assert world.tick(clients).failed == 0
    assert proxy.checksums == [(b"crc64",)] * (len(plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS)) + 1)
    assert world.raw() == [("a.zip", CONTENT)]
    assert stored_state(world).unchecked_at is None


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("tells", [True, False])
def test_blocks_that_azure_storage_refuses_each_time_are_never_published(
    azurite: Azurite, sftp: tuple[World, TcpProxy], tells: bool
) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    with behind_crc64(azurite) as (clients, proxy):
        proxy.returns_crc64 = tells
        damage(proxy, 1000)
        assert world.tick(clients).failed == 1
        assert world.raw() == []
        assert "received other bytes than were sent" in (world.entries()[0].reason or "")
        proxy.choose = lambda _: None
        world.tick(clients)
    assert world.raw() == [("a.zip", CONTENT)]


@pytest.mark.usefixtures("real")
def test_a_block_that_is_damaged_when_it_is_sent_with_an_md5_is_sent_again(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    count = len(plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS))
    with behind_crc64(azurite) as (clients, proxy):
        proxy.returns_crc64 = False
        blocks = [0]

        def choose(request: Request) -> Break | None:
            # Each block is sent twice, so that the last one of all has an MD5.
            if request.kind != "PUT raw block":
                return None
            blocks[0] += 1
            return Break.DAMAGE if blocks[0] == 2 * count else None

        proxy.choose = choose
        assert world.tick(clients).failed == 0
    assert sorted(proxy.checksums) == [(b"crc64",)] * (count + 1) + [(b"md5",)] * (count + 1)
    assert world.raw() == [("a.zip", CONTENT)]


@pytest.mark.usefixtures("real")
def test_a_block_without_an_answered_crc64_is_sent_again_with_an_md5_and_told(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    world.put("a.zip", CONTENT)
    with behind_crc64(azurite) as (clients, proxy):
        proxy.returns_crc64 = False
        assert world.tick(clients).failed == 0
    count = len(plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS))
    assert sorted(proxy.checksums) == [(b"crc64",)] * count + [(b"md5",)] * count
    assert world.raw() == [("a.zip", CONTENT)]
    assert stored_state(world).unchecked_at is not None


def stored_state(world: World) -> SourceState:
    state = BlobSourceStates(world.clients).look(world.spec.name)
    assert state
    return state


def test_who_loses_the_lease_in_mid_copy_stops_and_another_completes(
    azurite: Azurite, sftp: tuple[World, TcpProxy]
) -> None:
    world, _ = sftp
    content = world.put("a.zip", make_zip(8 * MIB))
    source_state = world.clients.state.get_blob_client(source_state_blob(world.spec.name))
    others: list[PollReport] = []

    def choose(request: Request) -> Answer | Break | None:
        # Another process takes over permanently while the first one copies; the lease expires like this.
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
        # It saves its data when it ends, or every few seconds.
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
    """Kill Azurite after it received this many bytes, and start it again."""
    before = proxy.sent
    with ThreadPoolExecutor(1) as pool:
        tick = pool.submit(world.tick)
        wait_for(lambda: tick.done() or proxy.sent > before + after)
        server.kill()
    # A poll can only report that storage is not reachable.
    assert isinstance(tick.exception(), StoreUnavailableError | None)
    server.start()
