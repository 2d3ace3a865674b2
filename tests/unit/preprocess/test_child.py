"""After a process died during a batch, a child decodes its members: a bad member does not affect the others."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from imagefeed.errors import TransientError
from imagefeed.model import Counts, RawArchive
from preprocess.handlers import HandlerOutcome, handle_archive_created
from preprocess.image import child_decoder
from preprocess.model import BatchSizes, Image, Limits, Recipe
from preprocess.recipe import load_hook
from preprocess.run_batch import run_batch
from tests.fakes.preprocessing import MemoryWriter
from tests.fixtures import hooks
from tests.unit.preprocess.pictures import encoded, noise, png16, smooth
from tests.unit.preprocess.test_handlers import World, jpeg, pictures
from tests.unit.preprocess.zips import zipped

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of a child are Linux's")


class Isolated(World):
    """A world in which another process died during every batch."""

    def decode(self, content: bytes, hook: str | None = None, **changes: Any) -> RawArchive:
        archive = self.raw.add(content)
        ctx = self.process(**options(hook, changes), sizes=BatchSizes(inline_bytes=1))
        assert handle_archive_created(archive.blob, ctx) is HandlerOutcome.QUEUED
        self.die_over(archive)
        for state in self.ledger.plan(archive, "p-test") or ():
            run_batch(state.batch, ctx)
        return archive


def options(hook: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    recipe = changes.pop("recipe", Recipe(width=8, height=6))
    name = hook and f"tests.fixtures.hooks:{hook}"
    return {"recipe": replace(recipe, hook=name), "hook": load_hook(name) if name else None, **changes}


@pytest.fixture
def world() -> Isolated:
    return Isolated()


@pytest.mark.parametrize(
    ("hook", "error", "reason"),
    [
        ("killed", "ProcessDied", "killed by signal 9 (SIGKILL), usually because memory is short"),
        ("crashes", "ProcessDied", "killed by signal 11 (SIGSEGV)"),
        ("exits", "ProcessDied", "it exited with code 3"),
        ("calls_exit", "ProcessDied", "it exited with code 4"),
        pytest.param("hoards", "MemoryError", "out of memory", marks=LINUX),
        ("sleeps", "Timeout", "it takes longer than LIMIT_SECONDS=2"),
    ],
)
def test_a_member_that_kills_its_process_costs_itself_alone(
    world: Isolated, hook: str, error: str, reason: str
) -> None:
    archive = world.decode(pictures(4), hook, limits=Limits(seconds=2))
    (refusal,) = world.results.refusals(archive).values()
    assert (refusal.member, refusal.error) == (hooks.BAD, error)
    assert reason in refusal.reason
    assert [image.metadata.member for image in world.results.of(archive)] == [0, 2, 3]
    assert world.ledger.end(archive) == "processed"


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "met while sending"])
def test_a_child_that_dies_between_members_costs_none(
    world: Isolated, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If memory is short, the system ends the child first."""
    add, before = MemoryWriter.add, set(psutil.Process().children())

    def kill(writer: MemoryWriter, images: Iterable[Image]) -> int:
        added = add(writer, images)
        # Without the servers of other tests.
        for child in set(psutil.Process().children()) - before:
            child.kill()
            # It remains until its parent reaps it.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return added

    monkeypatch.setattr(MemoryWriter, "add", kill)
    if not seen:
        monkeypatch.setattr(child_decoder._Child, "lives", lambda _: True)
    archive = world.decode(pictures(3))
    assert world.results.refusals(archive) == {}
    assert [image.metadata.member for image in world.results.of(archive)] == [0, 1, 2]


def test_slow_members_are_refused_for_their_own_time_not_for_all_of_it(world: Isolated) -> None:
    archive = world.decode(pictures(64), "slow", limits=Limits(seconds=2))
    assert world.results.refusals(archive) == {}
    assert len(world.results.of(archive)) == 64


