"""Blocks of an inconsistent transfer are never published, whatever the server or the store does."""

import random
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import InconsistentTransferError
from imagefeed.errors import StoreUnavailableError
from ingest.crc64 import crc64
from ingest.model import Block, Generation, Span
from ingest.poll import PollReport
from ingest.stager import BUFFERS
from tests.fakes.copying import FakeBlob
from tests.fixtures.blocks import stage
from tests.unit.ingest.test_poll import World, make_zip

BLOCK = 2**18
SIZE = 12 * BLOCK


@cache
def noise(seed: int = 0) -> bytes:
    """Make a complete zip whose blocks all differ."""
    return random.Random(seed).randbytes(SIZE) + make_zip()


@pytest.fixture
def world() -> World:
    return interrupted()


def interrupted(content: bytes | None = None, at: int = 8 * BLOCK) -> World:
    """A poll whose only transfer broke."""
    world = World()
    assert world.spec.block_size == BUFFERS * BLOCK
    world.put("a.zip", noise() if content is None else content)
    world.server.breaks_at["a.zip"] = at
    assert tick(world).failed == 1
    world.server.calls.clear()
    return world


def tick(world: World) -> PollReport:
    """Poll, and let the pause after a failure pass."""
    return world.tick(timedelta(minutes=11))


def generation(world: World) -> Generation | None:
    (tracked,) = world.state.tracked_files
    return tracked.generation


def replace_generation(world: World, new: Generation | None) -> None:
    (tracked,) = world.state.tracked_files
    state = replace(world.state, tracked_files=(replace(tracked, generation=new),))
    world.source_states.source_states["radar"] = state


def blob(world: World) -> FakeBlob:
    (only,) = world.store.blobs.values()
    return only


def tick_until_copied(world: World, limit: int = 3) -> None:
    for _ in range(limit):
        if tick(world).waiting == 0:
            return
    raise AssertionError(world.ledger.errors)


def opened(world: World) -> list[int]:
    return [int(call.split()[2]) for call in world.server.calls if call.startswith("open")]


@settings(max_examples=25)
@given(modulo=st.integers(1, SIZE), at=st.integers(1, SIZE), then=st.integers(1, SIZE))
def test_a_server_that_continues_at_a_wrong_offset_gets_nothing_wrong_published(
    modulo: int, at: int, then: int
) -> None:
    world = interrupted(at=at)
    world.server.rest = lambda offset: offset % modulo
    world.server.breaks_at["a.zip"] = then
    for _ in range(8):
        tick(world)
    assert world.store.content("a.zip") == [noise()]


def test_a_file_that_was_rewritten_with_its_size_and_time_is_copied_from_its_start(world: World) -> None:
    _, modified = world.server.files["a.zip"]
    world.server.put("a.zip", noise(1), modified)
    assert tick(world).failed == 1
    assert "differ from those that it sent before" in next(iter(world.ledger.errors.values()))
    tick_until_copied(world)
    assert opened(world) == [7 * BLOCK, 0]
    assert world.store.content("a.zip") == [noise(1)]


def test_after_an_inconsistent_end_another_generation_is_saved_before_the_file_is_read_again(world: World) -> None:
    before, seen = generation(world), list[Generation | None]()
    assert before is not None
    world.server.before_stat = lambda: world.server.files.update({"a.zip": (noise()[:-1], world.clock.time)})
    assert tick(world).failed == 1
    after = generation(world)
    assert after is not None
    assert after.token != before.token
    assert after.inconsistent == 1
    world.server.before_stat = lambda: None
    world.server.before_read["a.zip"] = lambda _: seen.append(generation(world))
    tick(world)
    assert before not in seen


def test_where_storage_fails_after_an_inconsistent_end_nothing_is_resumed_either(world: World) -> None:
    """While it is read, the file is written anew with its time, and for a moment it has a byte too many."""
    _, modified = world.server.files["a.zip"]

    def fail() -> None:
        raise StoreUnavailableError("write the source state: no answer")

    def rewrite(offset: int) -> None:
        if offset >= 9 * BLOCK:
            world.server.files["a.zip"] = (noise(1) + b"x", modified)
            world.source_states.before_save = fail

    world.server.before_read["a.zip"] = rewrite
    with pytest.raises(StoreUnavailableError):
        tick(world)
    world.source_states.before_save = lambda: None
    world.server.before_read.clear()
    world.server.files["a.zip"] = (noise(1), modified)
    world.server.calls.clear()
    tick_until_copied(world)
    assert opened(world) == [0]
    assert world.store.content("a.zip") == [noise(1)]


