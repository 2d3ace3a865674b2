"""Files that change while they are copied, uploads that grow, clocks that are wrong: nothing wrong is published."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagefeed.model import State
from tests.faults.ftp import FtpProxy
from tests.faults.tcp import TcpProxy
from tests.faults.world import AN_HOUR_AGO, MIB, World, make_zip

CONTENT = make_zip(6 * MIB)
OTHER = make_zip(6 * MIB, 1)
JUST_NOW = AN_HOUR_AGO + timedelta(minutes=59)


def stamped(path: Path, modified: datetime) -> None:
    os.utime(path, (modified.timestamp(), modified.timestamp()))


def grow(world: World) -> None:
    with (world.root / "a.zip").open("ab") as file:
        file.write(bytes(100))


def shrink(world: World) -> None:
    os.truncate(world.root / "a.zip", 4 * MIB)


def rewrite(world: World) -> None:
    # In place, like an upload that begins again: the open file changes under its reader.
    (world.root / "a.zip").write_bytes(OTHER)


def replace_whole(world: World) -> None:
    world.put("a.zip", OTHER, JUST_NOW)


def delete(world: World) -> None:
    (world.root / "a.zip").unlink()


def when_half_is_sent(world: World, proxy: FtpProxy, change: Callable[[World], None]) -> None:
    """Change the file while it is copied: between two parts of its data."""
    changed = threading.Event()

    def pass_on(part: bytes) -> bytes:
        if proxy.received["RETR"] > len(CONTENT) // 2 and not changed.is_set():
            changed.set()
            change(world)
        return part

    proxy.rewrite["RETR"] = pass_on


@pytest.mark.parametrize("change", [grow, shrink, rewrite, replace_whole, delete])
def test_a_file_that_changes_while_it_is_copied(ftp: tuple[World, FtpProxy], change: Callable[[World], None]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    when_half_is_sent(world, proxy, change)
    report = world.tick()
    if change is delete:
        # The deleted file was open, so its bytes are all that can be copied.
        assert world.raw() == [("a.zip", CONTENT)]
        return
    content = (world.root / "a.zip").read_bytes()
    assert report.failed == 1
    # The same poll may see the new version already; a file that ends like no zip is archived once it stayed unchanged.
    assert world.raw() in ([], [("a.zip", content)])
    world.tick_until_copied()
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW, State.SUPERSEDED]


def test_an_upload_that_grows_for_a_while_makes_one_version(sftp: tuple[World, TcpProxy]) -> None:
    world, _ = sftp
    content = make_zip(MIB)
    done, step = 0, 100_000

    def grow_a_bit(_: float) -> None:
        nonlocal done
        if done < len(content):
            done += step
            (world.root / "a.zip").write_bytes(content[:done])

    world.wait = grow_a_bit
    grow_a_bit(0)
    while done < len(content):
        assert world.tick(pause=timedelta(seconds=30)).new == 0
    world.tick_until_copied()
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW]


def test_a_touched_file_is_the_same_and_is_read_once_more_not_for_ever(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    content = world.put("a.zip", make_zip(MIB))
    world.tick_until_copied()
    stamped(world.root / "a.zip", JUST_NOW)
    world.tick_until_copied()
    read = proxy.received["RETR"]
    world.tick_until_copied()
    assert read == proxy.received["RETR"] == 2 * len(content)
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW, State.SAME]


def test_a_file_that_is_broken_on_the_server_is_archived_as_truncated_and_left_alone(
    ftp: tuple[World, FtpProxy],
) -> None:
    world, proxy = ftp
    content = world.put("a.zip", make_zip(3 * MIB)[:-1000])
    ticks = 0
    while not world.raw():
        world.tick(pause=timedelta(seconds=31))
        ticks += 1
        assert ticks < 20
    read = proxy.received["RETR"]
    world.tick_until_copied()
    # Once from the beginning to the end; then, while it may still become complete, the blocks of its end.
    assert read == proxy.received["RETR"] <= len(content) + ticks * 2 * MIB
    assert world.raw() == [("a.zip", content)]
    (entry,) = world.entries()
    assert (entry.state, entry.archive.complete) == (State.RAW, False)


@pytest.mark.parametrize(
    ("modified", "name", "stamp"),
    [
        (datetime(2105, 6, 7, tzinfo=UTC), "a.zip", None),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "a.zip", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (AN_HOUR_AGO + timedelta(hours=9), "a.zip", AN_HOUR_AGO + timedelta(hours=9)),
        (AN_HOUR_AGO, "radar_29990101_000000.zip", None),
    ],
)
def test_wrong_clocks_and_names_cost_nothing(
    sftp: tuple[World, TcpProxy], modified: datetime, name: str, stamp: datetime | None
) -> None:
    world, _ = sftp
    world.spec = replace(world.spec, stamp="radar_%Y%m%d_%H%M%S")
    content = world.put(name, make_zip(1000), modified)
    began = world.now().replace(microsecond=0)
    world.tick_until_copied()
    world.tick_until_copied()
    assert world.raw() == [(name, content)]
    (entry,) = world.entries()
    assert entry.state is State.RAW
    # None: it is more than a day ahead, so the time first seen is used.
    assert entry.archive.stamp == stamp or (stamp is None and began <= entry.archive.stamp < began + timedelta(hours=1))


def test_a_server_whose_daylight_saving_time_begins_makes_no_new_versions(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    content = world.put("a.zip", make_zip(1000), datetime.now(UTC).replace(hour=11, minute=30, second=7, microsecond=0))
    world.tick_until_copied()
    read = proxy.received["RETR"]
    for shift in (b" 12:", b" 11:", b" 10:"):
        proxy.rewrite["LIST"] = lambda text, shift=shift: re.sub(rb" 11:", shift, text)  # type: ignore[misc]  # mypy cannot infer the default
        world.tick_until_copied()
    assert proxy.received["RETR"] == read
    assert world.raw() == [("a.zip", content)]
    assert world.states("a.zip") == [State.RAW]