PILLOW = PillowImage.fromarray(smooth(9, 9))
KINDS = {
    "grey.png": encoded(noise(20, 30), "PNG"),
    "deep.png": png16(noise(9, 7, 4, dtype=np.uint16)),
    "pages.tif": encoded(
        smooth(20, 30), "TIFF", save_all=True, append_images=[PillowImage.fromarray(smooth(9, 9))] * 3
    ),
    "colour.jpg": jpeg(),
    "exif.jpg": encoded(
        smooth(9, 9), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\1\0\0\0\6\0\0\0\0\0\0\0"
    ),
    "broken.jpg": jpeg()[:300],
    "nonsense.png": b"no image" * 20,
    "readme.txt": b"x" * 80,
    ".hidden.jpg": jpeg(),
    "left out.jpg": jpeg(1),
    "odd.jpg": jpeg(2),
    "text.jpg": jpeg(3),
    "wide.jpg": jpeg(4),
    "flat.jpg": jpeg(5),
    "Größe \x07.jpg": jpeg(6),
}


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=14, unique=True),
    st.sampled_from([Recipe(width=8, height=6), Recipe(fit="none", colour="keep", dtype="keep", crop=(0, 0, 8, 7))]),
    st.sampled_from([Limits(), Limits(batch_pixels=9_000)]),
)
def test_results_are_the_same_as_of_threads(names: list[str], recipe: Recipe, limits: Limits) -> None:
    content = zipped(*((name, KINDS[name]) for name in names))

    def run(world: World) -> tuple[object, Counts]:
        hooks._seen.clear()
        if isinstance(world, Isolated):
            archive = world.decode(content, "marks", recipe=recipe, limits=limits)
        else:
            archive = world.raw.add(content)
            handle_archive_created(
                archive.blob, world.process(**options("marks", {"recipe": recipe, "limits": limits}))
            )
        return world.left_behind(), world.sums(archive)

    assert run(Isolated()) == run(World())


def test_what_is_logged_in_the_child_is_written_here(world: Isolated, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.decode(zipped(("odd.jpg", jpeg())), "marks")
    assert "hook.saw member=0 name=odd.jpg" in caplog.messages
    assert "ArithmeticError: the hook finds it odd" in caplog.text


def test_an_error_that_may_pass_is_no_fault_of_the_member(world: Isolated) -> None:
    with pytest.raises(TransientError, match="what the hook reads is away"):
        world.decode(pictures(2), "away")


def test_a_child_that_cannot_start_is_no_fault_of_the_member(world: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_decoder, "_COMMAND", "raise SystemExit(7)")
    with pytest.raises(TransientError, match="it exited with code 7"):
        world.decode(pictures(2))


@pytest.mark.parametrize("left", [0, 100 * 2**20])
def test_where_next_to_no_memory_is_left_no_member_is_judged(
    world: Isolated, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr(child_decoder, "memory_left", lambda: left)
    with pytest.raises(TransientError, match="bytes of memory are left"):
        world.decode(pictures(2))


@LINUX
def test_a_member_that_needs_more_memory_than_is_left_is_refused_and_the_next_is_not(
    world: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_decoder, "memory_left", lambda: 400 * 2**20)
    large = encoded(PillowImage.new("RGB", (10_000, 9_000)), "PNG")
    archive = world.decode(zipped(("large.png", large), ("small.jpg", jpeg())))
    (refusal,) = world.results.refusals(archive).values()
    assert (refusal.member, refusal.error) == (0, "MemoryError")
    assert refusal.reason == f"out of memory: {350 * 2**20} bytes were available"
    assert [image.metadata.member for image in world.results.of(archive)] == [1]


def test_a_child_that_answers_nonsense_is_believed_nothing(world: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    lie = {
        "kind": "image",
        "frame": 0,
        "format": "X",
        "captured_at": None,
        "shape": [9, 9],
        "dtype": "|O",
        "source_pixels": 1,
    }
    command = f"""
import socket, sys
fd = int(sys.argv[1]); sys.path[:] = sys.argv[2:]
from preprocess.image.channel import Channel
channel = Channel(socket.socket(fileno=fd))
channel.receive(0)
channel.send({{"kind": "ready"}})
channel.receive(2**20)
channel.send({lie!r}, bytes(8 * 81))
channel.receive(2**20)
"""
    monkeypatch.setattr(child_decoder, "_COMMAND", command)
    archive = world.decode(pictures(1))
    assert "sent an invalid answer: not an array of numbers: object" in world.results.refusals(archive)[0].reason


PARENT = """
import sys, threading
from tests.unit.preprocess.test_child import Isolated
from tests.unit.preprocess.test_handlers import pictures
Isolated().decode(pictures(3), "sleeps")
"""


@LINUX
def test_a_child_does_not_outlive_its_parent() -> None:
    command, root = [sys.executable, "-c", PARENT], Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stderr is not None
            assert "asleep\n" in iter(parent.stderr.readline, "")
            (child,) = psutil.Process(parent.pid).children()
            assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n", "it dies first"
        finally:
            parent.kill()
        assert psutil.wait_procs([child], timeout=30)[1] == []
