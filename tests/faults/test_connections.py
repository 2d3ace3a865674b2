"""Connections that break in every way: always retried, never a truncated blob, never an endless wait."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from imagefeed.model import State
from ingest.protocols.listing import MAX_BYTES
from ingest.stager import BUFFERS, plan_blocks
from ingest.transfer import CopyOutcome
from local.servers.server import Server
from tests.faults.conftest import Worlds
from tests.faults.ftp import FtpProxy
from tests.faults.tcp import Fault, How, TcpProxy
from tests.faults.world import AN_HOUR_AGO, MIB, World, all_at_once, make_zip
from tests.fixtures.sample_app import wait_for

CONTENT = make_zip(3 * MIB)
IN_TIME = 20.0
"""Seconds that a poll may take if a call may take one: far from endless, and enough on a busy machine."""
type Case = tuple[How, int]


@contextmanager
def in_time(within: float = IN_TIME) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < within, "it took too long"


def comes_through(world: World, name: str = "a.zip", content: bytes = CONTENT) -> None:
    """Poll until the file is copied: once, completely, and recorded as copied."""
    world.tick_until_copied()
    assert world.raw() == [(name, content)]
    assert world.states(name) == [State.RAW]


def test_an_sftp_connection_may_die_at_any_time(sftp_worlds: Worlds[TcpProxy]) -> None:
    def claim(case: Case) -> None:
        world, proxy = sftp_worlds()
        world.put("a.zip", CONTENT)
        proxy.faults.append(Fault(*case))
        with in_time():
            report = world.tick()
        assert report.error or report.failed
        comes_through(world)

    # sshd's version and keys are 1,660 bytes, at 1,750 we are logged in, at 2,070 a channel is open, at 2,140 it speaks
    # SFTP, at 3,500 it has listed.
    all_at_once(itertools.product(How, [500, 1700, 2080, 2120, 3000, 2 * MIB]), claim)


def test_an_sftp_server_may_end_its_channel_alone(sftp: tuple[World, TcpProxy], sshd: Server) -> None:
    world, proxy = sftp
    content = world.put("a.zip", make_zip(64 * MIB))
    with ThreadPoolExecutor(1) as pool:
        tick = pool.submit(world.tick)
        wait_for(lambda: tick.done() or proxy.sent > 2 * MIB)
        # The process that speaks SFTP; the one above it, which speaks SSH, stays.
        os.kill(youngest(sshd.process.pid), signal.SIGKILL)
    report = tick.result()
    # The file failed, not the server: it was listed again, over the existing connection.
    assert (report.failed, report.error, proxy.connections) == (1, None, 1)
    comes_through(world, content=content)


def youngest(pid: int) -> int:
    """Follow a process to the end of its line."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return youngest(int(below[-1])) if below else pid


def test_an_ftp_control_connection_may_die_at_any_time(ftp_worlds: Worlds[FtpProxy]) -> None:
    def claim(case: Case) -> None:
        world, proxy = ftp_worlds()
        world.put("a.zip", CONTENT)
        proxy.faults.append(Fault(*case))
        with in_time():
            report = world.tick()
        assert report.error or report.failed
        comes_through(world)

    # The welcome is 20 bytes, login ends after 90, the listing after 250, the requests for metadata after 350.
    all_at_once(itertools.product(How, [0, 10, 60, 150, 340]), claim)


def test_an_ftp_data_connection_may_die_at_any_time(ftp_worlds: Worlds[FtpProxy]) -> None:
    def claim(case: Case) -> None:
        world, proxy = ftp_worlds()
        world.put("a.zip", CONTENT)
        proxy.data["RETR"].append(Fault(*case))
        with in_time():
            report = world.tick()
        assert report.failed == 1
        before = proxy.received["RETR"]
        comes_through(world)
        # What had arrived is not asked for again, but for the block that was under way, the one before it, and the one
        # with the tail. A reset throws away what lies received and unread, too. A transfer that was cut and that the
        # server says is complete is not trusted.
        assert case[0] in (How.RESET, How.CUT) or proxy.received["RETR"] - before <= len(CONTENT) - case[1] + 2 * MIB

    all_at_once(itertools.product(How, [0, 2 * MIB + 100, len(CONTENT) - 100]), claim)


