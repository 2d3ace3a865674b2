"""The model of many sources and workers agrees with simple arithmetic where that is possible."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling import (
    ACCOUNT,
    PARTITION,
    POLLING,
    PREPROCESSING,
    SERVER,
    Limits,
    Load,
    Service,
    most_sources,
    outlook,
    queueing,
)

SERVICE = Service(poll=0.1, copy=1.0, batches=4.0, requests=60, poll_requests=3, rows=100, bytes=60e6, parts=2)


def test_one_source_waits_half_a_tick_and_then_for_nobody() -> None:
    outcome = outlook(SERVICE, Load(sources=1, workers=4))
    assert outcome.lag == pytest.approx(15 + 2 + 1 + 1.5 + 4, abs=0.01)
    assert outcome.archives == 1 / 600


def test_what_comes_passes_until_the_workers_are_busy_all_the_time() -> None:
    assert most_sources(SERVICE, 1) == 149, "600 s between archives, 4 s of work on each"
    assert outlook(SERVICE, Load(sources=149, workers=1)).archives == 149 / 600
    over = outlook(SERVICE, Load(sources=300, workers=1))
    assert (over.archives, over.lag, over.narrowest) == (1 / 4, inf, PREPROCESSING)


def test_four_times_the_workers_keep_up_with_four_times_the_sources() -> None:
    assert most_sources(SERVICE, 4) == pytest.approx(4 * most_sources(SERVICE, 1), rel=0.01)


def test_copies_that_take_longer_than_batches_are_what_all_wait_for() -> None:
    slow = replace(SERVICE, copy=30.0)
    over = outlook(slow, Load(sources=500, workers=4))
    assert over.narrowest == POLLING
    assert over.archives == pytest.approx(4 / 32)


def test_who_is_busy_all_the_time_never_comes_to_an_end() -> None:
    full = outlook(replace(SERVICE, copy=0.5, batches=2.0), Load(sources=240, workers=1))
    assert (full.busy[POLLING], full.lag) == (1, inf), "2 s to settle and 0.5 s to copy, 240 times in 600 s"


def test_looks_at_many_sources_make_rounds_longer_and_stop_nothing() -> None:
    crowded = outlook(replace(SERVICE, poll=1.0, batches=0.1), Load(sources=100, workers=1))
    assert crowded.round == pytest.approx(100 / (1 - 100 / 600 * 3))
    assert crowded.lag < inf


@pytest.mark.parametrize(
    ("limits", "part"),
    [
        (Limits(account_requests=10), ACCOUNT),
        (Limits(partition_rows=10), PARTITION),
        (Limits(server_bytes=1e6), SERVER),
    ],
)
def test_what_others_allow_is_a_bound_that_workers_do_not_lift(limits: Limits, part: str) -> None:
    bound = outlook(SERVICE, Load(sources=100, workers=16), limits)
    assert (bound.narrowest, bound.lag) == (part, inf)
    assert bound.archives < 100 / 600


@given(busy=st.floats(0.01, 0.98), workers=st.integers(1, 16))
def test_waiting_grows_with_what_is_asked_and_shrinks_with_workers(busy: float, workers: int) -> None:
    wait = queueing(busy, workers, 4.0)
    assert 0 <= wait <= queueing(busy + 0.01, workers, 4.0)
    assert queueing(busy, workers + 1, 4.0) <= wait


def test_one_worker_waits_as_pollaczek_and_khinchine_have_it() -> None:
    assert queueing(0.5, 1, 4.0) == pytest.approx(4.0 * 0.5 / (2 * (1 - 0.5)))
    assert queueing(1.0, 1, 4.0) == inf


def test_a_server_that_all_sources_share_ends_it_whatever_the_workers() -> None:
    assert most_sources(SERVICE, 16) == most_sources(SERVICE, 64) == 1_249, "125 MB/s, 60 MB each, every 600 s"
