"""A copy continues where it stopped: bytes that arrived before a process was killed are not requested again."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imagefeed.model import State
from ingest.model import SourceSpec
from ingest.stager import BUFFERS
from local.azurite import Azurite
from tests.faults.copier import write_job
from tests.faults.ftp import FtpProxy
from tests.faults.tcp import TcpProxy
from tests.faults.world import MIB, World, make_zip
from tests.fixtures.sample_app import PROJECT, wait_for

SIZE = 256 * MIB
KILLS = 4
SSH = MIB
"""Bytes that SSH itself sends: keys, listings, and some 40 bytes around each piece."""


def run_copier(job: Path, until: Callable[[], bool] | None) -> None:
    """Copy in a process of its own, to the end or until it is killed."""
    copier = subprocess.Popen([sys.executable, "-m", "tests.faults.copier", job], cwd=PROJECT)
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
    world.spec = replace(world.spec, block_size=SourceSpec(name="default").block_size)
    world.endpoint = replace(world.endpoint, timeout=10)
    content = world.put("a.zip", make_zip(SIZE))
    write_job(tmp_path / "job", azurite.connection, world.endpoint, world.spec)
    for point in sorted(random.Random(1).sample(range(2 * MIB, SIZE), KILLS)):
        run_copier(tmp_path / "job", until=lambda point=point: proxy.sent >= point)  # type: ignore[misc]  # mypy cannot infer the default
        assert world.raw() == []
        world.lease_runs_out()
    run_copier(tmp_path / "job", until=None)
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW]
    again = proxy.sent - len(content)
    # For each kill what was not staged, and a block that shows whether the server continues at its offset. And the
    # part of one that holds the zip directory, which is read even if it was staged.
    block = world.spec.block_size // BUFFERS
    assert again <= KILLS * (world.spec.block_size + block) + block + SSH


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