def test_a_listing_that_breaks_off_changes_nothing(ftp_worlds: Worlds[FtpProxy]) -> None:
    def claim(case: Case) -> None:
        world, proxy = ftp_worlds()
        for number in range(5):
            world.put(f"{number}.zip", make_zip(100, number))
        world.tick_until_copied()
        copied = world.raw()
        # Twice in a row, because a file that is missing from two complete listings counts as deleted.
        for _ in range(2):
            proxy.data["LIST"].append(Fault(*case))
            # The server may notice nothing, because its buffers are larger than the listing.
            proxy.replies["426"].append("226 Directory send OK.")
            with in_time():
                assert world.tick().error
        world.put("new.zip", CONTENT)
        world.tick_until_copied()
        assert sorted(world.raw()) == sorted([*copied, ("new.zip", CONTENT)])
        assert {entry.state for entry in world.entries()} == {State.RAW}

    all_at_once(itertools.product(How, [1, 250]), claim)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("USER", "421 Too many users."),
        ("PASS", "421 Service not available."),
        ("CWD", "450 Busy."),
        ("LIST", "425 Can't open data connection."),
        ("LIST", "451 Local error."),
        ("LIST", "550 Permission denied."),
        ("SIZE", "421 Timeout."),
        ("PASV", "425 No ports."),
        ("RETR", "421 Shutting down."),
        ("RETR", "425 Can't open data connection."),
        ("RETR", "426 Connection closed."),
        ("RETR", "450 File busy."),
        ("RETR", "451 Local error."),
        ("RETR", "550 Failed to open file."),
        ("REST", "421 Shutting down."),
    ],
)
def test_a_server_may_refuse_any_command_for_now(ftp: tuple[World, FtpProxy], command: str, answer: str) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    if command == "REST":
        # Only a resumed transfer sends an offset.
        cut(world, proxy, "426 Connection closed.")
    # Names are requested only if a listing is refused.
    for refused in (command, "NLST") if command == "LIST" else (command,):
        proxy.answers[refused].append(answer)
    with in_time():
        report = world.tick()
    reason = report.error or world.entries()[0].reason or ""
    assert answer.split()[0] in reason
    assert not report.copied
    comes_through(world)