def test_a_broken_connection_and_a_truncated_zip_keep_the_generation() -> None:
    world = interrupted(noise()[:SIZE])
    before = generation(world)
    tick(world)
    assert "zip directory is missing" in next(iter(world.ledger.errors.values()))
    assert before is not None
    assert generation(world) == before


def test_after_the_second_inconsistent_end_nothing_is_resumed_and_ids_repeat() -> None:
    world = interrupted()
    for wrong in range(2):
        world.server.rest = lambda offset: offset // 2
        if wrong:
            world.server.breaks_at["a.zip"] = 8 * BLOCK
            tick(world)
        assert tick(world).failed == 1
    held = generation(world)
    assert held is not None
    assert not held.resumable
    staged = set[Block]()
    for number in range(3):
        world.server.breaks_at["a.zip"] = 8 * BLOCK
        tick(world)
        staged = staged or set(blob(world).blocks)
        assert set(blob(world).blocks) == staged, number
        assert opened(world)[-1] == 0
    assert generation(world) == held
    tick_until_copied(world)
    assert world.store.content("a.zip") == [noise()]


def test_a_source_whose_state_is_lost_resumes_nothing(world: World) -> None:
    world.source_states.source_states.clear()
    tick_until_copied(world)
    assert opened(world) == [0]
    assert world.store.content("a.zip") == [noise()]


def test_an_archive_of_an_older_state_gets_its_generation_before_it_is_read(world: World) -> None:
    replace_generation(world, None)
    seen = list[Generation | None]()
    world.server.before_read["a.zip"] = lambda _: seen.append(generation(world))
    tick_until_copied(world)
    assert opened(world) == [0]
    assert None not in seen
    assert generation(world) is None, "a copied archive needs none"


def test_two_blocks_of_one_place_that_differ_begin_a_new_generation(world: World) -> None:
    held = generation(world)
    assert held is not None
    span = Span(2 * BLOCK, BLOCK)
    blob(world).blocks[Block(span, held.token, 1)] = bytes(BLOCK)
    tick_until_copied(world)
    assert opened(world) == [0]
    assert world.store.content("a.zip") == [noise()]


def test_blocks_of_another_program_begin_a_new_generation_once(world: World) -> None:
    blob(world).foreign = 3
    world.server.breaks_at["a.zip"] = 8 * BLOCK
    tick(world)
    tick(world)
    assert opened(world) == [0, 7 * BLOCK]
    assert world.store.content("a.zip") == [noise()]


@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_blob_that_differs_from_its_ids_is_removed_and_copied_again(world: World, number: int) -> None:
    stored = blob(world).blocks
    damaged = next(block for block in stored if block.span.offset == number * BLOCK)
    stored[damaged] = bytes([stored[damaged][0] ^ 1]) + stored[damaged][1:]
    assert tick(world).failed == 1
    assert "the blob is removed" in next(iter(world.ledger.errors.values()))
    assert world.store.content("a.zip") == []
    tick_until_copied(world)
    assert world.store.content("a.zip") == [noise()]


def test_a_resumed_blob_whose_process_died_before_the_read_back_is_compared_too(world: World) -> None:
    def die() -> None:
        raise InconsistentTransferError("died")

    world.store.before_amend = die
    tick(world)
    world.store.before_amend = lambda: None
    content = bytearray(blob(world).content or b"")
    content[5] ^= 1
    blob(world).content = bytes(content)
    assert tick(world).failed == 1
    tick_until_copied(world)
    assert world.store.content("a.zip") == [noise()]


def test_blocks_of_another_generation_are_not_resumed(world: World) -> None:
    (tracked,) = world.state.tracked_files
    upload = world.store.upload(tracked.archive)
    stage(upload, bytes(16 * BLOCK), [Span(number * BLOCK, BLOCK) for number in range(12)], "ffffff")
    tick_until_copied(world)
    assert opened(world) == [7 * BLOCK]
    assert world.store.content("a.zip") == [noise()]


def test_the_checksum_is_the_one_that_azure_storage_computes() -> None:
    assert crc64(b"123456789") == 0xAE8B14860A799888
    assert crc64(memoryview(b"6789"), crc64(b"12345")) == 0xAE8B14860A799888


def test_generations_differ() -> None:
    assert len({Generation.new().token for _ in range(100)}) == 100
