"""A copy goes on where it stopped: what arrived before a process was killed is not asked for again."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.azurite import Azurite
from storage.ledger import State
from tests.faults.copier import write_orders
from tests.faults.ftp import FtpProxy
from tests.faults.tcp import TcpProxy
from tests.faults.world import MIB, World, make_zip
from tests.fixtures.sample_app import PROJECT, wait_for

SIZE = 256 * MIB
BLOCK = 2 * MIB
KILLS = 3
IN_FLIGHT = 5 * BLOCK
"""What a process holds at most: four blocks on their way to storage, and one that is being read."""
UNREAD = 16 * MIB
"""What was sent and never read, at most: the 8 MiB that SFTP asks ahead, and the buffers of the sockets between."""


def run_copier(orders: Path, until: Callable[[], bool] | None) -> None:
    """Copy in a process of its own, to the end or until it is killed."""
    copier = subprocess.Popen([sys.executable, "-m", "tests.faults.copier", orders], cwd=PROJECT)
    try:
        if until:
            wait_for(until, within=60)
        else:
            assert copier.wait(60) == 0
    finally:
        copier.kill()
        copier.wait()


def test_a_copy_that_is_killed_at_random_points_goes_on_there(
    sftp: tuple[World, TcpProxy], azurite: Azurite, tmp_path: Path
) -> None:
    world, proxy = sftp
    world.spec = replace(world.spec, block_size=BLOCK)
    world.endpoint = replace(world.endpoint, timeout=10)
    content = world.put("a.zip", make_zip(SIZE))
    write_orders(tmp_path / "orders", azurite.connection, world.endpoint, world.spec)
    for point in sorted(random.Random(1).sample(range(2 * MIB, SIZE), KILLS)):
        run_copier(tmp_path / "orders", until=lambda point=point: proxy.sent >= point)  # type: ignore[misc]  # mypy cannot infer the default
        assert world.raw() == []
        world.lease_runs_out()
    run_copier(tmp_path / "orders", until=None)
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW]
    again = proxy.sent - len(content)
    # The block that holds the zip directory is always read; listings and SSH itself are the last of it.
    assert again <= KILLS * (IN_FLIGHT + UNREAD) + BLOCK + 2 * MIB


def test_a_tick_stops_when_its_time_is_up_and_the_next_goes_on(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    content = world.put("a.zip", make_zip(16 * MIB))
    # Time passes only as bytes arrive: a tick is over after some 6 MiB.
    world.spec = replace(world.spec, budget=timedelta(seconds=60))
    world.clock = lambda: datetime.now(UTC) + timedelta(seconds=10) * (proxy.received["RETR"] / MIB)
    ticks = 1
    while (report := world.tick(pause=timedelta())).waiting:
        assert (report.error, report.failed, report.copied) == (None, 0, ())
        assert world.raw() == []
        ticks += 1
    assert ticks >= 3
    assert world.raw() == [("a.zip", content)]