def test_a_time_that_is_refused_once_is_as_listed_and_the_file_counts_as_changing(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    proxy.answers["MDTM"].append("451 Local error.")
    with in_time():
        report = world.tick()
    assert (report.error, report.copied) == (None, ())
    comes_through(world)


def cut(world: World, proxy: FtpProxy, reply: str) -> None:
    """Cut a transfer in order, and reply so."""
    proxy.data["RETR"].append(Fault(How.CUT, 2 * MIB))
    # The first is that of the listing. The server may have written all of the file into its socket, or not.
    proxy.replies["226"] += ["226 Listed.", reply]
    proxy.replies["426"].append(reply)
    assert world.tick().failed == 1
    proxy.replies.clear()


@pytest.mark.parametrize("code", [226, 426])
def test_a_transfer_that_was_cut_is_resumed_unless_the_server_says_that_it_is_complete(
    ftp: tuple[World, FtpProxy], code: int
) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    cut(world, proxy, f"{code} so it is")
    assert ("does not confirm" in (world.entries()[0].reason or "")) == (code == 426)
    before = proxy.received["RETR"]
    comes_through(world)
    assert (proxy.received["RETR"] - before < len(CONTENT)) == (code == 426)


def test_a_short_data_connection_is_noticed_whatever_the_server_says_of_it(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    proxy.data["RETR"].append(Fault(How.CUT, 2 * MIB))
    proxy.replies["426"].append("226 Transfer complete.")
    report = world.tick()
    assert (report.failed, world.raw()) == (1, [])
    comes_through(world)


@pytest.mark.parametrize("reply", ["", "426 Connection closed.", "451 Local error.", "550 Lost it."])
def test_every_byte_counts_even_if_the_control_connection_dies_after_them(
    ftp: tuple[World, FtpProxy], reply: str
) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    proxy.replies["226"] += ["226 Directory send OK.", reply]
    report = world.tick()
    assert [copied.outcome for copied in report.copied] == [CopyOutcome.COPIED]
    assert proxy.received["RETR"] == len(CONTENT)
    assert world.raw() == [("a.zip", CONTENT)]


def test_a_server_without_rest_is_read_from_the_start(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    proxy.data["RETR"].append(Fault(How.CUT, 2 * MIB))
    assert world.tick().failed == 1
    proxy.answers["REST"] += ["502 REST is not implemented."] * 9
    comes_through(world)


def test_a_server_that_accepts_rest_and_ignores_it_is_read_from_the_start(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    proxy.data["RETR"].append(Fault(How.CUT, 2 * MIB))
    assert world.tick().failed == 1
    # Like a server behind a load balancer: one that ignored it may obey the next time.
    proxy.answers["REST"] += ["350 Restart position accepted."] * 2
    comes_through(world)


def test_bytes_that_nobody_wants_are_read_for_no_longer_than_a_poll_may_last(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    content = world.put("a.zip", make_zip(48 * MIB))
    proxy.data["RETR"].append(Fault(How.CUT, 40 * MIB))
    assert world.tick().failed == 1
    before = proxy.received["RETR"]
    proxy.answers["REST"] += ["502 REST is not implemented."] * 9

    def late(part: bytes) -> bytes:
        del proxy.rewrite["RETR"]
        world.ahead += world.spec.budget
        return part

    proxy.rewrite["RETR"] = late
    report = world.tick()
    assert (report.error, report.failed, report.waiting) == (None, 0, 1)
    # The contents of the sockets' buffers are added to the first piece.
    assert proxy.received["RETR"] - before < 20 * MIB, "it read on to what it wanted"
    comes_through(world, content=content)


def test_gaps_are_not_filled_with_bytes_of_another_place(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", CONTENT)
    blocks = plan_blocks(len(CONTENT), world.spec.block_size // BUFFERS)
    world.stage("a.zip", CONTENT, (*blocks[:3], *blocks[5:7]))
    # Ignored for the gap alone: a client that trusted it would find the end of the file correct.
    proxy.answers["REST"] += ["350 Restart position accepted."] * 2
    comes_through(world)


def test_a_listing_without_an_end_does_not_fill_the_memory(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    world.put("a.zip", b"")
    proxy.rewrite["LIST"] = lambda _: b"x" * (MAX_BYTES + 1)
    assert "more than 200,000 files" in (world.tick().error or "")


def test_a_listing_that_is_cut_at_the_end_of_a_line_lets_nothing_expire(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    for name in ("a.zip", "b.zip"):
        world.put(name, CONTENT)
    # Seen and not copied, and then missing from many listings that look complete.
    proxy.answers["RETR"] += ["450 File busy."] * 12
    world.tick()
    proxy.rewrite["LIST"] = lambda text: b"".join(text.splitlines(keepends=True)[:1])
    for _ in range(4):
        world.tick()
    assert {entry.state for entry in world.entries()} == {State.SEEN}
    del proxy.rewrite["LIST"]
    proxy.answers["RETR"].clear()
    world.tick_until_copied()
    assert sorted(world.raw()) == [("a.zip", CONTENT), ("b.zip", CONTENT)]
    assert {entry.state for entry in world.entries()} == {State.RAW}


def test_a_source_that_is_down_is_left_alone_for_a_random_while(ftp: tuple[World, FtpProxy]) -> None:
    world, proxy = ftp
    # It stands still, so that a pause has nothing of the time that a poll takes.
    world.clock = lambda: AN_HOUR_AGO
    pauses = list[timedelta]()
    for longest in (5, 10, 20, 40, 80):
        proxy.answers["USER"].append("421 Too many users.")
        began = world.now()
        until = world.tick(pause=timedelta()).not_before
        assert until is not None
        connections = proxy.connections
        assert world.tick().not_before == until
        assert proxy.connections == connections, "it was not left alone"
        pauses.append((until - began) / longest)
    assert all(timedelta(seconds=0.5) <= pause <= timedelta(seconds=1) for pause in pauses)
    assert min(pauses) < timedelta(seconds=0.97), "many would come back at once"
